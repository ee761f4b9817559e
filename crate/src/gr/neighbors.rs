//! [`spatial_neighbors`]: the graph of neighbouring spots, and where it is written.

use super::build::{self, Edges, Kind};
use super::graph::{categories, coordinates};
use super::transform::{Transform, connectivities};
use crate::anndata::{AnnData, Map, Matrix, Sparse, Value, Values};
use crate::error::{Error, Result};
use ndarray::{Array2, Axis};

/// Options of [`spatial_neighbors`].
#[derive(Debug, Clone, PartialEq)]
pub struct SpatialNeighbors {
    /// `None`: the grid where `uns["spatial"]` is, nearest neighbours elsewhere.
    kind: Option<Kind>,
    n_neighs: usize,
    n_rings: Option<usize>,
    interval: Option<(f64, f64)>,
    percentile: Option<f64>,
    transform: Transform,
    set_diag: bool,
    library_key: Option<String>,
    spatial_key: String,
    key_added: String,
}

impl Default for SpatialNeighbors {
    /// What squidpy does when nothing is said: the 6 neighbours of a Visium grid where
    /// `uns["spatial"]` is there, the 6 nearest spots elsewhere.
    fn default() -> Self {
        SpatialNeighbors {
            kind: None,
            n_neighs: 6,
            n_rings: None,
            interval: None,
            percentile: None,
            transform: Transform::None,
            set_diag: false,
            library_key: None,
            spatial_key: "spatial".into(),
            key_added: "spatial".into(),
        }
    }
}

impl SpatialNeighbors {
    fn of(kind: Kind) -> Self {
        SpatialNeighbors { kind: Some(kind), ..SpatialNeighbors::default() }
    }

    /// A grid: of the `n_neighs` nearest spots those nearer than 1.3 times the median distance.
    /// 6 for the hexagonal grid of Visium, 4 for a square one, 8 for a square one with its
    /// diagonals. As `coord_type="grid"`. Where at least half of the distances are 0, because spots
    /// were recorded several times, the median is that of the others (squidpy has no edges then).
    pub fn grid(n_neighs: usize) -> Self {
        SpatialNeighbors { n_neighs, ..SpatialNeighbors::of(Kind::Grid) }
    }

    /// A grid whose first ring is a Delaunay triangulation, without a limit on distance.
    pub fn delaunay_grid() -> Self {
        SpatialNeighbors::of(Kind::DelaunayGrid)
    }

    /// The `n_neighs` nearest spots of each spot; not symmetric.
    pub fn knn(n_neighs: usize) -> Self {
        SpatialNeighbors { n_neighs, ..SpatialNeighbors::of(Kind::Knn) }
    }

    /// All spots at most `radius` away.
    pub fn radius(radius: f64) -> Self {
        SpatialNeighbors::of(Kind::Radius(radius))
    }

    /// All spots whose distance is at least `from` and at most `to`.
    pub fn radius_between(from: f64, to: f64) -> Self {
        SpatialNeighbors::of(Kind::Radius(from.max(to))).between(from, to)
    }

    /// The edges of a Delaunay triangulation (2-D).
    pub fn delaunay() -> Self {
        SpatialNeighbors::of(Kind::Delaunay)
    }

    /// For grids: neighbours up to so many steps away, the number of steps being the distance.
    /// Default: 1.
    pub fn n_rings(mut self, n: usize) -> Self {
        self.n_rings = Some(n);
        self
    }

    /// Keep edges of these lengths only (both ends included); for Delaunay and radius graphs.
    pub fn between(mut self, from: f64, to: f64) -> Self {
        self.interval = Some((from.min(to), from.max(to)));
        self
    }

    /// Drop edges longer than this percentile (0 to 100) of all lengths; not for grids. As in
    /// squidpy, the diagonal and edges dropped before count as lengths of 0.
    pub fn percentile(mut self, percentile: f64) -> Self {
        self.percentile = Some(percentile);
        self
    }

    /// How weights are made from edges. Default: they are 1.
    pub fn transform(mut self, transform: Transform) -> Self {
        self.transform = transform;
        self
    }

