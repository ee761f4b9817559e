use super::super::graph::tests::{clouds, graph, neighbours, with_graph};
use super::*;
use crate::anndata::Matrix;
use crate::parallel::same_with_any_threads;
use crate::tl;

/// Zachary's karate club.
const CLUB: &str = "2-1 3-1 3-2 4-1 4-2 4-3 5-1 6-1 7-1 7-5 7-6 8-1 8-2 8-3 8-4 9-1 9-3 10-3 11-1 \
    11-5 11-6 12-1 13-1 13-4 14-1 14-2 14-3 14-4 17-6 17-7 18-1 18-2 20-1 20-2 22-1 22-2 26-24 \
    26-25 28-3 28-24 28-25 29-3 30-24 30-27 31-2 31-9 32-1 32-25 32-26 32-29 33-3 33-9 33-15 33-16 \
    33-19 33-21 33-23 33-24 33-30 33-31 33-32 34-9 34-10 34-14 34-15 34-16 34-19 34-20 34-21 34-23 \
    34-24 34-27 34-28 34-29 34-30 34-31 34-32 34-33";

fn club() -> Csr<f32> {
    let edge = |e: &str| {
        let (a, b) = e.split_once('-').unwrap();
        (a.parse::<usize>().unwrap() - 1, b.parse::<usize>().unwrap() - 1, 1.0)
    };
    graph(34, &CLUB.split_whitespace().map(edge).collect::<Vec<_>>())
}

/// The quality by its definition, over all pairs.
fn by_definition(a: &Csr<f32>, label: &[usize], gamma: f64) -> f64 {
    let dense = Matrix::from(a.clone()).to_array_f64();
    let (out, into) = (dense.sum_axis(ndarray::Axis(1)), dense.sum_axis(ndarray::Axis(0)));
    let m = dense.sum();
    let pair = |((i, j), w): ((usize, usize), &f64)| {
        if label[i] == label[j] { w - gamma * out[i] * into[j] / m } else { 0.0 }
    };
    dense.indexed_iter().map(pair).sum()
}

#[test]
fn the_karate_club_splits_at_its_best_known_modularity() {
    let fit = Leiden::default().fit(&club().into()).unwrap();
    // The optimum, proved by Brandes et al. (2008).
    assert!((fit.modularity - 0.419_789_6).abs() < 1e-6, "{}", fit.modularity);
    assert_eq!(fit.n_clusters, 4);
    assert!((fit.quality - by_definition(&club(), &fit.labels, 1.0)).abs() < 1e-9);
}

#[test]
fn the_quality_is_the_definition_with_loops_and_directions_too() {
    let x = clouds(3, 20, 4, 4.0);
    let mut g = neighbours(&x, 6);
    // Drop part of one direction, and add loops.
    for (k, v) in g.values.iter_mut().enumerate() {
        if k % 3 == 0 {
            *v = 0.0;
        }
    }
    let mut dense = Matrix::from(g).to_array_f32();
    (0..60).step_by(2).for_each(|i| dense[[i, i]] = 0.5);
    let matrix: Matrix = dense.into();
    for gamma in [0.3, 1.0, 2.5] {
        let fit = Leiden::default().resolution(gamma).fit(&matrix).unwrap();
        let expected = by_definition(&Csr::of(&matrix), &fit.labels, gamma);
        assert!((fit.quality - expected).abs() < 1e-5 * expected.abs(), "{gamma}");
    }
}

#[test]
fn clouds_are_found_with_the_same_labels_on_any_threads() {
    let x = clouds(6, 300, 5, 8.0);
    let matrix: Matrix = neighbours(&x, 12).into();
    let truth: Vec<usize> = (0..1800).map(|i| i % 6).collect();
    let low = Leiden::default().resolution(0.2).seed(3);
    let fit = same_with_any_threads(|| low.fit(&matrix).unwrap());
    assert!(tl::ari(&fit.labels, &truth).unwrap() > 0.99);
    for n in [1, 2, -1] {
        same_with_any_threads(|| Leiden::default().n_iterations(n).fit(&matrix).unwrap());
    }
    let few = Leiden::default().n_iterations(1).fit(&matrix).unwrap();
    let many = Leiden::default().fit(&matrix).unwrap();
    assert!(many.quality >= few.quality);
}

