//! Maps of tissue and of embeddings: from an [`AnnData`] to a [`PointMap`].

use super::figure::Figure;
use super::keys::Keys;
use super::points::{Data, Kind, Options, Picture, PointMap, panels};
use crate::anndata::AnnData;
use crate::error::{Error, Result};
use crate::image::{self, Resolution};
use std::sync::Arc;

/// Spots where they lie on the tissue, over its image, coloured by columns of `obs` or by genes;
/// scanpy's `pl.spatial` and squidpy's `pl.spatial_scatter`.
///
/// Reads `obsm["spatial"]`, and where they exist `uns["spatial"]` (the image and its scale, the
/// diameter of spots), `uns["<key>_colors"]`, and for genes `raw` or `X`. Writes nothing. With
/// several libraries in `uns["spatial"]` no image is drawn: use [`spatial_library`].
///
/// A key that does not exist is the error [`Error::MissingKey`] when the figure is drawn.
///
/// ```
/// use spatialkit::{datasets, pl};
/// let slide = datasets::synthetic(&datasets::Synthetic::default().n_genes(50))?;
/// let figure = pl::spatial(&slide, ["layer", "MBP"]).title("Cortex").vmax("p99");
/// assert!(figure.to_png().is_ok());
/// # Ok::<(), spatialkit::Error>(())
/// ```
pub fn spatial(adata: &AnnData, keys: impl Keys) -> Figure<PointMap> {
    map(spatial_data(adata, keys, None))
}

/// [`spatial`] under squidpy's name.
pub fn spatial_scatter(adata: &AnnData, keys: impl Keys) -> Figure<PointMap> {
    spatial(adata, keys)
}

/// [`spatial`] for one library of several: the spots whose `obs["library_id"]` is `library` over
/// its image.
pub fn spatial_library(adata: &AnnData, keys: impl Keys, library: &str) -> Figure<PointMap> {
    let data = || {
        let column = adata.obs_column("library_id")?;
        let mine = |&i: &usize| column.text(i).as_deref() == Some(library);
        let keep: Vec<usize> = (0..adata.n_obs()).filter(mine).collect();
        if keep.is_empty() {
            let labels = column.to_categorical().categories;
            return Err(Error::missing_key("obs[\"library_id\"]", "library", library, labels));
        }
        spatial_data(&adata.take_obs(&keep), keys, Some(library))
    };
    map(data())
}

/// Points of `obsm[basis]` (its first two columns), coloured by columns of `obs` or by genes;
/// scanpy's `pl.embedding`. The `X_` of the basis may be left off.
pub fn embedding(adata: &AnnData, basis: &str, keys: impl Keys) -> Figure<PointMap> {
    map(embedding_data(adata, basis, keys))
}

/// [`embedding`] under another name.
pub fn scatter(adata: &AnnData, basis: &str, keys: impl Keys) -> Figure<PointMap> {
    embedding(adata, basis, keys)
}

/// [`embedding`] of `obsm["X_umap"]`.
pub fn umap(adata: &AnnData, keys: impl Keys) -> Figure<PointMap> {
    embedding(adata, "X_umap", keys)
}

/// [`embedding`] of `obsm["X_pca"]`.
pub fn pca(adata: &AnnData, keys: impl Keys) -> Figure<PointMap> {
    embedding(adata, "X_pca", keys)
}

fn map(data: Result<Data>) -> Figure<PointMap> {
    Figure::new(PointMap { data: Arc::new(data), options: Options::default() })
}

fn spatial_data(adata: &AnnData, keys: impl Keys, library: Option<&str>) -> Result<Data> {
    let coords = adata.spatial()?;
    let points: Vec<[f64; 2]> = coords.rows().into_iter().map(|r| [r[0], r[1]]).collect();
    if points.is_empty() {
        return Err(Error::data("obsm[\"spatial\"]", "there are no spots to draw"));
    }
    let several = library.is_none() && image::libraries(adata).len() > 1;
    let tissue = if several || image::libraries(adata).is_empty() {
        Ok(None)
    } else {
        image::tissue(adata, library, &Resolution::Best)
            .map(|t| Some(Picture::new(t.image, t.scale)))
    };
    let spacing = spacing(&points);
    Ok(Data {
        kind: Kind::Spatial,
        diameter: image::spot_diameter(adata, library).filter(|_| !several),
        spacing,
        panels: panels(adata, &keys.keys())?,
        points,
        // A slide may come without pictures; that is no reason not to draw its spots.
        tissue: match tissue {
            Err(Error::MissingKey { .. }) => Ok(None),
            other => other,
        },
        axes: None,
    })
}

