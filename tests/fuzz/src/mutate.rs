//! How inputs are changed, beside libFuzzer's own ways: so that a file stays one of its format long
//! enough to reach the parts behind the header.

use crate::targets::{Kind, Target};
use crate::{hdf5, zip};
use libfuzzer_sys::fuzzer_mutate;

/// Numbers that are often near a mistake.
const NUMBERS: [u64; 20] = [
    0,
    1,
    2,
    7,
    8,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x10000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 32,
    1 << 40,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// A small generator of its own: the same seed, the same change.
pub struct Dice(u64);

impl Dice {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let mixed = (self.0 ^ (self.0 >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed >> 24) % n.max(1) as u64) as usize
    }
}

/// Changes the first `size` bytes of `data` and returns how many there are now.
pub fn mutate(target: &Target, data: &mut [u8], size: usize, max: usize, seed: u32) -> usize {
    let mut dice = Dice(u64::from(seed));
    // How often libFuzzer's own changes are wanted: they move what follows.
    let blind = match target.kind {
        Kind::Hdf5 | Kind::Zip => dice.below(20) == 0,
        Kind::Plain | Kind::Several => dice.below(3) > 0,
    };
    if size < 16 || blind {
        return fuzzer_mutate(data, size, max);
    }
    let bytes = &mut data[..size];
    for _ in 0..1 + dice.below(4) {
        match target.kind {
            Kind::Hdf5 => {
                let at = hdf5::site(bytes, &mut dice);
                let sums = hdf5::checksum_of(bytes, at);
                change(bytes, at, &mut dice);
                if let Some(block) = sums.filter(|_| dice.below(8) > 0) {
                    hdf5::renew(bytes, block);
                }
            }
            Kind::Zip => {
                let Some(entry) = zip::entry(bytes, &mut dice) else { return size };
                let part = &mut bytes[entry.clone()];
                let at = dice.below(part.len());
                change(part, at, &mut dice);
                zip::renew(bytes, entry);
            }
            Kind::Plain | Kind::Several => {
                let at = dice.below(size);
                change(bytes, at, &mut dice);
            }
        }
    }
    size
}

/// One change at `at` that keeps every other byte where it is.
fn change(bytes: &mut [u8], at: usize, dice: &mut Dice) {
    let width = [1, 2, 4, 8][dice.below(4)].min(bytes.len() - at);
    match dice.below(10) {
        0 => bytes[at] ^= 1 << dice.below(8),
        1 => bytes[at] = dice.below(256) as u8,
        // A number that is near a mistake, or a size or place in this very file.
        2..=4 => {
            let number = match dice.below(3) {
                0 => dice.below(2 * bytes.len()) as u64,
                _ => NUMBERS[dice.below(NUMBERS.len())],
            };
            bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
        }
        5 => {
            let step = 1 + dice.below(4) as u8;
            let up = dice.below(2) == 0;
            bytes[at] =
                if up { bytes[at].wrapping_add(step) } else { bytes[at].wrapping_sub(step) };
        }
        // A stretch from elsewhere, mostly where structures start.
        6 | 7 => {
            let n = [4, 8, 16, 24, 40, 100, 512][dice.below(7)].min(bytes.len() - at);
            let from = dice.below(bytes.len() - n + 1) & !7;
            bytes.copy_within(from..from + n, at);
        }
        8 => {
            let n = [4, 8, 16, 64, 512][dice.below(5)].min(bytes.len() - at);
            bytes[at..at + n].fill([0, 0xff][dice.below(2)]);
        }
        _ => {
            let n = (1 + dice.below(64)).min(bytes.len() - at);
            fuzzer_mutate(&mut bytes[at..at + n], n, n);
        }
    }
}
