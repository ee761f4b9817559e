//! Maps of tissue and of embeddings: from an [`AnnData`] to a [`PointMap`].

use super::figure::Figure;
use super::keys::{Key, Keys, Paint};
use super::options::Options;
use super::points::{Data, Kind, Picture, PointMap, View, paints};
use crate::anndata::{AnnData, Value};
use crate::error::{Error, Result};
use crate::image::{self, Resolution};
use std::sync::Arc;

/// Spots where they lie on the tissue, over its image, coloured by columns of `obs` or by genes;
/// scanpy's `pl.spatial` and squidpy's `pl.spatial_scatter`.
///
/// Reads `obsm["spatial"]`, and where they exist `uns["spatial"]` (the images and their scales, the
/// diameter of spots), `uns["<key>_colors"]`, and for genes `raw` or `X`. Writes nothing. With
/// several libraries in `uns["spatial"]` no image is drawn: use [`spatial_library`] or
/// [`spatial_libraries`].
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
    map(spatial_data(adata, &keys.keys(), &[None]))
}

/// [`spatial`] under squidpy's name.
pub fn spatial_scatter(adata: &AnnData, keys: impl Keys) -> Figure<PointMap> {
    spatial(adata, keys)
}

/// [`spatial`] with the edges of the graph `obsp[graph]` (`"spatial_connectivities"`, say) drawn
/// between the spots; squidpy's `spatial_scatter(connectivity_key=…)`.
pub fn spatial_graph(adata: &AnnData, keys: impl Keys, graph: &str) -> Figure<PointMap> {
    spatial(adata, keys).edges(adata, graph)
}

/// [`spatial`] for one library of several: the spots whose `obs["library_id"]` is `library` over
/// its image. Where the column has another name, [`spatial_libraries`] takes it.
pub fn spatial_library(adata: &AnnData, keys: impl Keys, library: &str) -> Figure<PointMap> {
    map(spatial_data(adata, &keys.keys(), &[Some(("library_id", library.to_string()))]))
}

/// [`spatial`] for several libraries (slides) side by side: a panel for each category of
/// `obs[library_key]` and key, each over its own image where `uns["spatial"]` has one. Spots
/// without a library are not drawn.
pub fn spatial_libraries(adata: &AnnData, keys: impl Keys, library_key: &str) -> Figure<PointMap> {
    let data = || {
        let column = adata.obs_column(library_key)?.to_categorical();
        let mut present = vec![false; column.categories.len()];
        for &code in &column.codes {
            if let Some(p) = usize::try_from(code).ok().and_then(|c| present.get_mut(c)) {
                *p = true;
            }
        }
        let named = column.categories.iter().zip(&present).filter(|(_, p)| **p);
        let libraries: Vec<_> = named.map(|(n, _)| Some((library_key, n.clone()))).collect();
        if libraries.is_empty() {
            let what = format!("obs[\"{library_key}\"]");
            return Err(Error::data(what, "no spot belongs to a library"));
        }
        spatial_data(adata, &keys.keys(), &libraries)
    };
    map(data())
}

/// Points of `obsm[basis]` (its first two columns), coloured by columns of `obs` or by genes;
/// scanpy's `pl.embedding`. The `X_` of the basis may be left off. Other columns:
/// [`components`](Figure::components).
pub fn embedding(adata: &AnnData, basis: &str, keys: impl Keys) -> Figure<PointMap> {
    map(embedding_data(adata, basis, &keys.keys()))
}

/// [`embedding`] under another name.
pub fn scatter(adata: &AnnData, basis: &str, keys: impl Keys) -> Figure<PointMap> {
    embedding(adata, basis, keys)
}

/// [`embedding`] of `obsm["X_umap"]`.
pub fn umap(adata: &AnnData, keys: impl Keys) -> Figure<PointMap> {
    embedding(adata, "X_umap", keys)
}

/// [`embedding`] of `obsm["X_tsne"]`.
pub fn tsne(adata: &AnnData, keys: impl Keys) -> Figure<PointMap> {
    embedding(adata, "X_tsne", keys)
}

/// [`embedding`] of `obsm["X_diffmap"]`.
pub fn diffmap(adata: &AnnData, keys: impl Keys) -> Figure<PointMap> {
    embedding(adata, "X_diffmap", keys)
}

/// [`embedding`] of `obsm["X_pca"]`. The labels of the axes tell the part of the variance that a
/// component explains, where `uns["pca"]` knows it.
pub fn pca(adata: &AnnData, keys: impl Keys) -> Figure<PointMap> {
    embedding(adata, "X_pca", keys)
}

