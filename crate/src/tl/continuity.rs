//! How continuous domains are in space: [`chaos`] and [`pas`], which need no true labels.
//!
//! Both as SDMBench (Yuan et al., 2024) computes them: the smaller, the smoother. Observations
//! without a label are left out.

use super::Labels;
use crate::error::{Error, Result};
use crate::linalg::KdTree;
use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

/// The labelled rows, and the group of each.
fn labelled(
    coordinates: ArrayView2<f64>,
    labels: &(impl Labels + ?Sized),
) -> Result<(Array2<f64>, Vec<usize>)> {
    let groups = labels.groups();
    if groups.len() != coordinates.nrows() {
        return Err(Error::shape("labels", coordinates.nrows(), groups.len()));
    }
    let rows: Vec<usize> = (0..groups.len()).filter(|&i| groups[i].is_some()).collect();
    if rows.is_empty() {
        return Err(Error::data("labels", "no observation has one"));
    }
    let points = coordinates.select(Axis(0), &rows);
    if points.iter().any(|v| !v.is_finite()) {
        return Err(Error::data("coordinates", "hold NaN or infinity; drop those rows"));
    }
    Ok((points, groups.into_iter().flatten().collect()))
}

/// CHAOS: the mean distance of an observation to the nearest other one of its domain, with
/// coordinates (n × 2 or 3) standardised. Domains of one or two observations add nothing, so that
/// nothing but such domains scores 0.
///
/// # Errors
/// [`Error::Shape`] when there is not one label a row; [`Error::Data`] when there is no label, or a
/// coordinate is not finite, or a column of them is constant.
pub fn chaos(coordinates: ArrayView2<f64>, labels: &(impl Labels + ?Sized)) -> Result<f64> {
    let (mut points, group) = labelled(coordinates, labels)?;
    let mean = points.mean_axis(Axis(0)).expect("there are rows");
    points -= &mean;
    for (j, mut column) in points.columns_mut().into_iter().enumerate() {
        let sd = (column.iter().map(|v| v * v).sum::<f64>() / column.len() as f64).sqrt();
        // The mean of equal numbers is theirs but for rounding.
        if sd <= 1e-14 * mean[j].abs() {
            let reason = format!("column {j} is constant; leave it out");
            return Err(Error::data("coordinates", reason));
        }
        column /= sd;
    }
    let groups = group.iter().max().map_or(0, |m| m + 1);
    let mut total = 0.0;
    for g in 0..groups {
        let rows: Vec<usize> = (0..group.len()).filter(|&i| group[i] == g).collect();
        if rows.len() <= 2 {
            continue;
        }
        let domain = points.select(Axis(0), &rows);
        let tree = KdTree::new(domain.view())?;
        let nearest = |i: usize| {
            // Others may lie on the same spot.
            let found = tree.nearest(&domain.row(i).to_vec(), 2);
            found.iter().find(|n| n.index != i).map_or(0.0, |n| n.distance)
        };
        let all: Vec<f64> = (0..rows.len()).into_par_iter().with_min_len(64).map(nearest).collect();
        total += all.iter().sum::<f64>();
    }
    Ok(total / group.len() as f64)
}

/// PAS, the part of abnormal spots: of observations of which more than half of the 10 nearest ones
/// are of another domain, as those of a domain of up to 5 always are.
///
/// Of equally near ones, those of smaller row count; the reference leaves it to a sort.
///
/// # Errors
/// [`Error::Shape`] when there is not one label a row; [`Error::Data`] with fewer than 11 labelled
/// observations, or a coordinate that is not finite.
pub fn pas(coordinates: ArrayView2<f64>, labels: &(impl Labels + ?Sized)) -> Result<f64> {
    const NEAREST: usize = 10;
    let (points, group) = labelled(coordinates, labels)?;
    if group.len() <= NEAREST {
        let reason =
            format!("need more than {NEAREST} observations with one, found {}", group.len());
        return Err(Error::data("labels", reason));
    }
    let tree = KdTree::new(points.view())?;
    let abnormal = |&i: &usize| {
        let found = tree.nearest(&points.row(i).to_vec(), NEAREST + 1);
        let others = found.iter().filter(|n| n.index != i).take(NEAREST);
        others.filter(|n| group[n.index] != group[i]).count() > NEAREST / 2
    };
    let count = (0..group.len()).into_par_iter().with_min_len(64).filter(abnormal).count();
    Ok(count as f64 / group.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anndata::Categorical;

    fn grid() -> Array2<f64> {
        Array2::from_shape_fn(
            (400, 2),
            |(i, j)| if j == 0 { (i % 20) as f64 } else { (i / 20) as f64 },
        )
    }

    #[test]
    fn halves_are_smooth_and_scattered_labels_are_not() {
        let x = grid();
        let halves: Vec<usize> = (0..400).map(|i| usize::from(i % 20 < 10)).collect();
        let scattered: Vec<usize> = (0..400).map(|i| (i * 7919 % 613) % 5).collect();
        // One step of the grid, over the standard deviation of 0 … 19.
        let step = 1.0 / (399.0f64 / 12.0).sqrt();
        assert!((chaos(x.view(), &halves).unwrap() - step).abs() < 1e-12);
        assert!(chaos(x.view(), &scattered).unwrap() > step);
        assert!(pas(x.view(), &halves).unwrap() < 0.05);
        assert!(pas(x.view(), &scattered).unwrap() > 0.8);
        let mut one = vec![Some("a"); 400];
        one[210] = Some("b");
        one[0] = None;
        let one = Categorical::from_labels(&one);
        assert_eq!(pas(x.view(), &one).unwrap(), 1.0 / 399.0);
        assert!((chaos(x.view(), &one).unwrap() / step - 398.0 / 399.0).abs() < 0.01);
    }

    #[test]
    fn what_cannot_be_scored_is_refused() {
        let mut x = grid();
        assert!(chaos(x.view(), &[1, 2]).is_err());
        assert!(pas(x.slice(ndarray::s![..10, ..]), &[1; 10]).is_err());
        let none = Categorical::from_labels(&[None::<&str>; 400]);
        assert!(chaos(x.view(), &none).is_err());
        let line = Array2::<f64>::zeros((20, 2));
        assert!(chaos(line.view(), &[0; 20]).unwrap_err().to_string().contains("column 0"));
        // The mean of twenty times 0.1 is not quite 0.1.
        let line = Array2::from_shape_fn((20, 2), |(i, j)| if j == 0 { i as f64 } else { 0.1 });
        let e = chaos(line.view(), &[0; 20]).unwrap_err().to_string();
        assert!(e.contains("column 1 is constant"), "{e}");
        x[[3, 1]] = f64::NAN;
        assert!(pas(x.view(), &[1; 400]).is_err());
    }

    #[test]
    fn small_domains_add_nothing_to_one_and_are_abnormal_to_the_other() {
        let x = grid();
        let pairs: Vec<usize> = (0..400).map(|i| i / 2).collect();
        assert_eq!(chaos(x.view(), &pairs).unwrap(), 0.0);
        assert_eq!(chaos(x.view(), &(0..400).collect::<Vec<_>>()).unwrap(), 0.0);
        let fives: Vec<usize> = (0..400).map(|i| i / 5).collect();
        assert_eq!(pas(x.view(), &fives).unwrap(), 1.0);
    }
}
