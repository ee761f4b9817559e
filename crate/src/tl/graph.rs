//! Where graph clustering and embeddings take their input from: the neighbour graph of `obsp` and
//! the representation it was made of.

use crate::anndata::{AnnData, Matrix, Value};
use crate::error::{Error, Result};
use crate::linalg::Csr;
use ndarray::{Array2, s};
use rayon::prelude::*;

/// The graph that scanpy's `_choose_graph` takes: `obsp[obsp]`, or the connectivities that
/// `uns[neighbors_key]` names (by default `obsp["connectivities"]`), and the key it has.
pub(super) fn choose<'a>(
    adata: &'a AnnData,
    neighbors_key: Option<&str>,
    obsp: Option<&str>,
) -> Result<(&'a Matrix, String)> {
    if let (Some(_), Some(key)) = (neighbors_key, obsp) {
        let reason = "give either `obsp` or `neighbors_key`, not both";
        return Err(Error::parameter("obsp", key, reason));
    }
    let key = match (obsp, neighbors_key) {
        (Some(key), _) => key.to_string(),
        (None, name) => {
            let entry = adata.uns.get(name.unwrap_or("neighbors"));
            if let (Some(name), None) = (name, entry) {
                let maps =
                    adata.uns.iter().filter(|(_, v)| v.at(&["connectivities_key"]).is_some());
                return Err(Error::missing_key("uns", "neighbour graph", name, maps.map(|m| m.0)));
            }
            let named = entry.and_then(|v| v.at(&["connectivities_key"])).and_then(Value::as_str);
            named.unwrap_or("connectivities").to_string()
        }
    };
    match adata.obsp.get(&key) {
        Some(matrix) => Ok((matrix, key)),
        None if obsp.is_some() => Err(Error::missing_key("obsp", "entry", &key, adata.obsp.keys())),
        None => {
            let reason = format!(
                "there is no neighbour graph `{key}`: run `pp::neighbors` first, or name another \
                 graph with `obsp`; obsp has: {}",
                if adata.obsp.is_empty() {
                    "nothing".to_string()
                } else {
                    adata.obsp.keys().cloned().collect::<Vec<_>>().join(", ")
                }
            );
            Err(Error::data("obsp", reason))
        }
    }
}

/// The graph with its weights as `f32`, checked: square, every weight finite and not negative.
/// Duplicates are summed and stored zeros dropped.
pub(super) fn weights(matrix: &Matrix, key: &str, n_obs: usize) -> Result<Csr<f32>> {
    let what = || format!("obsp[\"{key}\"]");
    if matrix.shape() != (n_obs, n_obs) {
        let found = format!("{} × {}", matrix.nrows(), matrix.ncols());
        return Err(Error::shape(what(), format!("{n_obs} × {n_obs}"), found));
    }
    let mut graph = Csr::<f32>::of(matrix);
    let bad = graph.values.par_iter().position_first(|v| !v.is_finite() || *v < 0.0);
    if let Some(at) = bad {
        let row = graph.indptr.partition_point(|&p| p <= at) - 1;
        let reason = format!(
            "the edge of cells {row} and {} has the weight {}; weights must be finite and not \
             negative",
            graph.indices[at], graph.values[at]
        );
        return Err(Error::data(what(), reason));
    }
    compress(&mut graph);
    Ok(graph)
}

/// Sums duplicates (which are neighbours in sorted rows) and drops zeros.
pub(super) fn compress(graph: &mut Csr<f32>) {
    let clean = graph.values.par_iter().all(|&v| v > 0.0)
        && (0..graph.nrows).into_par_iter().with_min_len(1024).all(|r| {
            let row = &graph.indices[graph.indptr[r]..graph.indptr[r + 1]];
            row.windows(2).all(|w| w[0] < w[1])
        });
    if clean {
        return;
    }
    let mut kept = 0;
    let mut start = 0;
    for r in 0..graph.nrows {
        let end = graph.indptr[r + 1];
        let first = kept;
        for k in start..end {
            let (c, v) = (graph.indices[k], graph.values[k]);
            if v == 0.0 {
                continue;
            }
            if kept > first && graph.indices[kept - 1] == c {
                graph.values[kept - 1] += v;
            } else {
                graph.indices[kept] = c;
                graph.values[kept] = v;
                kept += 1;
            }
        }
        start = end;
        graph.indptr[r + 1] = kept;
    }
    graph.indices.truncate(kept);
    graph.values.truncate(kept);
}

