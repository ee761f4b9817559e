//! [`GroupTable`]: numbers for each group and gene, as the data frames of scanpy's plots.

use super::grouping::Grouping;
use crate::error::{Error, Result};
use crate::parallel::sum_parts;
use ndarray::Array2;

/// A number for each group (row) and gene (column), as the frames of scanpy's `DotPlot`
/// (`dot_color_df`, `dot_size_df`) and `MatrixPlot` (`values_df`).
#[derive(Debug, Clone, PartialEq)]
pub struct GroupTable {
    /// The names of the rows.
    pub groups: Vec<String>,
    /// The names of the columns; a gene may be there more than once.
    pub genes: Vec<String>,
    /// Groups × genes; NaN where there is no number.
    pub values: Array2<f64>,
}

impl GroupTable {
    /// The number of a group and a gene; NaN where the table has none.
    pub fn get(&self, group: &str, gene: &str) -> f64 {
        let row = self.groups.iter().position(|g| g == group);
        let column = self.genes.iter().position(|g| g == gene);
        row.zip(column).map_or(f64::NAN, |at| self.values[at])
    }

    /// The same numbers with the rows and columns of another table; NaN where there is none.
    pub(super) fn arranged(&self, like: &GroupTable) -> GroupTable {
        use std::collections::HashMap;
        let place = |names: &[String]| -> HashMap<String, usize> {
            names.iter().enumerate().map(|(i, n)| (n.clone(), i)).collect()
        };
        let (rows, columns) = (place(&self.groups), place(&self.genes));
        let at = |(r, c): (usize, usize)| {
            let at = rows.get(&like.groups[r]).zip(columns.get(&like.genes[c]));
            at.map_or(f64::NAN, |(&r, &c)| self.values[[r, c]])
        };
        let values = Array2::from_shape_fn(like.values.dim(), at);
        GroupTable { groups: like.groups.clone(), genes: like.genes.clone(), values }
    }
}

/// Whether and how numbers are stretched to the range from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StandardScale {
    /// They stay as they are.
    #[default]
    None,
    /// Each gene from its smallest to its largest number.
    Var,
    /// Each group from its smallest to its largest number; in plots of single cells, each cell.
    Group,
}

/// The names that scanpy has for them: `"var"`, and `"group"` or `"obs"`.
impl TryFrom<&str> for StandardScale {
    type Error = Error;

    fn try_from(name: &str) -> Result<Self> {
        match name {
            "none" => Ok(StandardScale::None),
            "var" => Ok(StandardScale::Var),
            "group" | "obs" => Ok(StandardScale::Group),
            _ => Err(Error::parameter("standard_scale", name, "is neither var, group nor obs")),
        }
    }
}

/// Takes the smallest number off and divides by the largest of what is left; 0 where that is no
/// number, as it is for equal ones.
pub(super) fn stretch<'a>(line: impl Iterator<Item = &'a mut f64>) {
    let mut line: Vec<&mut f64> = line.collect();
    let low = line.iter().map(|v| **v).filter(|v| !v.is_nan()).fold(f64::INFINITY, f64::min);
    let reach = line.iter().map(|v| **v - low).filter(|v| !v.is_nan()).fold(0.0, f64::max);
    for v in &mut line {
        let t = (**v - low) / reach;
        **v = if t.is_nan() { 0.0 } else { t };
    }
}

/// The same for rows or columns of a table of `width` columns.
pub(super) fn stretch_all(values: &mut [f64], width: usize, scale: StandardScale) {
    match scale {
        StandardScale::None => {}
        StandardScale::Group => values.chunks_mut(width).for_each(|row| stretch(row.iter_mut())),
        StandardScale::Var => {
            for k in 0..width {
                stretch(values.iter_mut().skip(k).step_by(width));
            }
        }
    }
}

/// Over the cells of each group, for each of `width` columns: how many numbers are above the
/// cut-off, their sum, how many numbers there are at all, and their sum.
pub(super) struct Sums {
    above: Vec<f64>,
    above_sum: Vec<f64>,
    count: Vec<f64>,
    sum: Vec<f64>,
}

impl Sums {
    pub fn of(values: &[f64], width: usize, groups: &Grouping, cutoff: f64) -> Sums {
        let len = groups.len() * width;
        let all = sum_parts(groups.codes.len(), 4 * len, 4096, |rows, sums| {
            for i in rows {
                let Ok(g) = usize::try_from(groups.codes[i]) else { continue };
                let row = &values[i * width..(i + 1) * width];
                for (k, &v) in row.iter().enumerate() {
                    if v.is_nan() {
                        continue;
                    }
                    let at = g * width + k;
                    if v > cutoff {
                        sums[at] += 1.0;
                        sums[len + at] += v;
                    }
                    sums[2 * len + at] += 1.0;
                    sums[3 * len + at] += v;
                }
            }
        });
        let part = |k: usize| all[k * len..(k + 1) * len].to_vec();
        Sums { above: part(0), above_sum: part(1), count: part(2), sum: part(3) }
    }