/// One quantity of the observations against another, each a column of `obs` with numbers or a
/// gene, coloured by `keys` (`()` for none); scanpy's `pl.scatter(x=…, y=…, color=…)`.
///
/// Observations with a value that is not finite are left out, as by scanpy.
///
/// ```
/// use spatialkit::{datasets, pl};
/// let slide = datasets::synthetic(&datasets::Synthetic::default().n_genes(50))?;
/// assert!(pl::scatter_xy(&slide, "MBP", "PCP4", "layer").to_png().is_ok());
/// # Ok::<(), spatialkit::Error>(())
/// ```
pub fn scatter_xy(
    adata: &AnnData,
    x: impl Into<Key>,
    y: impl Into<Key>,
    keys: impl Keys,
) -> Figure<PointMap> {
    let data = || {
        let numbers = |key: &Key| match Paint::of(adata, key)? {
            Paint::Numbers(v) => Ok(v),
            Paint::Labels { .. } => {
                let what = format!("`{}`", key.name());
                Err(Error::data(what, "holds categories; an axis needs numbers"))
            }
        };
        let (x, y) = (x.into(), y.into());
        let points: Vec<[f64; 2]> =
            numbers(&x)?.into_iter().zip(numbers(&y)?).map(|(x, y)| [x, y]).collect();
        if !points.iter().any(|p| p[0].is_finite() && p[1].is_finite()) {
            let what = format!("`{}` and `{}`", x.name(), y.name());
            return Err(Error::data(what, "there are no points to draw"));
        }
        let axes = Some((x.name().to_string(), y.name().to_string()));
        let view = View::plain(points, axes);
        Ok(Data { kind: Kind::Scatter, views: vec![view], paints: paints(adata, &keys.keys())? })
    };
    map(data())
}

/// Writes the colours that `palette` gives the categories of `obs[key]` into
/// `uns["<key>_colors"]`, where every later figure, and scanpy, finds them.
///
/// # Errors
/// [`Error::MissingKey`] without such a column, [`Error::Data`] where it holds numbers,
/// [`Error::Parameter`] for a palette or a colour that does not exist or a list that names a colour
/// for some categories only.
pub fn set_colors(
    adata: &mut AnnData,
    key: &str,
    palette: impl Into<super::Palette>,
) -> Result<()> {
    adata.obs_column(key)?;
    let paint = Paint::of(adata, &Key::new(key))?;
    let Paint::Labels { categories, .. } = &paint else {
        return Err(Error::data(format!("obs[\"{key}\"]"), "holds numbers, not categories"));
    };
    let colors = paint.colors(&palette.into())?;
    if let Some(k) = colors.iter().position(Option::is_none) {
        let reason = "has no colour in the palette";
        return Err(Error::parameter("palette", &categories[k], reason));
    }
    let hex = colors.into_iter().flatten().map(|c| c.hex());
    adata.uns.insert(format!("{key}_colors"), Value::strings(hex));
    Ok(())
}

fn map(data: Result<Data>) -> Figure<PointMap> {
    Figure::new(PointMap { data: data.map_err(Arc::new), options: Options::default() })
}

impl View {
    fn plain(points: Vec<[f64; 2]>, axes: Option<(String, String)>) -> Self {
        View {
            name: None,
            rows: None,
            points: Arc::new(points),
            diameter: None,
            spacing: 0.0,
            pictures: Vec::new(),
            axes,
            edges: None,
        }
    }
}