    /// Whether every spot is its own neighbour in the connectivities. Default: false.
    pub fn set_diag(mut self, yes: bool) -> Self {
        self.set_diag = yes;
        self
    }

    /// A column of `obs` with slices: only spots of one slice are neighbours.
    pub fn library_key(mut self, key: impl Into<String>) -> Self {
        self.library_key = Some(key.into());
        self
    }

    /// The entry of `obsm` with the coordinates. Default: `spatial`.
    pub fn spatial_key(mut self, key: impl Into<String>) -> Self {
        self.spatial_key = key.into();
        self
    }

    /// How the entries that are written begin. Default: `spatial`.
    pub fn key_added(mut self, key: impl Into<String>) -> Self {
        self.key_added = key.into();
        self
    }

    /// The kind of graph, with options that it has no use for refused.
    fn check(&self, adata: &AnnData) -> Result<Kind> {
        let visium = adata.uns.contains_key("spatial");
        let auto = if visium { Kind::Grid } else { Kind::Knn };
        let kind = self.kind.clone().unwrap_or(auto);
        let grid = matches!(kind, Kind::Grid | Kind::DelaunayGrid);
        if let Some(rings) = self.n_rings {
            if rings == 0 {
                return Err(Error::parameter("n_rings", 0, "must be at least 1"));
            }
            if !grid {
                let reason = "rings are for grids: `SpatialNeighbors::grid(6).n_rings(…)`";
                return Err(Error::parameter("n_rings", rings, reason));
            }
        }
        if let Some((from, to)) = self.interval {
            let shown = format!("{from} to {to}");
            if !matches!(kind, Kind::Delaunay | Kind::Radius(_)) {
                let reason = "an interval of lengths is for Delaunay and radius graphs";
                return Err(Error::parameter("between", shown, reason));
            }
            if !from.is_finite() || !to.is_finite() || from < 0.0 {
                let reason = "must be two finite distances that are not negative";
                return Err(Error::parameter("between", shown, reason));
            }
        }
        if let Kind::Radius(r) = kind
            && !(r > 0.0 && r.is_finite())
        {
            return Err(Error::parameter("radius", r, "must be a finite distance above 0"));
        }
        if let Some(p) = self.percentile {
            if grid {
                let reason = "is for graphs that are no grid; all edges of a grid have one length";
                return Err(Error::parameter("percentile", p, reason));
            }
            if !(0.0..=100.0).contains(&p) {
                return Err(Error::parameter("percentile", p, "must be between 0 and 100"));
            }
        }
        if self.n_neighs == 0 {
            return Err(Error::parameter("n_neighs", 0, "must be at least 1"));
        }
        Ok(kind)
    }

    /// What `uns` tells of the graph, under squidpy's names.
    fn params(&self, kind: &Kind) -> Map<Value> {
        let mut params = Map::new();
        let mut put = |key: &str, value: Value| params.insert(key.into(), value);
        let grid = matches!(kind, Kind::Grid | Kind::DelaunayGrid);
        put("coord_type", if grid { "grid" } else { "generic" }.into());
        match kind {
            Kind::Knn => {
                put("n_neighbors", Value::int(self.n_neighs as i64));
            }
            Kind::Grid | Kind::DelaunayGrid => {
                put("n_neighbors", Value::int(self.n_neighs as i64));
                put("n_rings", Value::int(self.n_rings.unwrap_or(1) as i64));
                let delaunay = Values::Bool(vec![*kind == Kind::DelaunayGrid]);
                put("delaunay", Value::Array { shape: vec![], values: delaunay });
            }
            Kind::Radius(_) | Kind::Delaunay => {
                let radius = match (self.interval, kind) {
                    (Some((from, to)), _) => {
                        Value::Array { shape: vec![2], values: vec![from, to].into() }
                    }
                    (None, Kind::Radius(r)) => Value::float(*r),
                    (None, _) => Value::Null,
                };
                put("radius", radius);
            }
        }
        put("transform", self.transform.name().map_or(Value::Null, Value::from));
        params
    }
}

