use super::*;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

// Pillow 13 (libjpeg-turbo 3.2): y, x = np.mgrid[:19, :27];
//   a = np.stack([(x*9+y*3) % 256, (x*2+y*13) % 256, x*y % 256], -1).astype("u1")
//   Image.fromarray(a).convert(mode).save(f, "jpeg", quality=35, optimize=True, **options)
// with `subsampling=2`; `subsampling=1, progressive=True`; mode "L"; mode "CMYK".
const SUBSAMPLED: &str = "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABcQERQRDhcUEhQaGBcbIjklIh8fIkYyNSk5UkhXVVFIUE5bZoNvW2F8 \
     Yk5QcptzfIeLkpSSWG2grJ+OqoOPko3/2wBDARgaGiIeIkMlJUONXlBejY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2N \
     jY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY3/wAARCAATABsDASIAAhEBAxEB/8QAFgABAQEAAAAAAAAAAAAAAAAA \
     BAUA/8QAIhAAAQQBAwUBAAAAAAAAAAAAAgABAwQREiFhBRMxQVEy/8QAFwEAAwEAAAAAAAAAAAAAAAAAAgQFAP/E \
     ACARAAIBAwQDAAAAAAAAAAAAAAECAAMEERITITEjUWH/2gAMAwEAAhEDEQA/AIUVXhMiqcJsNXhOhqcJdTrg060B \
     FT4SWp7eFSCuw7Yy6nzRlLMRtjDvthvS3jzg9/IxVvtlQe8xMAt8Rup3J6tkQgPQPb1Y0s++X+rLIrAAnn1EbFQ1 \
     UA8yeV20UchvYkYtL/knH1wpjAOPCyyq2KgKcCU74BWUCf/Z";
const PROGRESSIVE: &str = "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABcQERQRDhcUEhQaGBcbIjklIh8fIkYyNSk5UkhXVVFIUE5bZoNvW2F8 \
     Yk5QcptzfIeLkpSSWG2grJ+OqoOPko3/2wBDARgaGiIeIkMlJUONXlBejY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2N \
     jY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY3/wgARCAATABsDASEAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAA \
     AwT/xAAYAQADAQEAAAAAAAAAAAAAAAAAAQQCA//aAAwDAQACEAMQAAABgbnplVBuQtPpIaJ5aqv/xAAZEAADAQEB \
     AAAAAAAAAAAAAAAAAQISEQP/2gAIAQEAAQUCUikUGBSKTI11o9Lc1uuH/8QAGhEAAgMBAQAAAAAAAAAAAAAAAAEC \
     AxESIv/aAAgBAwEBPwGLFIiy6XlFK6ljLlmYf//EABkRAAIDAQAAAAAAAAAAAAAAAAABAgMREv/aAAgBAgEBPwE5 \
     Inb3IlC0oikj/8QAGhAAAQUBAAAAAAAAAAAAAAAAAQAQISIwUf/aAAgBAQAGPwLGOI2Lf//EABoQAQEBAQADAAAA \
     AAAAAAAAAAEAESEgMUH/2gAIAQEAAT8h8lHmJlYxYeHXqVTpnxywv//aAAwDAQACAAMAAAAQ6wC2/8QAGhEBAAID \
     AQAAAAAAAAAAAAAAAQAhEBExQf/aAAgBAwEBPxCdWGofYYcIDA1U/8QAGREBAQADAQAAAAAAAAAAAAAAAQARIUFR \
     /9oACAECAQE/EFzbzzJLh2Bb8mmC/8QAGxAAAgIDAQAAAAAAAAAAAAAAAAERYSExQVH/2gAIAQEAAT8QqKyoWGig \
     pFYRLEJiG8QuCvDlXiDzL9GhRJs4oUWj/9k=";
