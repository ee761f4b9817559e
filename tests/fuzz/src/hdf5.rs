//! What must be known of HDF5 to change a file where it matters.
//!
//! ```text
//! superblock | groups: OHDR, TREE, SNOD, HEAP, … | heaps of text: GCOL | data
//! ```
//! Most bytes of a file are data, so that random places say little: changes are drawn to the
//! structures, each of which starts with four letters. The newer ones end in a checksum, which is
//! made right again after a change; otherwise the library would look no further.

use crate::mutate::Dice;

const LETTERS: [&[u8; 4]; 17] = [
    b"\x89HDF", b"OHDR", b"OCHK", b"FRHP", b"FHIB", b"FHDB", b"BTHD", b"BTIN", b"BTLF", b"FAHD",
    b"EAHD", b"FSHD", b"TREE", b"SNOD", b"HEAP", b"GCOL", b"SMTB",
];
/// Of these, how many (the first) end in a checksum.
const WITH_SUM: usize = 12;
/// No structure that ends in a checksum is taken to be longer.
const LONGEST: usize = 1024;

/// A stretch of bytes with its checksum in the four bytes behind it.
pub struct Block {
    start: usize,
    end: usize,
}

/// A place to change: mostly in the structures.
pub fn site(bytes: &[u8], dice: &mut Dice) -> usize {
    if dice.below(6) == 0 {
        return dice.below(bytes.len());
    }
    let from = dice.below(bytes.len());
    // The next structure from there on, or from the file's start.
    let starts = |at: &usize| LETTERS.iter().any(|l| bytes[*at..].starts_with(*l));
    let start = (from..bytes.len()).chain(0..from).find(starts).unwrap_or(from);
    let reach = [16, 64, 256, 1024][dice.below(4)];
    // Old object headers have no letters of their own; they lie before and behind what has.
    let back = if dice.below(4) == 0 { dice.below(512) } else { 0 };
    (start + dice.below(reach)).saturating_sub(back).min(bytes.len() - 1)
}

/// The structure around `at` whose checksum is right.
pub fn checksum_of(bytes: &[u8], at: usize) -> Option<Block> {
    let first = at.saturating_sub(LONGEST);
    let starts = |s: &usize| LETTERS[..WITH_SUM].iter().any(|l| bytes[*s..].starts_with(*l));
    let start = (first..=at).rev().find(starts)?;
    let ends = start + 8..(start + LONGEST).min(bytes.len().saturating_sub(4));
    let right = |end: &usize| *end + 4 > at && stored(bytes, *end) == lookup3(&bytes[start..*end]);
    ends.into_iter().find(right).map(|end| Block { start, end })
}

fn stored(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([0, 1, 2, 3].map(|i: usize| bytes[at + i]))
}

/// Makes the checksum right for what the block holds now.
pub fn renew(bytes: &mut [u8], block: Block) {
    let sum = lookup3(&bytes[block.start..block.end]);
    bytes[block.end..block.end + 4].copy_from_slice(&sum.to_le_bytes());
}

/// Bob Jenkins' lookup3, which HDF5 uses for metadata.
fn lookup3(bytes: &[u8]) -> u32 {
    let word = |w: &[u8]| w.iter().rev().fold(0u32, |n, &x| n << 8 | u32::from(x));
    let [mut a, mut b, mut c] = [0xdead_beef_u32.wrapping_add(bytes.len() as u32); 3];
    let blocks = bytes.len().div_ceil(12);
    for (i, block) in bytes.chunks(12).enumerate() {
        let part = |k: usize| word(block.get(k..block.len().min(k + 4)).unwrap_or_default());
        a = a.wrapping_add(part(0));
        b = b.wrapping_add(part(4));
        c = c.wrapping_add(part(8));
        if i + 1 < blocks {
            for r in [4, 6, 8, 16, 19, 4] {
                a = a.wrapping_sub(c) ^ c.rotate_left(r);
                c = c.wrapping_add(b);
                (a, b, c) = (b, c, a);
            }
        }
    }
    for (r, s, t) in [(14, 11, 25), (16, 4, 14)] {
        c = (c ^ b).wrapping_sub(b.rotate_left(r));
        a = (a ^ c).wrapping_sub(c.rotate_left(s));
        b = (b ^ a).wrapping_sub(a.rotate_left(t));
    }
    (c ^ b).wrapping_sub(b.rotate_left(24))
}