#[test]
fn no_cluster_falls_apart() {
    let x = clouds(4, 200, 3, 1.5);
    let g = neighbours(&x, 5);
    let fit = Leiden::default().resolution(3.0).fit(&g.clone().into()).unwrap();
    for c in 0..fit.n_clusters {
        let keep: Vec<usize> = (0..800).filter(|&i| fit.labels[i] == c).collect();
        assert_eq!(super::super::graph::components(&subgraph(&g, &keep)).1, 1, "cluster {c}");
    }
    // The largest comes first.
    let size = |c: usize| fit.labels.iter().filter(|&&l| l == c).count();
    assert!((1..fit.n_clusters).all(|c| size(c - 1) >= size(c)));
}

#[test]
fn cells_without_neighbours_are_clusters_of_their_own() {
    for (n, edges, clusters) in
        [(1, vec![], 1), (2, vec![], 2), (2, vec![(0, 1, 0.5)], 1), (5, vec![(1, 3, 1.0)], 4)]
    {
        let mut a = with_graph(graph(n, &edges));
        let fit = leiden(&mut a, Leiden::default()).unwrap();
        assert_eq!(fit.n_clusters, clusters, "{n} cells");
        assert!(fit.quality.is_finite() && fit.modularity.is_finite());
    }
    let mut a = with_graph(graph(0, &[]));
    assert_eq!(leiden(&mut a, Leiden::default()).unwrap().n_clusters, 0);
}

#[test]
fn what_is_written_is_what_scanpy_writes() {
    let mut a = with_graph(club());
    let fit = leiden(&mut a, Leiden::default().n_iterations(2).seed(4)).unwrap();
    let Column::Categorical(c) = a.obs_column("leiden").unwrap() else { panic!("no categories") };
    assert_eq!(c.categories, ["0", "1", "2", "3"]);
    assert_eq!(c.label(5), Some(fit.labels[5].to_string().as_str()));
    let params = |k| a.uns["leiden"].at(&["params", k]).unwrap().as_f64();
    assert_eq!(params("resolution"), Some(1.0));
    assert_eq!(params("random_state"), Some(4.0));
    assert_eq!(params("n_iterations"), Some(2.0));
}

#[test]
fn part_of_the_cells_can_be_clustered_again() {
    let mut a = with_graph(club());
    leiden(&mut a, Leiden::default()).unwrap();
    let again = Leiden::default().resolution(2.0).restrict_to("leiden", ["0", "1"]);
    let fit = leiden(&mut a, again).unwrap();
    let (old, new) = (a.obs_column("leiden").unwrap(), a.obs_column("leiden_R").unwrap());
    let (mut inside, mut i) = (0, 0);
    while i < 34 {
        let (was, is) = (old.text(i).unwrap(), new.text(i).unwrap());
        if was == "0" || was == "1" {
            assert_eq!(is, format!("0-1,{}", fit.labels[inside]));
            inside += 1;
        } else {
            assert_eq!(was, is);
        }
        i += 1;
    }
    assert_eq!(inside, fit.labels.len());
    let wrong = |o: Leiden, a: &mut AnnData| leiden(a, o).unwrap_err().to_string();
    let e = wrong(Leiden::default().restrict_to("leiden", ["9"]), &mut a);
    assert!(e.contains("category `9`") && e.contains("0, 1, 2, 3"), "{e}");
    let e = wrong(Leiden::default().restrict_to("leiden", Vec::<String>::new()), &mut a);
    assert!(e.contains("at least one"), "{e}");
    assert!(wrong(Leiden::default().restrict_to("layer", ["9"]), &mut a).contains("`layer`"));
    let mut unused = a.obs_column("leiden").unwrap().to_categorical();
    unused.categories.push("9".into());
    a.obs.insert("leiden", unused).unwrap();
    let e = wrong(Leiden::default().restrict_to("leiden", ["9"]), &mut a);
    assert!(e.contains("no cell of obs[\"leiden\"] is of these categories"), "{e}");
}

#[test]
fn options_out_of_range_are_refused() {
    let mut a = with_graph(club());
    for bad in [
        Leiden::default().resolution(-1.0),
        Leiden::default().resolution(f64::NAN),
        Leiden::default().n_iterations(0),
        Leiden::default().n_iterations(-2),
    ] {
        assert!(matches!(leiden(&mut a, bad), Err(Error::Parameter { .. })));
    }
    let e = leiden(&mut AnnData::default(), Leiden::default()).unwrap_err().to_string();
    assert!(e.contains("run `pp::neighbors` first"), "{e}");
    assert!(!a.obs.contains("leiden"));
}