/// `(graph + graphᵀ) / 2`, or `None` where the graph is symmetric already.
pub(super) fn symmetrised(graph: &Csr<f32>) -> Option<Csr<f32>> {
    let t = graph.transpose();
    if t.indptr == graph.indptr && t.indices == graph.indices && t.values == graph.values {
        return None;
    }
    let mut out = Csr {
        nrows: graph.nrows,
        ncols: graph.ncols,
        indptr: vec![0],
        indices: vec![],
        values: vec![],
    };
    for r in 0..graph.nrows {
        let (mut a, mut b) = (graph.indptr[r], t.indptr[r]);
        let (a_end, b_end) = (graph.indptr[r + 1], t.indptr[r + 1]);
        while a < a_end || b < b_end {
            let ca = if a < a_end { graph.indices[a] } else { u32::MAX };
            let cb = if b < b_end { t.indices[b] } else { u32::MAX };
            let mut sum = 0.0;
            if ca <= cb {
                sum += 0.5 * graph.values[a];
                a += 1;
            }
            if cb <= ca {
                sum += 0.5 * t.values[b];
                b += 1;
            }
            out.indices.push(ca.min(cb));
            out.values.push(sum);
        }
        out.indptr.push(out.indices.len());
    }
    Some(out)
}

/// The part of the graph between the vertices `keep` (rising).
pub(super) fn subgraph(graph: &Csr<f32>, keep: &[usize]) -> Csr<f32> {
    let mut place = vec![u32::MAX; graph.nrows];
    keep.iter().enumerate().for_each(|(new, &old)| place[old] = new as u32);
    let n = keep.len();
    let mut out = Csr { nrows: n, ncols: n, indptr: vec![0], indices: vec![], values: vec![] };
    for &old in keep {
        for (c, v) in graph.row(old).filter(|(c, _)| place[*c] != u32::MAX) {
            out.indices.push(place[c]);
            out.values.push(v);
        }
        out.indptr.push(out.indices.len());
    }
    out
}

/// The connected component of each vertex of a symmetric graph, numbered by their first vertex,
/// and how many there are.
pub(super) fn components(graph: &Csr<f32>) -> (Vec<u32>, usize) {
    let mut label = vec![u32::MAX; graph.nrows];
    let (mut count, mut open) = (0, Vec::new());
    for start in 0..graph.nrows {
        if label[start] != u32::MAX {
            continue;
        }
        label[start] = count;
        open.push(start);
        while let Some(v) = open.pop() {
            for &c in &graph.indices[graph.indptr[v]..graph.indptr[v + 1]] {
                if label[c as usize] == u32::MAX {
                    label[c as usize] = count;
                    open.push(c as usize);
                }
            }
        }
        count += 1;
    }
    (label, count as usize)
}

/// The representation that scanpy's `_choose_representation` takes: `obsm[use_rep]` or X; without
/// a name X where it has at most 50 columns, else `obsm["X_pca"]`; of it the first `n_pcs` columns.
/// Returns the name too.
pub(super) fn representation(
    adata: &AnnData,
    use_rep: Option<&str>,
    n_pcs: Option<usize>,
) -> Result<(Array2<f64>, String)> {
    const SMALL: usize = 50;
    let name = match (use_rep, n_pcs) {
        (Some(name), _) => name,
        (None, Some(0)) => "X",
        (None, _) if adata.n_vars() <= SMALL && adata.x.is_some() => "X",
        (None, _) => "X_pca",
    };
    let matrix = match name {
        "X" if !adata.obsm.contains_key("X") => adata.x()?,
        "X_pca" if use_rep.is_none() && !adata.obsm.contains_key("X_pca") => {
            let reason = "there is no `X_pca`: run `pp::pca` first, or say `use_rep(\"X\")` to use \
                          all genes";
            return Err(Error::data("obsm", reason));
        }
        _ => adata.obsm(name)?,
    };
    let x = matrix.to_array_f64();
    let sliced = match n_pcs {
        // X itself is never cut, as in scanpy.
        Some(k) if k > 0 && name != "X" => {
            if k > x.ncols() {
                let reason = format!("{name} has {} columns", x.ncols());
                return Err(Error::parameter("n_pcs", k, reason));
            }
            x.slice(s![.., ..k]).to_owned()
        }
        _ => x,
    };
    finite(sliced, name).map(|x| (x, name.to_string()))
}

