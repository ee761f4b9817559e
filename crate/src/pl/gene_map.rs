//! A predicted gene map beside what was measured.

use super::figure::Figure;
use super::keys::{self, Key, values};
use super::options::Options;
use super::points::PointMap;
use super::spatial::spatial;
use crate::anndata::AnnData;
use crate::error::Result;
use crate::tl::pearson_columns;
use ndarray::Array2;
use std::sync::Arc;

/// One gene of a predicted map side by side on the tissue, on one colour scale: as it was measured,
/// as the spots that trained have it, and as it was predicted, with Pearson's correlation between
/// the first and the last in its title: over the spots that were hidden, or over all spots where
/// none was.
///
/// Reads what [`GeneMapFit::predicted`](crate::models::gene_maps::GeneMapFit::predicted) holds: X,
/// `layers["measured"]`, `obs["is_spot"]`, `obs["training"]`, `obsm["spatial"]` and
/// `uns["spatial"]`. Writes nothing. Of a map with points between the spots the second panel is
/// left out, since all spots trained.
///
/// A gene, layer or column that does not exist is the error
/// [`Error::MissingKey`](crate::Error::MissingKey) when the figure is drawn.
pub fn gene_map(map: &AnnData, gene: &str) -> Figure<PointMap> {
    match panels(map, gene) {
        Ok((keys, titles)) => spatial(map, keys)
            .titles(titles)
            .shared_scale(true)
            .vmax("p99")
            .na_color("#00000000")
            .ncols(3),
        Err(e) => Figure::new(PointMap { data: Err(Arc::new(e)), options: Options::default() }),
    }
}

/// What is drawn, and what stands above it.
fn panels(map: &AnnData, gene: &str) -> Result<(Vec<Key>, Vec<String>)> {
    let numbers = |key: Key| -> Result<Vec<f64>> {
        let (matrix, index) = keys::gene(map, &key)?;
        Ok(matrix.column_f32(index).into_iter().map(f64::from).collect())
    };
    let of_gene = || Key::new(gene).use_raw(false);
    let (measured, predicted) = (numbers(of_gene().layer("measured"))?, numbers(of_gene())?);
    let is = |name: &str| map.obs.mask_by(name, |v| v == 1.0);
    let (is_spot, training) = (is("is_spot")?, is("training")?);
    let hidden: Vec<usize> = (0..map.n_obs()).filter(|&i| is_spot[i] && !training[i]).collect();
    let judged: Vec<usize> = match hidden.is_empty() {
        true => (0..map.n_obs()).filter(|&i| is_spot[i]).collect(),
        false => hidden.clone(),
    };
    let column = |v: &[f64]| Array2::from_shape_fn((judged.len(), 1), |(i, _)| v[judged[i]]);
    let (truth, found) = (column(&measured), column(&predicted));
    let correlation = match judged.len() {
        0 | 1 => f64::NAN,
        _ => pearson_columns(truth.view(), found.view())?[0],
    };
    let said = match correlation.is_nan() {
        true => String::new(),
        false => format!(", r = {correlation:.2}"),
    };
    let between = is_spot.iter().filter(|s| !**s).count();
    let mut panels = vec![(format!("{gene}: measured"), measured.clone())];
    if !hidden.is_empty() {
        let shown = |i: usize| if training[i] { measured[i] } else { f64::NAN };
        let count = training.iter().filter(|t| **t).count();
        panels.push((format!("{count} spots that train"), (0..map.n_obs()).map(shown).collect()));
    }
    let title = match between {
        0 => format!("predicted{said}"),
        _ => format!("predicted at {} points{said}", map.n_obs()),
    };
    panels.push((title, predicted));
    Ok(panels.into_iter().map(|(title, numbers)| (values(title.clone(), numbers), title)).unzip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anndata::Frame;

    /// Twenty spots, of which ten trained, or between them ten points.
    fn map(between: bool) -> AnnData {
        let x = Array2::from_shape_fn((20, 2), |(i, g)| (i + 3 * g) as f32);
        let mut obs = Frame::with_len(20);
        let half: Vec<bool> = (0..20).map(|i| i % 2 == 0).collect();
        obs.insert("training", half.clone()).unwrap();
        obs.insert("is_spot", if between { half.clone() } else { vec![true; 20] }).unwrap();
        let genes = Frame::new(vec!["A".into(), "B".into()]);
        let mut map = AnnData::new(x.clone(), obs, genes).unwrap();
        let spot = |i: usize| !between || half[i];
        let measured = Array2::from_shape_fn((20, 2), |(i, g)| match spot(i) {
            true => x[[i, g]] * if g == 0 { 2.0 } else { -1.0 },
            false => f32::NAN,
        });
        map.layers.insert("measured".into(), measured.into());
        let place = Array2::from_shape_fn((20, 2), |(i, d)| if d == 0 { i as f64 } else { 0.0 });
        map.obsm.insert("spatial".into(), place.into());
        map
    }

    #[test]
    fn panels_say_what_was_measured_and_how_well_hidden_spots_are_predicted() {
        let (keys, titles) = panels(&map(false), "A").unwrap();
        assert_eq!(titles, ["A: measured", "10 spots that train", "predicted, r = 1.00"]);
        assert_eq!(keys.len(), 3);
        assert_eq!(panels(&map(false), "B").unwrap().1[2], "predicted, r = -1.00");
        let (_, titles) = panels(&map(true), "A").unwrap();
        assert_eq!(titles, ["A: measured", "predicted at 20 points, r = 1.00"]);
        assert!(gene_map(&map(true), "A").to_png().is_ok());
    }

    #[test]
    fn what_is_missing_is_named() {
        let error =
            |map: &AnnData, gene: &str| gene_map(map, gene).to_png().unwrap_err().to_string();
        assert!(error(&map(false), "C").contains('C'));
        let mut without = map(false);
        without.layers.clear();
        assert!(error(&without, "A").contains("measured"));
        let mut without = map(false);
        without.obs.remove("training");
        assert!(error(&without, "A").contains("training"));
    }
}