/// The rows of each slice, in rising order; one nameless slice without a `library_key`.
fn libraries(adata: &AnnData, key: Option<&str>) -> Result<Vec<(String, Vec<usize>)>> {
    let Some(key) = key else {
        return Ok(vec![(String::new(), (0..adata.n_obs()).collect())]);
    };
    let c = categories(adata, key)?;
    let mut all: Vec<(String, Vec<usize>)> =
        c.categories.iter().map(|name| (name.clone(), Vec::new())).collect();
    for (i, &code) in c.codes.iter().enumerate() {
        let Ok(slice) = usize::try_from(code) else {
            let name = &adata.obs.names()[i];
            let reason = format!("observation `{name}` (row {i}) has no slice; drop such first");
            return Err(Error::data(format!("obs[\"{key}\"]"), reason));
        };
        all[slice].1.push(i);
    }
    all.retain(|(_, rows)| !rows.is_empty());
    Ok(all)
}

/// Makes the graph of neighbouring spots.
///
/// Matches `squidpy.gr.spatial_neighbors` 1.8.2 (and its `_grid`, `_knn`, `_radius` and `_delaunay`
/// forms): the same edges, distances within 1e-12 relative, weights within 1e-6. Where several
/// answers are right the choice is fixed here and open in squidpy: of equally distant spots those
/// of lower index are nearest; four or more spots on one circle, as in a square grid, are
/// triangulated from the one of lowest index. Of spots at one place the first takes part in a
/// triangulation and the others have no edge (as in squidpy, which may keep another); spots on one
/// line make a path (squidpy fails).
///
/// Writes `obsp["spatial_connectivities"]` (`f32`) and `obsp["spatial_distances"]` (edges of length
/// 0 are left out, as by squidpy), both n × n and sparse, and `uns["spatial_neighbors"]` with
/// `connectivities_key`, `distances_key` and `params`; `spatial` is `key_added`.
///
/// ```
/// use spatialkit::{datasets::{self, Synthetic}, gr::{self, SpatialNeighbors}};
/// let mut slide = datasets::synthetic(&Synthetic::default().n_genes(40).image(false))?;
/// gr::spatial_neighbors(&mut slide, SpatialNeighbors::grid(6).n_rings(2))?;
/// gr::spatial_neighbors(&mut slide, SpatialNeighbors::delaunay().key_added("mesh"))?;
/// assert!(slide.obsp.contains_key("mesh_distances"));
/// # Ok::<(), spatialkit::Error>(())
/// ```
///
/// # Errors
/// [`Error::MissingKey`] without coordinates; [`Error::Data`] when a coordinate is not finite, a
/// spot belongs to no slice, all spots of a grid lie with their nearest ones at one place, or a
/// spectral transform finds a spot that is nobody's neighbour;
/// [`Error::Parameter`] for options out of range or of no use, and when a slice has not more spots
/// than neighbours are asked for; [`Error::Shape`] for a triangulation in other than 2 dimensions.
pub fn spatial_neighbors(adata: &mut AnnData, options: SpatialNeighbors) -> Result<()> {
    let kind = options.check(adata)?;
    let coords = coordinates(adata, &options.spatial_key)?;
    let slices = libraries(adata, options.library_key.as_deref())?;
    let mut parts = Vec::with_capacity(slices.len());
    for (name, rows) in &slices {
        let edges = match slices.len() {
            1 if rows.len() == coords.nrows() => options.edges(&kind, &coords, name)?,
            _ => options.edges(&kind, &coords.select(Axis(0), rows), name)?,
        };
        let weights = connectivities(&edges, options.set_diag, options.transform)?;
        parts.push((weights, edges.without_zeros()));
    }
    let n = coords.nrows();
    let rows: Vec<&[usize]> = slices.iter().map(|(_, r)| r.as_slice()).collect();
    let (weights, edges): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let weights = combine(n, &rows, weights);
    let distances = combine(n, &rows, edges);
    let grid = matches!(kind, Kind::Grid | Kind::DelaunayGrid);
    let steps = |d: Vec<f64>| Values::F32(d.into_iter().map(|x| x as f32).collect());
    let to_f32 = |v: Vec<f64>| if grid { steps(v) } else { Values::F64(v) };

    let key = &options.key_added;
    let (conn, dist) = (format!("{key}_connectivities"), format!("{key}_distances"));
    let about: Map<Value> = [
        ("connectivities_key".to_string(), Value::from(conn.as_str())),
        ("distances_key".to_string(), Value::from(dist.as_str())),
        ("params".to_string(), options.params(&kind).into()),
    ]
    .into();
    let csr = |(indptr, indices): (Vec<usize>, Vec<u32>), values: Values| {
        Matrix::Csr(Sparse { nrows: n, ncols: n, indptr, indices, values })
    };
    let weight_values = steps(weights.values);
    adata.obsp.insert(conn, csr((weights.indptr, weights.indices), weight_values));
    let distance_values = to_f32(distances.values);
    adata.obsp.insert(dist, csr((distances.indptr, distances.indices), distance_values));
    adata.uns.insert(format!("{key}_neighbors"), about.into());
    Ok(())
}

