//! The texts of a parquet column, page by page.
//!
//! ```text
//! page of data (v1)   u32 length, definition levels      unless every value must be there
//!                     values
//! page of data (v2)   definition levels, values          their lengths stand in the header
//!
//! values, PLAIN       u32 length, bytes; u32 length, bytes; …
//! values, dictionary  u8 width; runs of positions in the page that held the dictionary
//! levels, positions   runs: (n << 1) value               n times the value
//!                           (n << 1 | 1) bits            8 n values of `width` bits
//! ```
//!
//! Machines write the same few hundred gene names a hundred million times: positions in the
//! dictionary become codes of categories without a text being made.

use parquet::basic::Encoding;
use parquet::column::page::{Page, PageReader};
use std::collections::HashMap;

type Result<T> = std::result::Result<T, String>;

/// Reads one column chunk of texts.
pub(super) struct TextPages {
    pages: Box<dyn PageReader>,
    nullable: bool,
    labels: Vec<String>,
    /// How many of `labels` are the dictionary that pages refer to.
    dictionary: usize,
    /// Where a text is among `labels`: made when a page without dictionary comes.
    place: HashMap<String, i32>,
    page: Option<Current>,
}

struct Current {
    page: Page,
    left: usize,
    levels: Option<Runs>,
    values: Values,
}

enum Values {
    /// Where the next length stands.
    Plain(usize),
    Dictionary(Runs),
}

/// What the column is read as.
pub(super) enum Texts {
    Text(Vec<Option<String>>),
    Codes(Vec<i32>),
}

impl TextPages {
    pub(super) fn new(pages: Box<dyn PageReader>, nullable: bool) -> Self {
        let (labels, place) = (Vec::new(), HashMap::new());
        TextPages { pages, nullable, labels, dictionary: 0, place, page: None }
    }

    /// The texts that codes stand for.
    pub(super) fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Reads `n` rows more into `out`.
    pub(super) fn read(&mut self, mut n: usize, out: &mut Texts) -> Result<()> {
        while n > 0 {
            let Some(mut current) = self.next_page()? else {
                return Err("the column ends before its last row".into());
            };
            let rows = n.min(current.left);
            self.read_page(&mut current, rows, out)?;
            current.left -= rows;
            self.page = (current.left > 0).then_some(current);
            n -= rows;
        }
        Ok(())
    }

    /// The page that is being read, or the next one with rows.
    fn next_page(&mut self) -> Result<Option<Current>> {
        if let Some(current) = self.page.take() {
            return Ok(Some(current));
        }
        loop {
            let Some(page) = self.pages.get_next_page().map_err(|e| e.to_string())? else {
                return Ok(None);
            };
            if page.is_dictionary_page() {
                self.read_dictionary(&page)?;
            } else if page.num_values() > 0 {
                return self.open(page).map(Some);
            }
        }
    }

    fn read_dictionary(&mut self, page: &Page) -> Result<()> {
        let mut at = 0;
        self.labels.clear();
        for _ in 0..page.num_values() {
            let text = plain(page.buffer(), &mut at)?;
            self.labels.push(utf8(text)?.to_string());
        }
        self.dictionary = self.labels.len();
        Ok(())
    }

    fn open(&self, page: Page) -> Result<Current> {
        let buffer = page.buffer();
        let (levels, mut at) = match &page {
            Page::DataPage { def_level_encoding, .. } if self.nullable => {
                if *def_level_encoding != Encoding::RLE {
                    return Err(format!("definition levels in {def_level_encoding} are not read"));
                }
                let length = u32_at(buffer, 0)? as usize;
                (Some((4, length)), 4 + length)
            }
            Page::DataPageV2 { def_levels_byte_len, rep_levels_byte_len, .. } => {
                let start = *rep_levels_byte_len as usize;
                let length = *def_levels_byte_len as usize;
                (self.nullable.then_some((start, length)), start + length)
            }
            _ => (None, 0),
        };
        if at > buffer.len() {
            return Err("a page is shorter than its definition levels".into());
        }
        let levels = levels.map(|(start, length)| Runs::new(start, start + length, 1));
        let values = match page.encoding() {
            Encoding::PLAIN => Values::Plain(at),
            Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY => {
                // A page without any value may leave the width out.
                let width = buffer.get(at).copied().unwrap_or(0);
                if width > 32 {
                    return Err(format!("positions of {width} bits"));
                }
                at = (at + 1).min(buffer.len());
                Values::Dictionary(Runs::new(at, buffer.len(), width))
            }
            other => return Err(format!("a page in {other}, which was not announced")),
        };
        Ok(Current { left: page.num_values() as usize, page, levels, values })
    }