fn embedding_data(adata: &AnnData, basis: &str, keys: impl Keys) -> Result<Data> {
    let with_prefix = format!("X_{basis}");
    let has = |k: &str| adata.obsm.contains_key(k);
    let key = if !has(basis) && has(&with_prefix) { &with_prefix } else { basis };
    let matrix = adata.obsm(key)?;
    if matrix.ncols() < 2 {
        let what = format!("columns of obsm[\"{key}\"]");
        return Err(Error::shape(what, "at least 2", matrix.ncols()));
    }
    let (x, y) = (matrix.column_f32(0), matrix.column_f32(1));
    let points: Vec<[f64; 2]> =
        x.iter().zip(&y).map(|(&x, &y)| [f64::from(x), f64::from(y)]).collect();
    if !points.iter().any(|p| p[0].is_finite() && p[1].is_finite()) {
        return Err(Error::data(format!("obsm[\"{key}\"]"), "there are no points to draw"));
    }
    let base = key.strip_prefix("X_").unwrap_or(key);
    let name = match base {
        "pca" => "PC",
        "umap" => "UMAP",
        "tsne" => "tSNE",
        other => other,
    };
    Ok(Data {
        kind: Kind::Embedding,
        diameter: None,
        spacing: 0.0,
        panels: panels(adata, &keys.keys())?,
        points,
        tissue: Ok(None),
        axes: Some((format!("{name}1"), format!("{name}2"))),
    })
}

/// The median distance of a point to its nearest neighbour, from a thousand points at most; 0
/// where there is none.
pub(crate) fn spacing(points: &[[f64; 2]]) -> f64 {
    let n = points.len();
    let (mut low, mut high) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
    for p in points {
        for c in 0..2 {
            low[c] = low[c].min(p[c]);
            high[c] = high[c].max(p[c]);
        }
    }
    let (w, h) = (high[0] - low[0], high[1] - low[1]);
    if n < 2 || !(w.max(h) > 0.0 && w.is_finite() && h.is_finite()) {
        return 0.0;
    }
    // Points by cells of a grid with about one point each; a line of points gets a line of cells.
    let cell = (w * h / n as f64).sqrt().max(w.max(h) / n as f64);
    let columns = (w / cell) as usize + 1;
    let rows = (h / cell) as usize + 1;
    let at = |p: &[f64; 2]| {
        let c = (((p[0] - low[0]) / cell) as usize).min(columns - 1);
        let r = (((p[1] - low[1]) / cell) as usize).min(rows - 1);
        (c, r)
    };
    let mut cells: Vec<Vec<u32>> = vec![Vec::new(); columns * rows];
    for (i, p) in points.iter().enumerate() {
        let (c, r) = at(p);
        cells[r * columns + c].push(i as u32);
    }
    let nearest = |i: usize| -> f64 {
        let (c, r) = at(&points[i]);
        let mut best = f64::INFINITY;
        for ring in 0..columns.max(rows) {
            // Whatever lies further out is at least `ring - 1` whole cells away.
            if best <= (ring as f64 - 1.0) * cell {
                break;
            }
            let (top, bottom) = (r.saturating_sub(ring), (r + ring).min(rows - 1));
            let (left, right) = (c.saturating_sub(ring), (c + ring).min(columns - 1));
            for row in top..=bottom {
                let edge = row.abs_diff(r) == ring;
                for column in left..=right {
                    if !edge && column.abs_diff(c) != ring {
                        continue;
                    }
                    for &j in &cells[row * columns + column] {
                        let q = points[j as usize];
                        let d = (q[0] - points[i][0]).hypot(q[1] - points[i][1]);
                        // Two observations at one place say nothing about the spacing.
                        if d > 0.0 {
                            best = best.min(d);
                        }
                    }
                }
            }
        }
        best
    };
    let step = n.div_ceil(1000);
    let mut distances: Vec<f64> =
        (0..n).step_by(step).map(nearest).filter(|d| d.is_finite()).collect();
    distances.sort_by(f64::total_cmp);
    distances.get(distances.len() / 2).copied().unwrap_or(0.0)
}
