//! Pairs of cells: neighbours, others not far away, and others far away.
//!
//! ```text
//! 0 ──── 30 ──────── 80 ════════ 150 ────────────>   distance, in the units of the coordinates
//! neighbours          hard others    easy others
//! ```

use crate::error::{Error, Result};
use crate::rng::Rng;
use ndarray::ArrayView2;
use std::collections::HashMap;

/// Distances, in the units of the coordinates (micrometres for Xenium), and how many of each.
#[derive(Debug, Clone, PartialEq)]
pub struct PairRule {
    /// Up to which two cells are neighbours. 30.
    pub neighbours: f64,
    /// From which to which others are hard. 80 and 150.
    pub hard: (f64, f64),
    /// Hard and easy others that are drawn for each pair of neighbours. 1 and 1.
    pub others: (usize, usize),
}

impl Default for PairRule {
    fn default() -> Self {
        PairRule { neighbours: 30.0, hard: (80.0, 150.0), others: (1, 1) }
    }
}

/// A pair of cells, and whether they are neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CellPair {
    /// The cell that the pair belongs to.
    pub anchor: u32,
    /// The other.
    pub other: u32,
    /// Whether they are neighbours.
    pub neighbours: bool,
}

impl PairRule {
    fn check(&self) -> Result<()> {
        let (from, to) = self.hard;
        let rising = self.neighbours > 0.0 && from >= self.neighbours && to > from;
        if rising && to.is_finite() {
            return Ok(());
        }
        let value = format!("{} and ({from}, {to})", self.neighbours);
        Err(Error::parameter("distances", value, "must rise from above 0"))
    }

    /// Every pair of neighbours (each in both directions), in a random order, each followed by its others;
    /// a cell without neighbours has no pair, and where there is no other of a kind, none is drawn.
    ///
    /// # Errors
    /// [`Error::Parameter`] for distances that do not rise; [`Error::Data`] for coordinates that are no
    /// numbers, or when no two cells are neighbours, naming the nearest distance there is.
    pub fn pairs(&self, coordinates: ArrayView2<f64>, seed: u64) -> Result<Vec<CellPair>> {
        self.check()?;
        let grid = Grid::new(coordinates, self.hard.1)?;
        let n = coordinates.nrows();
        let mut anchors: Vec<(u32, u32)> = Vec::new();
        for a in 0..n {
            grid.within(a, |b, squared| {
                if b != a && squared <= self.neighbours * self.neighbours && squared > 1e-6 {
                    anchors.push((a as u32, b as u32));
                }
            });
        }
        if anchors.is_empty() {
            let nearest = (0..n.min(1000)).map(|a| grid.nearest(a)).fold(f64::INFINITY, f64::min);
            let reason = format!(
                "no two cells are within {}; the nearest that were looked at are {nearest:.3} apart. The \
                 coordinates may be in another unit",
                self.neighbours
            );
            return Err(Error::data("obsm[\"spatial\"]", reason));
        }
        let mut rng = Rng::new(seed);
        anchors.sort_unstable();
        rng.shuffle(&mut anchors);
        let mut pools: HashMap<u32, Vec<u32>> = HashMap::new();
        let mut pairs = Vec::new();
        for (anchor, other) in anchors {
            pairs.push(CellPair { anchor, other, neighbours: true });
            let hard = pools.entry(anchor).or_insert_with(|| {
                let mut pool = Vec::new();
                grid.within(anchor as usize, |b, squared| {
                    if squared >= self.hard.0 * self.hard.0 {
                        pool.push(b as u32);
                    }
                });
                pool.sort_unstable();
                pool
            });
            let mut add = |other| pairs.push(CellPair { anchor, other, neighbours: false });
            for _ in 0..self.others.0.min(hard.len()) {
                add(hard[rng.below(hard.len())]);
            }
            for _ in 0..self.others.1 {
                if let Some(far) = grid.far_from(anchor as usize, &mut rng) {
                    add(far as u32);
                }
            }
        }
        Ok(pairs)
    }
}

/// Cells in squares as wide as the farthest distance that is looked for.
struct Grid<'a> {
    coordinates: ArrayView2<'a, f64>,
    reach: f64,
    squares: HashMap<(i64, i64), Vec<u32>>,
}

impl<'a> Grid<'a> {
    fn new(coordinates: ArrayView2<'a, f64>, reach: f64) -> Result<Self> {
        if coordinates.ncols() < 2 {
            return Err(Error::shape("coordinates", "2 columns", coordinates.ncols()));
        }
        if let Some(bad) = coordinates.iter().find(|c| !c.is_finite()) {
            return Err(Error::data("obsm[\"spatial\"]", format!("holds {bad}")));
        }
        let mut grid = Grid { coordinates, reach, squares: HashMap::new() };
        for i in 0..coordinates.nrows() {
            grid.squares.entry(grid.square(i)).or_default().push(i as u32);
        }
        Ok(grid)
    }

    fn square(&self, i: usize) -> (i64, i64) {
        let at = |axis| (self.coordinates[(i, axis)] / self.reach).floor() as i64;
        (at(0), at(1))
    }

    fn squared(&self, a: usize, b: usize) -> f64 {
        let d = |axis| self.coordinates[(a, axis)] - self.coordinates[(b, axis)];
        d(0) * d(0) + d(1) * d(1)
    }

    /// Calls `f` with every cell within reach, itself included, and the square of its distance.
    fn within(&self, a: usize, mut f: impl FnMut(usize, f64)) {
        let (x, y) = self.square(a);
        for square in (x - 1..=x + 1).flat_map(|x| (y - 1..=y + 1).map(move |y| (x, y))) {
            for &b in self.squares.get(&square).into_iter().flatten() {
                let squared = self.squared(a, b as usize);
                if squared <= self.reach * self.reach {
                    f(b as usize, squared);
                }
            }
        }
    }

    fn nearest(&self, a: usize) -> f64 {
        let others = (0..self.coordinates.nrows()).filter(|&b| b != a);
        others.map(|b| self.squared(a, b)).filter(|d| *d > 0.0).fold(f64::INFINITY, f64::min).sqrt()
    }

    /// A random cell beyond reach, if some are found.
    fn far_from(&self, a: usize, rng: &mut Rng) -> Option<usize> {
        const TRIES: usize = 64;
        let n = self.coordinates.nrows();
        (0..TRIES).map(|_| rng.below(n)).find(|&b| self.squared(a, b) > self.reach * self.reach)
    }
}
