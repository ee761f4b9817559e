//! Whether a JPEG file is whole: decoders draw what is missing of one that was cut short in grey.
//!
//! ```text
//! FF D8 | FF code, length, content … | FF DA, length, content, picture | … | FF D9
//!                                      in the picture FF stands before 00 or D0–D7 only
//! ```

/// Whether the segments of a file lead to the mark of its end.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(2..).unwrap_or_default();
    loop {
        // Whatever comes before the next mark is the picture, or padding.
        let Some(at) = memchr::memchr(0xff, rest) else { return false };
        let Some(&code) = rest.get(at + 1) else { return false };
        rest = &rest[at + 1..];
        match code {
            0xd9 => return true,
            0xff => {}
            // Nothing belongs to these.
            0x00 | 0x01 | 0xd0..=0xd8 => rest = &rest[1..],
            _ => {
                let Some(&[high, low]) = rest.get(1..3) else { return false };
                let length = usize::from(u16::from_be_bytes([high, low]));
                let Some(after) = rest.get(1 + length..) else { return false };
                rest = after;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_whole;

    #[test]
    fn only_the_mark_at_the_end_of_the_picture_counts() {
        // A comment that holds the mark of an end, as previews in metadata do.
        let comment = [0xff, 0xfe, 0, 4, 0xff, 0xd9];
        let scan = [0xff, 0xda, 0, 3, 1, 7, 0xff, 0, 9, 0xff, 0xd3, 5];
        let whole = [&[0xff, 0xd8][..], &comment, &scan, &[0xff, 0xff, 0xd9, 0, 0]].concat();
        assert!(is_whole(&whole));
        for end in 0..whole.len() - 2 {
            assert!(!is_whole(&whole[..end]), "cut at {end}");
        }
    }
}