/// The views of `libraries`, each the key in `obs` and the name of one; `None` for all spots over
/// the only image.
fn spatial_data(
    adata: &AnnData,
    keys: &[Key],
    libraries: &[Option<(&str, String)>],
) -> Result<Data> {
    let coords = adata.spatial()?;
    let all: Vec<[f64; 2]> = coords.rows().into_iter().map(|r| [r[0], r[1]]).collect();
    if all.is_empty() {
        return Err(Error::data("obsm[\"spatial\"]", "there are no spots to draw"));
    }
    let known = image::libraries(adata);
    let view = |library: &Option<(&str, String)>| {
        let Some((key, name)) = library else {
            let only = if let [only] = &known[..] { Some(only.as_str()) } else { None };
            return Ok(View {
                spacing: spacing(&all),
                diameter: only.and_then(|l| image::spot_diameter(adata, Some(l))),
                pictures: only.map_or_else(Vec::new, |l| pictures(adata, l)),
                ..View::plain(all.clone(), None)
            });
        };
        let column = adata.obs_column(key)?;
        let mine = |&i: &usize| column.text(i).as_deref() == Some(name);
        let rows: Vec<usize> = (0..adata.n_obs()).filter(mine).collect();
        if rows.is_empty() {
            let labels = column.to_categorical().categories;
            return Err(Error::missing_key("the library column of obs", "library", name, labels));
        }
        let points: Vec<[f64; 2]> = rows.iter().map(|&i| all[i]).collect();
        let has = known.contains(name);
        Ok(View {
            name: Some(name.clone()),
            rows: Some(Arc::new(rows)),
            spacing: spacing(&points),
            diameter: if has { image::spot_diameter(adata, Some(name)) } else { None },
            pictures: if has { pictures(adata, name) } else { Vec::new() },
            ..View::plain(points, None)
        })
    };
    let views = libraries.iter().map(view).collect::<Result<_>>()?;
    Ok(Data { kind: Kind::Spatial, views, paints: paints(adata, keys)? })
}

/// The images of a library, those for maps first.
fn pictures(adata: &AnnData, library: &str) -> Vec<(String, Result<Picture, Arc<Error>>)> {
    let images = adata.uns.get("spatial").and_then(|s| s.at(&[library, "images"]));
    let names = images.and_then(Value::as_map).map(|m| m.keys().cloned().collect::<Vec<_>>());
    let load = |name: String| {
        let picture = image::tissue(adata, Some(library), &Resolution::Named(name.clone()));
        let picture = picture.map(|t| Picture::new(t.image, t.scale)).map_err(Arc::new);
        (name, picture)
    };
    names.unwrap_or_default().into_iter().map(load).collect()
}

/// Where the embedding lies in `obsm`.
fn basis_key<'a>(adata: &AnnData, basis: &'a str) -> std::borrow::Cow<'a, str> {
    let with_prefix = format!("X_{basis}");
    let has = |k: &str| adata.obsm.contains_key(k);
    if !has(basis) && has(&with_prefix) { with_prefix.into() } else { basis.into() }
}

fn embedding_data(adata: &AnnData, basis: &str, keys: &[Key]) -> Result<Data> {
    let key = basis_key(adata, basis);
    let view = dimensions(adata, &key, (0, 1))?;
    Ok(Data { kind: Kind::Embedding, views: vec![view], paints: paints(adata, keys)? })
}

/// Two columns of `obsm[key]`.
fn dimensions(adata: &AnnData, key: &str, (a, b): (usize, usize)) -> Result<View> {
    let matrix = adata.obsm(key)?;
    let most = a.max(b) + 1;
    if matrix.ncols() < most {
        let what = format!("columns of obsm[\"{key}\"]");
        return Err(Error::shape(what, format!("at least {most}"), matrix.ncols()));
    }
    let (x, y) = (matrix.column_f32(a), matrix.column_f32(b));
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
        "diffmap" => "DC",
        other => other,
    };
    let ratios = match adata.uns.get("pca").and_then(|p| p.at(&["variance_ratio"])) {
        Some(Value::Array { values, .. }) if base == "pca" => values.to_f64().into_owned(),
        _ => Vec::new(),
    };
    let label = |c: usize| match ratios.get(c).filter(|r| r.is_finite()) {
        Some(ratio) => format!("{name}{} ({:.1} %)", c + 1, 100.0 * ratio),
        None => format!("{name}{}", c + 1),
    };
    let mut view = View::plain(points, Some((label(a), label(b))));
    // Kept so that other dimensions can be chosen later.
    view.name = Some(key.to_string());
    Ok(view)
}

/// Replaces the views of an embedding by one for each pair of columns.
pub(super) fn choose_dimensions(
    data: &mut Data,
    adata: &AnnData,
    pairs: &[(usize, usize)],
) -> Result<()> {
    let key = data.views.first().and_then(|v| v.name.clone());
    let (Kind::Embedding, Some(key)) = (data.kind, key) else {
        return Err(Error::parameter("components", "set", "only embeddings have components"));
    };
    if pairs.is_empty() {
        return Err(Error::parameter("components", "[]", "needs at least one pair, e.g. 1,2"));
    }
    data.views = pairs.iter().map(|&p| dimensions(adata, &key, p)).collect::<Result<_>>()?;
    Ok(())
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