    fn read_page(&mut self, current: &mut Current, rows: usize, out: &mut Texts) -> Result<()> {
        let buffer: &[u8] = current.page.buffer();
        let mut levels = Vec::new();
        if let Some(runs) = &mut current.levels {
            runs.read(buffer, rows, &mut levels)?;
        }
        let present = |i: usize| levels.get(i).is_none_or(|&l| l == 1);
        match &mut current.values {
            Values::Dictionary(runs) => {
                let n = (0..rows).filter(|&i| present(i)).count();
                let mut codes = Vec::new();
                runs.read(buffer, n, &mut codes)?;
                if let Some(bad) = codes.iter().find(|&&c| c as usize >= self.dictionary) {
                    let n = self.dictionary;
                    return Err(format!("position {bad} in a dictionary of {n} texts"));
                }
                let mut codes = codes.into_iter();
                let mut next = |i: usize| if present(i) { codes.next() } else { None };
                match out {
                    Texts::Codes(all) => {
                        all.extend((0..rows).map(|i| next(i).map_or(-1, |c| c as i32)));
                    }
                    Texts::Text(all) => {
                        let text = |c: u32| self.labels[c as usize].clone();
                        all.extend((0..rows).map(|i| next(i).map(text)));
                    }
                }
            }
            Values::Plain(at) => {
                if self.place.is_empty() && matches!(out, Texts::Codes(_)) {
                    let codes = self.labels.iter().cloned().zip(0..);
                    self.place = codes.collect();
                }
                for i in 0..rows {
                    let text = if present(i) { Some(utf8(plain(buffer, at)?)?) } else { None };
                    match out {
                        Texts::Text(all) => all.push(text.map(str::to_string)),
                        Texts::Codes(all) => all.push(match text {
                            None => -1,
                            Some(text) => match self.place.get(text) {
                                Some(&code) => code,
                                None => {
                                    let code = self.labels.len() as i32;
                                    self.labels.push(text.to_string());
                                    self.place.insert(text.to_string(), code);
                                    code
                                }
                            },
                        }),
                    }
                }
            }
        }
        Ok(())
    }
}

fn u32_at(buffer: &[u8], at: usize) -> Result<u32> {
    let bytes = buffer.get(at..).and_then(|b| b.first_chunk::<4>());
    bytes.map(|b| u32::from_le_bytes(*b)).ok_or_else(|| "a page ends within a length".into())
}

/// The text at `at`, which moves behind it.
fn plain<'a>(buffer: &'a [u8], at: &mut usize) -> Result<&'a [u8]> {
    let length = u32_at(buffer, *at)? as usize;
    let start = *at + 4;
    let text = buffer.get(start..start.saturating_add(length));
    let text = text.ok_or("a text is longer than its page")?;
    *at = start + length;
    Ok(text)
}

pub(super) fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| "it holds bytes that are not UTF-8 text".into())
}

/// Numbers of `width` bits in runs.
struct Runs {
    at: usize,
    end: usize,
    width: u8,
    run: Run,
}

enum Run {
    Repeat {
        value: u32,
        left: usize,
    },
    /// `bits` of the byte at `at` are used up.
    Packed {
        at: usize,
        bits: u32,
        left: usize,
    },
}

impl Runs {
    fn new(at: usize, end: usize, width: u8) -> Self {
        Runs { at, end, width, run: Run::Repeat { value: 0, left: 0 } }
    }

