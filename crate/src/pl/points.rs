//! [`PointMap`]: points in the plane, coloured by category or number, in one or several panels;
//! what [`spatial`](super::spatial) and [`embedding`](super::embedding) show. This file holds the
//! data, `options` what can be asked for, `panel` and `layout` the drawing.

use super::keys::{Key, Paint};
pub(crate) use super::options::Options;
use crate::anndata::{AnnData, Matrix};
use crate::error::{Error, Result};
use crate::image::Image;
use std::sync::Arc;

/// Points with what colours them; see the module's functions for how to get one.
#[derive(Debug, Clone)]
pub struct PointMap {
    pub(crate) data: Result<Data, Arc<Error>>,
    pub(crate) options: Options,
}

/// What is drawn: each of the views coloured by each of the paints.
#[derive(Debug, Clone)]
pub(crate) struct Data {
    pub kind: Kind,
    pub views: Vec<View>,
    pub paints: Vec<(String, Arc<Paint>)>,
}

/// Points in one coordinate system: a slide, or two dimensions of an embedding.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub name: Option<String>,
    /// Which observations the points are, where they are not all.
    pub rows: Option<Arc<Vec<usize>>>,
    /// x and y.
    pub points: Arc<Vec<[f64; 2]>>,
    /// Diameter of a spot in the units of the points.
    pub diameter: Option<f64>,
    /// Distance of neighbouring points.
    pub spacing: f64,
    /// The pictures that lie below, by name; or why one cannot be shown.
    pub pictures: Vec<(String, Result<Picture, Arc<Error>>)>,
    pub axes: Option<(String, String)>,
    /// Pairs of points to join.
    pub edges: Option<Arc<Vec<[u32; 2]>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// y points down, both axes have one unit.
    Spatial,
    /// Only neighbourhood means something; no numbers at the axes.
    Embedding,
    /// Two quantities, with numbers at the axes.
    Scatter,
}

#[derive(Debug, Clone)]
pub(crate) struct Picture {
    pub color: Arc<Image>,
    pub grey: Arc<std::sync::OnceLock<Arc<Image>>>,
    /// Pixels per unit of the points.
    pub scale: f64,
}

impl Picture {
    pub fn new(image: Image, scale: f64) -> Self {
        Picture { color: Arc::new(image), grey: Arc::default(), scale }
    }

    pub fn image(&self, grey: bool) -> Arc<Image> {
        if grey {
            self.grey.get_or_init(|| Arc::new(self.color.to_grey())).clone()
        } else {
            self.color.clone()
        }
    }
}

impl View {
    /// The picture of that name; without a name `hires`, else `lowres`, else the first.
    pub fn picture(&self, name: Option<&str>) -> Result<Option<&Picture>> {
        let found = match name {
            Some(name) => {
                let names = || self.pictures.iter().map(|p| &p.0);
                let absent =
                    || Error::missing_key("images of uns[\"spatial\"]", "image", name, names());
                Some(self.pictures.iter().find(|p| p.0 == name).ok_or_else(absent)?)
            }
            None => ["hires", "lowres"]
                .iter()
                .find_map(|n| self.pictures.iter().find(|p| p.0 == *n))
                .or(self.pictures.first()),
        };
        match found.map(|p| &p.1) {
            None => Ok(None),
            Some(Ok(picture)) => Ok(Some(picture)),
            // A picture without a scale cannot be placed; unless it was asked for, that is no
            // reason not to draw the spots.
            Some(Err(e)) if name.is_none() && matches!(**e, Error::MissingKey { .. }) => Ok(None),
            Some(Err(e)) => Err(again(e)),
        }
    }

    /// Of values for all observations, those of the view's points.
    pub fn pick<T: Copy>(&self, values: &[T]) -> Vec<T> {
        match &self.rows {
            Some(rows) => rows.iter().map(|&i| values[i]).collect(),
            None => values.to_vec(),
        }
    }

