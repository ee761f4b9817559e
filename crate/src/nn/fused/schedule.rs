//! Orders of work on tiles, each of which adds to two blocks.
//!
//! Tile (i, j) of a matrix adds to a block i and a block j. A [`Schedule`] lists the tiles so that those that follow
//! each other share no block, and starts a tile when the tiles before it have left its blocks: threads hardly ever
//! wait, no block needs copies, and every block receives its additions in the same order whatever the number of
//! threads.

use rayon::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Tiles in an order.
pub struct Schedule {
    tiles: Vec<(usize, usize)>,
    /// Number of blocks, and where those begin that the second number of a tile counts.
    blocks: usize,
    second: usize,
}

impl Schedule {
    /// All pairs (i, j) with i ≤ j < n, both numbers of one kind of block: the circle method of round-robin
    /// tournaments. A player without opponent plays itself.
    pub fn tournament(n: usize) -> Self {
        let players = n + n % 2;
        let mut tiles = Vec::with_capacity(n * (n + 1) / 2);
        for r in 0..players.saturating_sub(1) {
            let other = |i: usize| (r + i) % (players - 1);
            // With an odd n the fixed player is the bye.
            tiles.push(if n % 2 == 1 { (r, r) } else { (r, players - 1) });
            for i in 1..players / 2 {
                let (a, b) = (other(i), other(players - 1 - i));
                tiles.push((a.min(b), a.max(b)));
            }
        }
        if n.is_multiple_of(2) {
            tiles.extend((0..n).map(|i| (i, i)));
        }
        Schedule { tiles, blocks: n, second: 0 }
    }

    /// All pairs (i, j) with i < a and j < b, of two kinds of blocks.
    pub fn grid(a: usize, b: usize) -> Self {
        let m = a.max(b);
        let diagonal = |r: usize| (0..a).map(move |i| (i, (i + r) % m)).filter(|&(_, j)| j < b);
        Schedule { tiles: (0..m).flat_map(diagonal).collect(), blocks: a + b, second: a }
    }

    /// Calls `f` with every tile, threaded; returns what it returned, in order.
    pub fn run<R: Send>(&self, f: impl Fn(usize, usize) -> R + Sync) -> Vec<R> {
        // How many tiles come before a tile in each of its blocks, and how many have been in a block.
        let mut counts = vec![0usize; self.blocks];
        let before: Vec<[(usize, usize); 2]> = self
            .tiles
            .iter()
            .map(|&(i, j)| {
                let blocks = [i, self.second + j];
                let before = blocks.map(|b| (b, counts[b]));
                counts[blocks[0]] += 1;
                if blocks[0] != blocks[1] {
                    counts[blocks[1]] += 1;
                }
                before
            })
            .collect();
        let left: Vec<AtomicUsize> = counts.iter().map(|_| AtomicUsize::new(0)).collect();
        let next = AtomicUsize::new(0);
        // Tiles are taken in order, so that one that waits waits for tiles that others are at.
        let work = |_| {
            let mut results = Vec::new();
            loop {
                let t = next.fetch_add(1, Ordering::Relaxed);
                let Some(&(i, j)) = self.tiles.get(t) else { return results };
                for (block, before) in before[t] {
                    while left[block].load(Ordering::Acquire) < before {
                        std::thread::yield_now();
                    }
                }
                let _leave = Leave(&left, before[t].map(|(block, _)| block));
                results.push((t, f(i, j)));
            }
        };
        let threads = rayon::current_num_threads().min(self.tiles.len());
        let mut all: Vec<(usize, R)> =
            (0..threads).into_par_iter().with_max_len(1).flat_map_iter(work).collect();
        all.sort_unstable_by_key(|&(t, _)| t);
        all.into_iter().map(|(_, result)| result).collect()
    }
}

/// Lets the next tiles into two blocks, also where this one panicked.
struct Leave<'a>(&'a [AtomicUsize], [usize; 2]);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let Leave(left, [a, b]) = self;
        left[*a].fetch_add(1, Ordering::Release);
        if a != b {
            left[*b].fetch_add(1, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::same_with_any_threads;
    use std::collections::HashSet;
    use std::sync::Mutex;

    #[test]
    fn every_pair_comes_once_and_neighbours_in_the_order_share_no_block() {
        for n in 0..14 {
            let s = Schedule::tournament(n);
            let all: HashSet<_> = s.tiles.iter().copied().collect();
            assert_eq!((all.len(), s.tiles.len()), (n * (n + 1) / 2, n * (n + 1) / 2));
            assert!(all.iter().all(|&(i, j)| i <= j && j < n));
            for round in s.tiles.chunks(n.div_ceil(2).max(1)).take(n) {
                let mut busy = HashSet::new();
                let apart = |&(i, j): &(usize, usize)| busy.insert(i) && (i == j || busy.insert(j));
                assert!(round.iter().all(apart), "n = {n}: {round:?}");
            }
        }
        for (a, b) in [(0, 3), (1, 1), (3, 5), (5, 3), (4, 4)] {
            let s = Schedule::grid(a, b);
            let all: HashSet<_> = s.tiles.iter().copied().collect();
            assert_eq!((all.len(), s.tiles.len()), (a * b, a * b));
        }
    }

    #[test]
    fn blocks_receive_tiles_one_at_a_time_in_one_order() {
        for (s, second, most) in [(Schedule::tournament(9), 0, 9), (Schedule::grid(5, 7), 5, 7)] {
            let seen = same_with_any_threads(|| {
                let blocks: Vec<Mutex<Vec<(usize, usize)>>> =
                    (0..s.blocks).map(|_| Mutex::default()).collect();
                let results = s.run(|i, j| {
                    for block in HashSet::from([i, second + j]) {
                        blocks[block].try_lock().expect("a block of one's own").push((i, j));
                    }
                    (i, j)
                });
                assert_eq!(results, s.tiles);
                blocks.into_iter().map(|b| b.into_inner().unwrap()).collect::<Vec<_>>()
            });
            assert_eq!(seen.iter().map(Vec::len).max(), Some(most));
        }
    }

    #[test]
    fn a_panic_in_a_tile_is_passed_on() {
        let run = || Schedule::grid(4, 4).run(|i, j| assert!((i, j) != (1, 2), "tile"));
        assert!(std::panic::catch_unwind(run).is_err());
    }
}