    /// Reads `n` numbers more.
    fn read(&mut self, buffer: &[u8], mut n: usize, out: &mut Vec<u32>) -> Result<()> {
        let buffer = buffer.get(..self.end).ok_or("a page is shorter than it says")?;
        while n > 0 {
            match &mut self.run {
                Run::Repeat { left: 0, .. } | Run::Packed { left: 0, .. } => self.next(buffer)?,
                Run::Repeat { value, left } => {
                    let take = n.min(*left);
                    out.resize(out.len() + take, *value);
                    *left -= take;
                    n -= take;
                }
                Run::Packed { at, bits, left } => {
                    let take = n.min(*left);
                    let width = u32::from(self.width);
                    let mask = (1u64 << width) - 1;
                    out.reserve(take);
                    for _ in 0..take {
                        // Five bytes hold any number of up to 32 bits, wherever it starts.
                        let word = match buffer.get(*at..).and_then(|b| b.first_chunk::<8>()) {
                            Some(word) => u64::from_le_bytes(*word),
                            None => {
                                let rest = buffer.get(*at..).unwrap_or_default();
                                let mut word = [0u8; 8];
                                word[..rest.len()].copy_from_slice(rest);
                                u64::from_le_bytes(word)
                            }
                        };
                        out.push((word >> *bits & mask) as u32);
                        *bits += width;
                        *at += (*bits / 8) as usize;
                        *bits %= 8;
                    }
                    *left -= take;
                    n -= take;
                }
            }
        }
        Ok(())
    }

    fn next(&mut self, buffer: &[u8]) -> Result<()> {
        let ends = || String::from("a page has fewer values than it says");
        let (mut header, mut shift) = (0u64, 0);
        loop {
            let &byte = buffer.get(self.at).ok_or_else(ends)?;
            self.at += 1;
            header |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
            if shift > 35 {
                return Err("a run has no length".into());
            }
        }
        let count = (header >> 1) as usize;
        let width = usize::from(self.width);
        if header & 1 == 1 {
            // The last run may be cut where its values end.
            let left = match width {
                0 => count * 8,
                _ => (count * 8).min((buffer.len() - self.at) * 8 / width),
            };
            if left == 0 {
                return Err(ends());
            }
            self.run = Run::Packed { at: self.at, bits: 0, left };
            self.at = (self.at + count * width).min(buffer.len());
        } else {
            let bytes = buffer.get(self.at..self.at + width.div_ceil(8)).ok_or_else(ends)?;
            let value = bytes.iter().rev().fold(0u32, |v, &b| v << 8 | u32::from(b));
            self.at += bytes.len();
            self.run = Run::Repeat { value, left: count };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(bytes: &[u8], width: u8, n: usize) -> Result<Vec<u32>> {
        let mut out = Vec::new();
        Runs::new(0, bytes.len(), width).read(bytes, n, &mut out).map(|()| out)
    }

    #[test]
    fn runs_of_both_kinds_are_read() {
        // 0..8 in 3 bits, as the description of the format spells it out; then four times 5.
        let bytes = [0x03, 0x88, 0xc6, 0xfa, 0x08, 0x05];
        assert_eq!(runs(&bytes, 3, 12).unwrap(), [0, 1, 2, 3, 4, 5, 6, 7, 5, 5, 5, 5]);
        assert_eq!(runs(&[0x03], 0, 8).unwrap(), [0; 8]);
        let wide = [0x03u8, 1, 0, 0, 0, 255, 255, 255, 255, 7, 0, 0, 0];
        assert_eq!(runs(&wide, 32, 3).unwrap(), [1, u32::MAX, 7]);
    }

    #[test]
    fn runs_that_end_early_are_refused() {
        for bytes in [&[][..], &[0x03], &[0x03, 0x88], &[0x08], &[0xff; 12]] {
            assert!(runs(bytes, 3, 8).is_err(), "{bytes:?}");
        }
        assert!(runs(&[0x08, 0x05], 3, 5).is_err());
    }
}
