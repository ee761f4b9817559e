//! Structural similarity of two maps of one gene (Wang et al., 2004) where not every place of the
//! grid has a spot.

use super::grid::Windows;

/// The constants of the paper, for a range of 1.
const K1: f64 = 0.01;
const K2: f64 = 0.03;

/// The mean over the windows of
///
/// ```text
/// (2·μx·μy + c1)(2·σxy + c2) / ((μx² + μy² + c1)(σx² + σy² + c2)),  c = (K·range)²
/// ```
///
/// with means and covariances (divisor: one less than the spots) of the spots that a window holds,
/// and the range of the measured map x. NaN where x is constant or there is no window.
pub(super) fn ssim(x: &[f64], y: &[f64], windows: &Windows) -> f64 {
    let (low, high) =
        x.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
    let range = high - low;
    if windows.iter().len() == 0 || range <= 0.0 {
        return f64::NAN;
    }
    let (c1, c2) = ((K1 * range).powi(2), (K2 * range).powi(2));
    let one = |spots: &[u32]| {
        let n = spots.len() as f64;
        let pairs = || spots.iter().map(|&i| (x[i as usize], y[i as usize]));
        let (sx, sy) = pairs().fold((0.0, 0.0), |(sx, sy), (x, y)| (sx + x, sy + y));
        let (mx, my) = (sx / n, sy / n);
        let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
        for (x, y) in pairs() {
            let (x, y) = (x - mx, y - my);
            (xx, yy, xy) = (xx + x * x, yy + y * y, xy + x * y);
        }
        let (vx, vy, cov) = (xx / (n - 1.0), yy / (n - 1.0), xy / (n - 1.0));
        (2.0 * mx * my + c1) * (2.0 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    };
    windows.iter().map(one).sum::<f64>() / windows.iter().len() as f64
}

#[cfg(test)]
mod tests {
    use super::super::SpotGrid;
    use super::*;
    use crate::rng::Rng;
    use std::collections::HashMap;

    const ROWS: usize = 9;
    const COLUMNS: usize = 11;

    /// Two maps on a full grid, row by row.
    fn sample() -> (SpotGrid, Vec<f64>, Vec<f64>) {
        let places: Vec<(usize, usize)> =
            (0..ROWS).flat_map(|r| (0..COLUMNS).map(move |c| (r, c))).collect();
        let whole = |of: fn(&(usize, usize)) -> usize| -> Vec<i64> {
            places.iter().map(|p| of(p) as i64).collect()
        };
        let map = |of: fn(f64, f64) -> f64| -> Vec<f64> {
            places.iter().map(|&(r, c)| of(r as f64, c as f64)).collect()
        };
        let x = map(|r, c| (0.7 * r).sin() + (0.5 * c * r).cos() + 0.1 * c);
        let y = map(|r, c| (0.7 * r + 0.3).sin() + (0.5 * c * r + 0.2).cos() + 0.2);
        (SpotGrid::new(&whole(|p| p.0), &whole(|p| p.1)).unwrap(), x, y)
    }

    #[test]
    fn a_full_grid_gives_what_scikit_image_gives() {
        // skimage.metrics.structural_similarity(x, y, data_range=x.max() - x.min()), 0.26.
        let (grid, x, y) = sample();
        let all: Vec<usize> = (0..x.len()).collect();
        let windows = grid.windows(&all);
        assert_eq!(windows.iter().len(), (ROWS - 6) * (COLUMNS - 6));
        assert!((ssim(&x, &y, &windows) - 0.5069986475405126).abs() < 1e-12);
        assert!((ssim(&x, &x, &windows) - 1.0).abs() < 1e-12);
    }

    /// The same by a search of all places, one window at a time.
    fn plain(places: &HashMap<(i64, i64), (f64, f64)>, range: f64) -> f64 {
        let (rows, columns): (Vec<i64>, Vec<i64>) = places.keys().copied().unzip();
        let inside = |v: i64, all: &[i64]| {
            v - 3 >= *all.iter().min().unwrap() && v + 3 <= *all.iter().max().unwrap()
        };
        let mut middles: Vec<_> =
            places.keys().filter(|p| inside(p.0, &rows) && inside(p.1, &columns)).collect();
        middles.sort_unstable();
        let (mut sum, mut n) = (0.0, 0);
        for &&(r, c) in &middles {
            let near = |p: &(i64, i64)| (p.0 - r).abs() <= 3 && (p.1 - c).abs() <= 3;
            let v: Vec<(f64, f64)> =
                places.iter().filter(|(p, _)| near(p)).map(|(_, v)| *v).collect();
            if v.len() < 2 {
                continue;
            }
            let k = v.len() as f64;
            let mean =
                |of: &dyn Fn(f64, f64) -> f64| v.iter().map(|v| of(v.0, v.1)).sum::<f64>() / k;
            let (mx, my) = (mean(&|x, _| x), mean(&|_, y| y));
            let unbiased = k / (k - 1.0);
            let (xx, yy) = (mean(&|x, _| x * x) - mx * mx, mean(&|_, y| y * y) - my * my);
            let xy = mean(&|x, y| x * y) - mx * my;
            let (c1, c2) = ((0.01 * range).powi(2), (0.03 * range).powi(2));
            sum += (2.0 * mx * my + c1) * (2.0 * unbiased * xy + c2)
                / ((mx * mx + my * my + c1) * (unbiased * (xx + yy) + c2));
            n += 1;
        }
        sum / f64::from(n)
    }

    #[test]
    fn places_without_a_spot_do_not_count() {
        let (grid, x, y) = sample();
        let mut rng = Rng::new(8);
        // Spots of a honeycomb, and an irregular choice in another order.
        let checkered: Vec<usize> =
            (0..x.len()).filter(|i| (i / COLUMNS + i % COLUMNS).is_multiple_of(2)).collect();
        let mut some: Vec<usize> = (0..x.len()).collect();
        rng.shuffle(&mut some);
        some.truncate(40);
        for chosen in [checkered, some] {
            let of = |v: &[f64]| chosen.iter().map(|&i| v[i]).collect::<Vec<f64>>();
            let (a, b) = (of(&x), of(&y));
            let at = |&i: &usize| ((i / COLUMNS) as i64, (i % COLUMNS) as i64);
            let places =
                chosen.iter().map(at).zip(a.iter().copied().zip(b.iter().copied())).collect();
            let range = a.iter().fold(f64::MIN, |m, &v| m.max(v))
                - a.iter().fold(f64::MAX, |m, &v| m.min(v));
            let got = ssim(&a, &b, &grid.windows(&chosen));
            assert!((got - plain(&places, range)).abs() < 1e-10, "{got}");
        }
    }

    #[test]
    fn a_constant_map_and_a_small_grid_have_none() {
        let (grid, x, y) = sample();
        let all: Vec<usize> = (0..x.len()).collect();
        let flat = vec![2.0; x.len()];
        assert!(ssim(&flat, &y, &grid.windows(&all)).is_nan());
        assert!(ssim(&x, &flat, &grid.windows(&all)).is_finite());
        let corner: Vec<usize> = (0..5).collect();
        assert!(ssim(&x[..5], &y[..5], &grid.windows(&corner)).is_nan());
        assert_eq!(grid.windows(&[]).iter().len(), 0);
    }
}