impl SpatialNeighbors {
    /// The edges within one slice.
    fn edges(&self, kind: &Kind, coords: &Array2<f64>, slice: &str) -> Result<Edges> {
        let n = coords.nrows();
        let nearest = matches!(kind, Kind::Grid | Kind::Knn);
        if nearest && self.n_neighs >= n {
            let of = if slice.is_empty() { String::new() } else { format!(" of slice `{slice}`") };
            let reason = format!("must be below the number of spots{of}, {n}");
            return Err(Error::parameter("n_neighs", self.n_neighs, reason));
        }
        let rings = self.n_rings.unwrap_or(1);
        let mut edges = match kind {
            Kind::Knn => build::knn(coords, self.n_neighs)?,
            Kind::Radius(r) => build::within(coords, *r)?,
            Kind::Delaunay => build::delaunay(coords)?,
            Kind::Grid => build::rings(build::grid(coords, self.n_neighs)?, rings)?,
            Kind::DelaunayGrid => build::rings(build::steps(build::delaunay(coords)?), rings)?,
        };
        let before = edges.values.len();
        if let Some((from, to)) = self.interval {
            edges.keep(|d| from <= d && d <= to);
        }
        if let Some(p) = self.percentile {
            // Edges dropped above and the diagonal are stored zeros in squidpy's matrix, which
            // its percentile counts.
            let zeros = n + before - edges.values.len();
            let limit = build::percentile(&edges.values, zeros, p);
            edges.keep(|d| d <= limit);
        }
        Ok(edges)
    }
}

/// The graphs of slices, whose rows are given, as one graph of `n` spots.
fn combine(n: usize, rows: &[&[usize]], parts: Vec<Edges>) -> Edges {
    if let [only] = rows
        && only.len() == n
    {
        return parts.into_iter().next().expect("a graph for every slice");
    }
    let mut place = vec![(0u32, 0u32); n];
    for (s, rows) in rows.iter().enumerate() {
        for (local, &row) in rows.iter().enumerate() {
            place[row] = (s as u32, local as u32);
        }
    }
    let total = parts.iter().map(|p| p.values.len()).sum();
    let mut all = Edges {
        indptr: Vec::with_capacity(n + 1),
        indices: Vec::with_capacity(total),
        values: Vec::with_capacity(total),
    };
    all.indptr.push(0);
    for &(slice, local) in &place {
        let (part, local) = (&parts[slice as usize], local as usize);
        let range = part.indptr[local]..part.indptr[local + 1];
        // Rows of a slice rise, so that the order of its columns stays.
        let global = |&c: &u32| rows[slice as usize][c as usize] as u32;
        all.indices.extend(part.indices[range.clone()].iter().map(global));
        all.values.extend_from_slice(&part.values[range]);
        all.indptr.push(all.indices.len());
    }
    all
}

#[cfg(test)]
#[path = "neighbors_tests.rs"]
mod tests;