    /// The part of each group's cells whose number is above the cut-off.
    pub fn fractions(&self, width: usize, groups: &Grouping) -> Vec<f64> {
        let of = |(at, n): (usize, &f64)| n / groups.sizes[at / width] as f64;
        self.above.iter().enumerate().map(of).collect()
    }

    /// The means of what are numbers; NaN where there are none.
    pub fn means(&self) -> Vec<f64> {
        self.sum.iter().zip(&self.count).map(|(s, n)| s / n).collect()
    }

    /// The means of what is above the cut-off; 0 where there is nothing.
    pub fn means_above(&self) -> Vec<f64> {
        let mean = |(s, n): (&f64, &f64)| if *n > 0.0 { s / n } else { 0.0 };
        self.above_sum.iter().zip(&self.above).map(mean).collect()
    }
}

/// The median of each group's numbers, as numpy's: the mean of the two in the middle.
pub(super) fn medians(values: &[f64], width: usize, groups: &Grouping) -> Vec<f64> {
    use rayon::prelude::*;
    let order: Vec<usize> = (0..groups.len()).collect();
    let cells = groups.cells(&order);
    let mut start = vec![0];
    start.extend(groups.sizes.iter().scan(0, |end, size| {
        *end += size;
        Some(*end)
    }));
    let median = |at: usize| {
        let (g, k) = (at / width, at % width);
        let cells = &cells[start[g]..start[g + 1]];
        let mut v: Vec<f64> =
            cells.iter().map(|&i| values[i * width + k]).filter(|v| !v.is_nan()).collect();
        if v.is_empty() {
            return f64::NAN;
        }
        let middle = v.len() / 2;
        let even = v.len().is_multiple_of(2);
        let (below, &mut high, _) = v.select_nth_unstable_by(middle, f64::total_cmp);
        if even {
            (below.iter().copied().fold(f64::NEG_INFINITY, f64::max) + high) / 2.0
        } else {
            high
        }
    };
    (0..groups.len() * width).into_par_iter().map(median).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::same_with_any_threads;
    use crate::pl::palette::Color;

    fn grouping(codes: Vec<i32>, k: usize) -> Grouping {
        let size = |g: usize| codes.iter().filter(|&&c| c == g as i32).count();
        Grouping {
            key: "k".into(),
            columns: vec!["k".into()],
            names: (0..k).map(|g| g.to_string()).collect(),
            sizes: (0..k).map(size).collect(),
            colors: vec![Color::rgb(0, 0, 0); k],
            codes,
        }
    }

    #[test]
    fn sums_leave_out_what_is_no_number_as_pandas_does() {
        let groups = grouping(vec![0, 0, 1, -1, 0], 2);
        let values = [1.0, 0.0, f64::NAN, 2.0, -1.0, f64::NAN, 9.0, 9.0, 3.0, 0.0];
        let sums = Sums::of(&values, 2, &groups, 0.0);
        // DataFrame(…).groupby(level=0).mean(), and (df > 0) summed over counts.
        assert_eq!(sums.fractions(2, &groups), [2.0 / 3.0, 1.0 / 3.0, 0.0, 0.0]);
        let means = sums.means();
        assert_eq!(means[..3], [2.0, 2.0 / 3.0, -1.0]);
        assert!(means[3].is_nan());
        assert_eq!(sums.means_above(), [2.0, 2.0, 0.0, 0.0]);
        let m = medians(&values, 2, &groups);
        assert_eq!(m[..3], [2.0, 0.0, -1.0]);
        assert!(m[3].is_nan());
    }

    #[test]
    fn equal_numbers_are_stretched_to_zero() {
        let mut t = [3.0, 1.0, 3.0, 2.0, 3.0, f64::NAN];
        stretch_all(&mut t, 2, StandardScale::Var);
        assert_eq!(t, [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
        let mut t = [1.0, 5.0, -2.0, -2.0];
        stretch_all(&mut t, 2, StandardScale::Group);
        assert_eq!(t, [0.0, 1.0, 0.0, 0.0]);
        assert!(StandardScale::try_from("cells").is_err());
    }

    #[test]
    fn sums_do_not_depend_on_threads() {
        let n = 20_000;
        let groups = grouping((0..n).map(|i| i % 7).collect(), 7);
        let values: Vec<f64> = (0..n * 3).map(|i| (i as f64 * 0.37).sin()).collect();
        same_with_any_threads(|| {
            let s = Sums::of(&values, 3, &groups, 0.1);
            (s.means(), s.means_above(), medians(&values, 3, &groups))
        });
    }
}