const GREY: &str = "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABcQERQRDhcUEhQaGBcbIjklIh8fIkYyNSk5UkhXVVFIUE5bZoNvW2F8 \
     Yk5QcptzfIeLkpSSWG2grJ+OqoOPko3/wAALCAATABsBAREA/8QAFQABAQAAAAAAAAAAAAAAAAAABAX/xAAiEAAB \
     BAEDBQEAAAAAAAAAAAACAAEDBBESIWEFEzFBUTL/2gAIAQEAAD8AhRVeEyKpwmRU+Elqe3hHhq8J0NThMCuw7Yy6 \
     nzRlLMRtjDvthvSTALfEbqdyerZEID0D29WNLPvl/qnldtFHIb2JGLS/5Jx9cKYwDjwv/9k=";
const INKS: &str = "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwAXEBEUEQ4XFBIUGhgXGyI5JSIfHyJGMjUpOVJIV1VRSFBOW2aDb1thfGJO \
     UHKbc3yHi5KUklhtoKyfjqqDj5KN/8AAFAgAEwAbBEMRAE0RAFkRAEsRAP/EABgAAAMBAQAAAAAAAAAAAAAAAAAF \
     BgQD/8QAKRAAAQMDBAIBAwUAAAAAAAAAAQACBAMFERIhMWEiQRNCUZEGMnGh8P/aAA4EQwBNAFkASwAAPwBDFZwk \
     rYPSl6dPUqxOYrOF1bB6WmnD1ekJzFZwuzYPS1U7Vq+lCZtZ4hdBB6WgWTI/ahQUVnCatg9JbCp6sITmKzhdWwel \
     QQoerGyE6is4XZsHpaZc2NbXij8ZryMZ0NOA3+T62/26FC3WQJ10kSG4LXPw0gEZaNgd+gF0EHpL3TrtUdrbVbSB \
     +hlNuB+QT/aFuijhbWsb9gl1rAOEJzFHCmv1NdZtvuVOlErCmw0Q4jQ075I9jpVLHGjbZFWns+nRc5pxnBAJCFvk \
     udTtUt7HFrm0HkOBwQdJ3SR92uFaoXum1wT6Y8tH4Gyn7XSYceIQoNo8QsoY37BU1OjT+NvgOEL/2Q==";

fn bytes(text: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(text.replace(' ', "")).unwrap()
}

fn decode(bytes: &[u8]) -> Result<(usize, Vec<u8>)> {
    let header = Header::read(Path::new("a.jpg"), bytes, bytes.len() as u64)?;
    assert!((header.width, header.height) == (27, 19) || bytes.len() > 10_000);
    let jpeg = header.start()?;
    Ok((jpeg.channels, jpeg.read_all()?))
}

#[test]
fn equals_pillow_bit_for_bit() {
    // d = np.asarray(Image.open(f).convert("RGB")).astype(int)
    // (d.ravel() * (np.arange(d.size) % 7 + 1)).sum()
    for (text, channels, expected) in
        [(SUBSAMPLED, 3, 708860), (PROGRESSIVE, 3, 704308), (GREY, 1, 766247), (INKS, 3, 703732)]
    {
        let (found, pixels) = decode(&bytes(text)).unwrap();
        let pixels = pixels.iter().flat_map(|&p| vec![p; if found == 1 { 3 } else { 1 }]);
        let digest = |(i, p): (usize, u8)| u64::from(p) * (i as u64 % 7 + 1);
        assert_eq!((found, pixels.enumerate().map(digest).sum::<u64>()), (channels, expected));
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    for text in [SUBSAMPLED, PROGRESSIVE, GREY, INKS] {
        let whole = bytes(text);
        for end in 0..whole.len() {
            let e = decode(&whole[..end]).unwrap_err().to_string();
            assert!(e.contains("a.jpg: the JPEG picture is cut short or damaged ("), "{e}");
        }
    }
}

#[test]
fn a_picture_that_ends_before_its_last_row_is_refused() {
    let whole = bytes(SUBSAMPLED);
    let mut damaged = whole[..whole.len() - 40].to_vec();
    damaged.extend_from_slice(&[0xff, 0xd9]);
    let e = decode(&damaged).unwrap_err().to_string();
    assert!(e.contains("premature end of data segment"), "{e}");
}

#[test]
fn damage_is_an_error_and_never_a_panic() {
    for text in [SUBSAMPLED, PROGRESSIVE, INKS] {
        let whole = bytes(text);
        for at in 2..whole.len() {
            for value in [0, 0xff, whole[at] ^ 0x10] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                let header = Header::read(Path::new("a.jpg"), &damaged[..], 500);
                if let Err(e) = header.and_then(|h| h.start()?.read_all()) {
                    assert!(e.to_string().starts_with("a.jpg: "), "{e}");
                }
            }
        }
    }
}

