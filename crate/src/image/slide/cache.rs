//! The tiles that were decoded last, so that neighbouring patches do not decode a tile again.

use super::super::Image;
use crate::error::Result;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A tile, or the place where a thread is about to put it.
type Slot = Arc<Mutex<Option<Arc<Image>>>>;

/// A bounded number of tiles by their index.
#[derive(Debug)]
pub(super) struct Cache {
    most: usize,
    tiles: Mutex<Tiles>,
}

#[derive(Debug, Default)]
struct Tiles {
    /// Counts the uses.
    clock: u64,
    /// When each was used last, and where it is.
    slots: HashMap<usize, (u64, Slot)>,
}

impl Cache {
    /// Room for as many tiles of `bytes` as `budget` allows, and for one at least.
    pub fn new(budget: usize, bytes: usize) -> Cache {
        // To find the oldest of so many takes less time than to decode one.
        const MOST: usize = 1024;
        Cache { most: (budget / bytes.max(1)).clamp(1, MOST), tiles: Mutex::default() }
    }

    /// The tile `index`, made by `make` if it is not here. Threads that want the same tile wait for
    /// the one that makes it; `make` must not wait for other threads.
    pub fn get(&self, index: usize, make: impl FnOnce() -> Result<Image>) -> Result<Arc<Image>> {
        let slot = self.slot(index);
        let mut tile = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tile) = &*tile {
            return Ok(tile.clone());
        }
        let made = Arc::new(make()?);
        *tile = Some(made.clone());
        Ok(made)
    }

    /// The slot of a tile, which is now the one that was used last.
    fn slot(&self, index: usize) -> Slot {
        let mut tiles = self.tiles.lock().unwrap_or_else(PoisonError::into_inner);
        let Tiles { clock, slots } = &mut *tiles;
        *clock += 1;
        if let Some((used, slot)) = slots.get_mut(&index) {
            *used = *clock;
            return slot.clone();
        }
        if slots.len() >= self.most
            && let Some(oldest) = slots.iter().min_by_key(|(_, (used, _))| *used).map(|(&i, _)| i)
        {
            slots.remove(&oldest);
        }
        slots.entry(index).or_insert((*clock, Slot::default())).1.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn tile() -> Image {
        Image::new(1, 1, vec![1, 2, 3]).unwrap()
    }

    #[test]
    fn the_tile_that_was_not_used_for_longest_goes_first() {
        let (cache, made) = (Cache::new(2, 1), AtomicUsize::new(0));
        let get = |i| {
            let make = || {
                made.fetch_add(1, Ordering::Relaxed);
                Ok(tile())
            };
            cache.get(i, make).unwrap();
            made.load(Ordering::Relaxed)
        };
        assert_eq!([0, 1, 0, 2, 0, 1].map(get), [1, 2, 2, 3, 3, 4]);
    }

    #[test]
    fn a_tile_is_made_once_for_all_threads_and_tried_again_after_an_error() {
        let (cache, made) = (Cache::new(0, 1), AtomicUsize::new(0));
        assert!(cache.get(7, || Err(Error::Interrupted)).is_err());
        let make = || {
            made.fetch_add(1, Ordering::Relaxed);
            Ok(tile())
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| cache.get(7, make).unwrap());
            }
        });
        assert_eq!(made.into_inner(), 1);
    }
}