    /// Joins points that `graph`, between all observations, joins.
    pub fn join(&mut self, graph: &Matrix) {
        let place: Option<Vec<u32>> = self.rows.as_ref().map(|rows| {
            let mut place = vec![u32::MAX; graph.nrows()];
            rows.iter().enumerate().for_each(|(k, &i)| place[i] = k as u32);
            place
        });
        let of = |i: usize| place.as_ref().map_or(i as u32, |p| p[i]);
        let graph = crate::linalg::Csr::<f32>::of(graph);
        let mut pairs: Vec<[u32; 2]> = Vec::with_capacity(graph.values.len() / 2);
        for i in 0..graph.nrows {
            for (j, weight) in graph.row(i) {
                let (a, b) = (of(i).min(of(j)), of(i).max(of(j)));
                if weight != 0.0 && a != b && b != u32::MAX {
                    pairs.push([a, b]);
                }
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        self.edges = Some(Arc::new(pairs));
    }
}

/// A limit of a colour scale.
#[derive(Debug, Clone, PartialEq)]
pub enum Limit {
    /// That value.
    Value(f64),
    /// That percentile (0 to 100) of the panel's values.
    Percentile(f64),
    /// A text that is neither; it becomes an error when the figure is drawn.
    Unknown(String),
}

impl From<f64> for Limit {
    fn from(v: f64) -> Self {
        Limit::Value(v)
    }
}

impl From<i32> for Limit {
    fn from(v: i32) -> Self {
        Limit::Value(v.into())
    }
}

impl From<&str> for Limit {
    /// A number, or as in scanpy a percentile such as `p99.5`.
    fn from(s: &str) -> Self {
        let percentile = s.strip_prefix('p').and_then(|p| p.parse().ok());
        match percentile.filter(|p| (0.0..=100.0).contains(p)) {
            Some(p) => Limit::Percentile(p),
            None => s.parse().map_or_else(|_| Limit::Unknown(s.into()), Limit::Value),
        }
    }
}

/// One limit for all panels, or one for each; made from what [`Limit`] is made from, or a list.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Limits(pub Vec<Limit>);

impl From<Limit> for Limits {
    fn from(limit: Limit) -> Self {
        Limits(vec![limit])
    }
}

macro_rules! limits {
    ($($ty:ty),*) => {$(
        impl From<$ty> for Limits {
            fn from(limit: $ty) -> Self {
                Limits(vec![limit.into()])
            }
        }

        impl<const N: usize> From<[$ty; N]> for Limits {
            fn from(limits: [$ty; N]) -> Self {
                Limits(limits.into_iter().map(Into::into).collect())
            }
        }

        impl From<Vec<$ty>> for Limits {
            fn from(limits: Vec<$ty>) -> Self {
                Limits(limits.into_iter().map(Into::into).collect())
            }
        }
    )*};
}

limits!(f64, i32, &str);

impl Limits {
    /// That of panel `k` of `n`.
    pub(crate) fn of(&self, name: &'static str, k: usize, n: usize) -> Result<Option<Limit>> {
        match self.0.len() {
            0 => Ok(None),
            1 => Ok(Some(self.0[0].clone())),
            m if m == n => Ok(Some(self.0[k].clone())),
            m => {
                let reason = format!("needs one limit or one for each of the {n} panels");
                Err(Error::parameter(name, format!("{m} limits"), reason))
            }
        }
    }
}

impl PointMap {
    pub(crate) fn data(&self) -> Result<&Data> {
        self.data.as_ref().map_err(|e| again(e))
    }
}

/// The same error once more: a figure may be asked for it several times.
pub(crate) fn again(e: &Error) -> Error {
    match e {
        Error::MissingKey { slot, kind, key, available } => {
            Error::missing_key(slot, kind, key, available)
        }
        Error::Shape { what, expected, found } => Error::shape(what, expected, found),
        Error::Parameter { name, value, reason } => Error::parameter(name, value, reason),
        Error::Data { what, reason } => Error::data(what, reason),
        other => Error::Figure(other.to_string()),
    }
}

/// Paints for each key.
pub(crate) fn paints(adata: &AnnData, keys: &[Key]) -> Result<Vec<(String, Arc<Paint>)>> {
    let paint = |k: &Key| Ok((k.name().to_string(), Arc::new(Paint::of(adata, k)?)));
    keys.iter().map(paint).collect()
}