#[test]
fn what_a_header_claims_is_held_against_the_size_of_the_file() {
    let mut huge = bytes(PROGRESSIVE);
    let frame = huge.windows(2).position(|w| w == [0xff, 0xc2]).unwrap();
    huge[frame + 5..frame + 9].copy_from_slice(&[0xfd, 0xe8, 0xfd, 0xe8]);
    let e = Header::read(Path::new("a.jpg"), &huge[..], 700).err().unwrap().to_string();
    assert!(e.contains("65000 × 65000 pixels in a file of 700 bytes"), "{e}");
}

#[test]
fn kinds_that_are_not_read_are_named() {
    let mut deep = bytes(GREY);
    let frame = deep.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    deep[frame + 4] = 12;
    let e = decode(&deep).unwrap_err().to_string();
    assert!(
        e.contains("a kind of JPEG that is not read (Unsupported JPEG data precision 12)"),
        "{e}"
    );
}

#[test]
fn scans_without_end_are_refused() {
    let whole = bytes(PROGRESSIVE);
    let mark = |code| move |w: &[u8]| w == [0xff, code];
    let start = whole.windows(2).position(mark(0xda)).unwrap();
    let length = whole[start..].windows(2).position(mark(0xc4)).unwrap();
    let (before, rest) = whole.split_at(start);
    let many = [before, &rest[..length].repeat(600), &rest[length..]].concat();
    let e = decode(&many).unwrap_err().to_string();
    assert!(e.contains("more than 500 scans"), "{e}");
}

#[test]
fn only_pictures_of_one_scan_come_row_by_row() {
    assert!(is_sequential(&bytes(SUBSAMPLED)[..]) && is_sequential(&bytes(GREY)[..]));
    assert!(!is_sequential(&bytes(PROGRESSIVE)[..]) && !is_sequential(&bytes(GREY)[..99]));
}

#[test]
fn a_tile_takes_the_tables_and_the_colours_that_its_tiff_file_states() {
    let whole = bytes(SUBSAMPLED);
    let expected = decode(&whole).unwrap();
    let (mut tables, mut tile) = (vec![0xff, 0xd8], vec![0xff, 0xd8]);
    let mut rest = &whole[..];
    while let Ok(Some((code, content))) = segment(&mut rest) {
        let to = if matches!(code, 0xc4 | 0xdb) { &mut tables } else { &mut tile };
        to.extend_from_slice(&[0xff, code]);
        to.extend_from_slice(&(content.len() as u16 + 2).to_be_bytes());
        to.extend_from_slice(&content);
        if code == 0xda {
            // Without the mark of the end.
            to.extend_from_slice(&rest[..rest.len() - 2]);
            break;
        }
    }
    tables.extend_from_slice(&[0xff, 0xd9]);
    let file = tile_as_file(&tables, &tile, Colours::YCbCr).unwrap();
    assert_eq!(decode(&file).unwrap(), expected);
    assert_eq!(decode(&tile_as_file(&[], &whole, Colours::YCbCr).unwrap()).unwrap(), expected);
    let (channels, other) = decode(&tile_as_file(&tables, &tile, Colours::Rgb).unwrap()).unwrap();
    assert!(channels == 3 && other != expected.1);
    assert!(decode(&tile_as_file(&[], &tile, Colours::YCbCr).unwrap()).is_err());
    assert!(tile_as_file(&tables, &tile[..30], Colours::YCbCr).is_err());
}
