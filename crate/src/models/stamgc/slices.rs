//! Several slices as one object: placed side by side, so that they are smoothed and trained together and no
//! spot of one is taken for a neighbour of another.

use super::graph::{SpotGraph, spot_graph};
use super::params::{Smoothing, Stamgc};
use super::preprocess::fiducial_diameter;
use crate::anndata::{AnnData, Categorical, Concat, Map, Value};
use crate::error::{Error, Result};
use crate::nn::Adjacency;
use crate::pp;
use ndarray::{ArrayView2, Axis};

/// Widths of the smoothing between two slices, so that none sees the other.
const GAP: f64 = 10.0;

impl Stamgc {
    /// Puts slices, with their names, into one object for [`fit`](Stamgc::fit), as published:
    ///
    /// * genes that all have; names of spots get `-` and the slice's name; `obs["slice"]` says where a spot is
    ///   from (or the column of [`slices`](Stamgc::slices));
    /// * `obsm["spatial"]`: each slice is moved to the height of the first and to the right of the one before,
    ///   ten widths of the smoothing apart (horizontal: at its border). Where smoothing is in fiducial diameters,
    ///   as for Visium, the second coordinate changes its sign first, and the width is that of the slice;
    /// * with [`labelled_by`](Stamgc::labelled_by), spots without a label are left out *before* genes are
    ///   selected, as the published code does for several slices.
    ///
    /// `uns["spatial"]` keeps the scale factors of each slice and no pictures, which the places no longer fit.
    ///
    /// ```no_run
    /// use spatialkit::{io, models::{Preset, Stamgc}};
    /// let (a, b) = (io::read("151507")?, io::read("151508")?);
    /// let model = Stamgc::preset(Preset::Vertical).n_domains(7);
    /// let mut both = model.join([("151507", &a), ("151508", &b)])?;
    /// let fit = model.fit(&mut both)?;
    /// # Ok::<(), spatialkit::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Parameter`] without slices or with a name given twice; [`Error::Data`] when the slices share no
    /// gene, when a slice has no spot left, or without a fiducial diameter where smoothing is in those;
    /// [`Error::MissingKey`] without coordinates or the column of labels.
    pub fn join<'a>(
        &self,
        slices: impl IntoIterator<Item = (&'a str, &'a AnnData)>,
    ) -> Result<AnnData> {
        self.check()?;
        let (mut names, mut placed) = (Vec::new(), Vec::new());
        let mut libraries: Map<Value> = Map::new();
        let mut corner: Option<[f64; 2]> = None;
        for (name, slice) in slices {
            let mut a = match self.labelled_spots(slice)? {
                Some(labelled) => slice.take_obs(&labelled),
                None => slice.clone(),
            };
            if a.n_obs() == 0 {
                return Err(Error::data(format!("slice `{name}`"), "has no spots"));
            }
            pp::var_names_make_unique(&mut a);
            let mut xy = a.spatial()?;
            let width = match self.smoothing {
                Smoothing::Units(sigma) => sigma,
                Smoothing::Fiducials(diameters) => {
                    let diameter = fiducial_diameter(&a)?;
                    libraries.insert(name.to_string(), scale_of(diameter));
                    xy.column_mut(1).mapv_inplace(|y| -y);
                    diameters * diameter.floor()
                }
            };
            let lowest = |k: usize| xy.column(k).iter().copied().fold(f64::INFINITY, f64::min);
            let (left, bottom) = (lowest(0), lowest(1));
            let [x, y] = corner.unwrap_or([left, bottom]);
            xy.column_mut(0).mapv_inplace(|v| v - left + x);
            xy.column_mut(1).mapv_inplace(|v| v - bottom + y);
            let right = xy.column(0).iter().copied().fold(x, f64::max);
            corner = Some([right + if self.gap { GAP * width } else { 0.0 }, y]);
            a.obsm.insert("spatial".into(), xy.into());
            names.push(name.to_string());
            placed.push(a);
        }
        let key = self.slice_key.as_deref().unwrap_or("slice");
        let all: Vec<&AnnData> = placed.iter().collect();
        let mut joined = Concat::default().label(key).keys(names).index_unique("-").run(&all)?;
        if joined.n_vars() == 0 {
            return Err(Error::data(
                "slices",
                "have no gene in common; are their names of one kind?",
            ));
        }
        if !libraries.is_empty() {
            joined.uns.insert("spatial".into(), libraries.into());
        }
        Ok(joined)
    }

    /// The slices with their spots among those used, if there are several.
    pub(super) fn slices_of(&self, adata: &AnnData, used: &[usize]) -> Result<Option<Slices>> {
        let Some(key) = &self.slice_key else { return Ok(None) };
        let Categorical { codes, categories, .. } = adata.obs_column(key)?.to_categorical();
        let mut rows = vec![Vec::new(); categories.len()];
        for (k, &i) in used.iter().enumerate() {
            let Ok(slice) = usize::try_from(codes[i]) else {
                let reason = format!("spot `{}` belongs to no slice", adata.obs.names()[i]);
                return Err(Error::data(format!("obs[\"{key}\"]"), reason));
            };
            rows[slice].push(k);
        }
        let each = categories.into_iter().zip(rows).filter(|(_, rows)| !rows.is_empty());
        Ok(Some(Slices(each.collect())))
    }
}

/// The name of each slice and its rows among the spots that are used.
pub(super) struct Slices(Vec<(String, Vec<usize>)>);

impl Slices {
    /// [`spot_graph`] of each slice; no edge leads from one to another.
    pub fn graph(
        &self,
        coordinates: ArrayView2<f64>,
        smoothed: ArrayView2<f32>,
        n_neighbors: usize,
        n_pruning: usize,
    ) -> Result<SpotGraph> {
        let n = coordinates.nrows();
        let (mut spatial, mut pruned) = (vec![Vec::new(); n], vec![Vec::new(); n]);
        for (name, rows) in &self.0 {
            if rows.len() <= n_neighbors {
                let reason = format!("has {} spots, not more than n_neighbors", rows.len());
                return Err(Error::data(format!("slice `{name}`"), reason));
            }
            let (xy, values) = (coordinates.select(Axis(0), rows), smoothed.select(Axis(0), rows));
            let graph = spot_graph(xy.view(), values.view(), n_neighbors, n_pruning)?;
            for (to, from) in [(&mut spatial, &graph.spatial), (&mut pruned, &graph.pruned)] {
                for (k, &row) in rows.iter().enumerate() {
                    to[row] = from.neighbours(k).iter().map(|&j| rows[j as usize] as u32).collect();
                }
            }
        }
        let [spatial, pruned] = [spatial, pruned].map(|rows| Adjacency::from_directed(&rows));
        Ok(SpotGraph { spatial, pruned })
    }
}

/// `{"scalefactors": {"fiducial_diameter_fullres": …}}`.
fn scale_of(diameter: f64) -> Value {
    let map = |key: &str, value: Value| -> Value {
        [(key.to_string(), value)].into_iter().collect::<Map<Value>>().into()
    };
    map("scalefactors", map("fiducial_diameter_fullres", Value::float(diameter)))
}