/// Refuses a representation that holds NaN or infinity.
pub(super) fn finite(x: Array2<f64>, name: &str) -> Result<Array2<f64>> {
    match x.rows().into_iter().position(|r| r.iter().any(|v| !v.is_finite())) {
        None => Ok(x),
        Some(row) => {
            let reason = format!("row {row} holds NaN or infinity; drop such cells first");
            Err(Error::data(name, reason))
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::anndata::Frame;
    use crate::rng::Rng;

    /// A symmetric graph from undirected edges.
    pub(in crate::tl) fn graph(n: usize, edges: &[(usize, usize, f32)]) -> Csr<f32> {
        let mut all: Vec<(u32, u32, f32)> = edges
            .iter()
            .flat_map(|&(a, b, w)| [(a as u32, b as u32, w), (b as u32, a as u32, w)])
            .collect();
        all.sort_by_key(|e| (e.0, e.1));
        let mut out =
            Csr { nrows: n, ncols: n, indptr: vec![0; n + 1], indices: vec![], values: vec![] };
        for (a, b, w) in all {
            out.indptr[a as usize + 1] += 1;
            out.indices.push(b);
            out.values.push(w);
        }
        (0..n).for_each(|r| out.indptr[r + 1] += out.indptr[r]);
        out
    }

    /// Clouds of `n` points each in `d` dimensions, `gap` apart.
    pub(in crate::tl) fn clouds(clouds: usize, n: usize, d: usize, gap: f64) -> Array2<f64> {
        let mut rng = Rng::new(11);
        let centers = Array2::from_shape_simple_fn((clouds, d), || rng.normal() * gap);
        Array2::from_shape_fn((clouds * n, d), |(i, j)| rng.normal() + centers[[i % clouds, j]])
    }

    /// A symmetric neighbour graph of `x` with weights in (0, 1].
    pub(in crate::tl) fn neighbours(x: &Array2<f64>, k: usize) -> Csr<f32> {
        let (index, distance) = crate::linalg::knn(x.view(), k).unwrap();
        let mut edges = std::collections::BTreeMap::new();
        for i in 0..x.nrows() {
            let scale = distance[[i, k - 1]].max(1e-12);
            for j in 0..k {
                let (a, b) = (i.min(index[[i, j]] as usize), i.max(index[[i, j]] as usize));
                if a != b {
                    let w = (-distance[[i, j]] / scale).exp() as f32;
                    let e = edges.entry((a, b)).or_insert(0f32);
                    *e = *e + w - *e * w;
                }
            }
        }
        let edges: Vec<_> = edges.into_iter().map(|((a, b), w)| (a, b, w)).collect();
        graph(x.nrows(), &edges)
    }

    /// An object with this graph as its neighbour graph.
    pub(in crate::tl) fn with_graph(graph: Csr<f32>) -> AnnData {
        let mut adata = AnnData { obs: Frame::with_len(graph.nrows), ..AnnData::default() };
        adata.obsp.insert("connectivities".into(), graph.into());
        adata
    }

    #[test]
    fn a_graph_that_is_absent_says_what_to_run() {
        let adata = with_graph(graph(3, &[(0, 1, 1.0)]));
        assert_eq!(choose(&adata, None, None).unwrap().1, "connectivities");
        let e = choose(&adata, None, Some("mine")).unwrap_err().to_string();
        assert!(e.contains("`mine`") && e.contains("connectivities"), "{e}");
        assert!(choose(&adata, Some("a"), Some("b")).unwrap_err().to_string().contains("not both"));
        assert!(choose(&adata, Some("a"), None).unwrap_err().to_string().contains("`a`"));
        let e = choose(&AnnData::default(), None, None).unwrap_err().to_string();
        assert!(e.contains("run `pp::neighbors` first"), "{e}");
    }

    #[test]
    fn weights_that_are_no_weights_name_their_cells() {
        for bad in [f32::NAN, -1.0, f32::INFINITY] {
            let m: Matrix = graph(4, &[(0, 1, 1.0), (2, 3, bad)]).into();
            let e = weights(&m, "g", 4).unwrap_err().to_string();
            assert!(e.contains("cells 2 and 3"), "{e}");
        }
        let e = weights(&graph(4, &[]).into(), "g", 5).unwrap_err().to_string();
        assert!(e.contains("5 × 5"), "{e}");
    }

    #[test]
    fn duplicates_are_summed_and_zeros_dropped() {
        let mut g = Csr {
            nrows: 2,
            ncols: 2,
            indptr: vec![0, 3, 5],
            indices: vec![0, 1, 1, 0, 1],
            values: vec![0.0, 1.0, 2.0, 3.0, 0.0],
        };
        compress(&mut g);
        assert_eq!((g.indptr, g.indices, g.values), (vec![0, 1, 2], vec![1, 0], vec![3.0, 3.0]));
    }

    #[test]
    fn the_symmetric_part_is_found_and_a_symmetric_graph_left_alone() {
        let g = graph(4, &[(0, 1, 1.0), (1, 2, 2.0)]);
        assert!(symmetrised(&g).is_none());
        let one_way = Csr { indptr: vec![0, 1, 1, 1, 1], indices: vec![1], values: vec![1.0], ..g };
        assert_eq!(symmetrised(&one_way).unwrap(), graph(4, &[(0, 1, 0.5)]));
        assert_eq!(components(&graph(4, &[(0, 2, 1.0)])), (vec![0, 1, 0, 2], 3));
    }
}
