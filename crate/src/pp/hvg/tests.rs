use super::super::stats::tests::{forms, sample};
use super::*;
use crate::anndata::{Categorical, Column};
use crate::parallel::same_with_any_threads;

#[test]
fn every_form_and_any_threads_rank_the_same() {
    let results: Vec<AnnData> = forms(400, 120)
        .into_iter()
        .map(|x| {
            same_with_any_threads(|| {
                let mut a = sample(x.clone());
                highly_variable_genes(&mut a, Hvg::seurat_v3(30)).unwrap();
                // Equality of NaN is wanted here.
                let rank = a.var.remove("highly_variable_rank").unwrap().to_f64().unwrap();
                assert_eq!(rank.iter().filter(|r| !r.is_nan()).count(), 30);
                a
            })
        })
        .collect();
    assert!(results.iter().all(|a| a.var == results[0].var));
    let mut a = sample(forms(400, 120).remove(0));
    highly_variable_genes(&mut a, Hvg::seurat_v3(30).subset(true)).unwrap();
    assert_eq!(a.shape(), (400, 30));
    a.check().unwrap();
}

#[test]
fn data_that_are_no_counts_are_refused_with_the_way_out() {
    let mut a = sample(forms(50, 40).remove(2));
    crate::pp::normalize_total(&mut a, 1e4).unwrap();
    let e = highly_variable_genes(&mut a, Hvg::seurat_v3(5)).unwrap_err().to_string();
    assert!(e.contains("X: holds") && e.contains("raw counts"), "{e}");
    highly_variable_genes(&mut a, Hvg::seurat_v3(5).check_values(false)).unwrap();
    let e = highly_variable_genes(&mut a, Hvg::seurat_v3(5).layer("counts")).unwrap_err();
    assert!(e.to_string().contains("layers has no entry `counts`"));
}

#[test]
fn parameters_out_of_range_name_the_range() {
    let mut a = sample(forms(50, 40).remove(0));
    for n in [0, 41] {
        let e = highly_variable_genes(&mut a, Hvg::seurat_v3(n)).unwrap_err().to_string();
        assert!(e.contains("between 1 and the number of genes, 40"), "{e}");
    }
    assert!(highly_variable_genes(&mut a, Hvg::seurat_v3(5).span(0.0)).is_err());
    assert!(highly_variable_index(&a).is_err());
}

#[test]
fn values_without_a_logarithm_are_refused_even_unchecked() {
    for bad in [f32::NAN, f32::INFINITY, -900.0] {
        let mut x = forms(50, 40).remove(0).to_array_f32();
        x[[3, 7]] = bad;
        let options = Hvg::seurat_v3(5).check_values(false);
        let e = highly_variable_genes(&mut sample(x.into()), options).unwrap_err().to_string();
        assert!(e.contains("gene `7`"), "{bad}: {e}");
    }
}

#[test]
fn degenerate_counts_are_an_error_not_a_panic() {
    let constant = ndarray::Array2::from_elem((10, 6), 2f32);
    assert!(highly_variable_genes(&mut sample(constant.into()), Hvg::seurat_v3(2)).is_err());
    for genes in 1..12 {
        let x = forms(30, genes).remove(0);
        let _ = highly_variable_genes(&mut sample(x), Hvg::seurat_v3(1));
    }
    let one = forms(1, 10).remove(0);
    assert!(highly_variable_genes(&mut sample(one), Hvg::seurat_v3(2)).is_err());
}

/// Logarithmised counts with three batches, in every form.
fn logged() -> Vec<AnnData> {
    let batch: Vec<usize> = (0..300).map(|i| i % 3).collect();
    let with_batches = |x| {
        let mut a = sample(x);
        a.layers.insert("counts".into(), a.x().unwrap().clone());
        crate::pp::normalize_total(&mut a, 1e3).unwrap();
        crate::pp::log1p(&mut a).unwrap();
        a.obs.insert("batch", Categorical::from_numbers(&batch)).unwrap();
        a
    };
    forms(300, 150).into_iter().map(with_batches).collect()
}

fn numbers(a: &AnnData, name: &str) -> Vec<f64> {
    a.var_column(name).unwrap().to_f64().unwrap()
}

#[test]
fn every_flavour_marks_the_same_genes_in_every_form_on_any_threads() {
    let flavours = [
        Hvg::seurat(),
        Hvg::seurat().n_top_genes(20),
        Hvg::cell_ranger().n_top_genes(20),
        Hvg::seurat_v3(20).layer("counts"),
        Hvg::seurat_v3_paper(20).layer("counts"),
    ];
    for options in flavours.iter().flat_map(|o| [o.clone(), o.clone().batch_key("batch")]) {
        let mut masks = Vec::new();
        for a in logged() {
            masks.push(same_with_any_threads(|| {
                let mut a = a.clone();
                highly_variable_genes(&mut a, options.clone()).unwrap();
                assert_eq!(a.var.contains("highly_variable_nbatches"), options.batch_key.is_some());
                (highly_variable_index(&a).unwrap(), numbers(&a, "means"))
            }));
        }
        let first = &masks[0];
        if options.n_top_genes.is_some() {
            assert_eq!(first.0.len(), 20, "{options:?}");
        }
        for (mask, means) in &masks {
            assert_eq!(mask, &first.0, "{options:?}");
            let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-5 * b.abs();
            assert!(means.iter().zip(&first.1).all(near));
        }
    }
}

#[test]
fn genes_that_are_never_seen_are_neither_variable_nor_an_error() {
    let mut a = logged().remove(2);
    let mut x = a.x().unwrap().to_array_f32();
    x.column_mut(5).fill(0.0);
    x.column_mut(6).fill(0.7);
    a.x = Some(x.into());
    highly_variable_genes(&mut a, Hvg::seurat().n_top_genes(40)).unwrap();
    assert!(numbers(&a, "dispersions")[5].is_nan());
    assert_eq!(numbers(&a, "highly_variable")[5..7], [0.0, 0.0]);
    highly_variable_genes(&mut a, Hvg::seurat().n_top_genes(40).batch_key("batch")).unwrap();
    assert_eq!(numbers(&a, "highly_variable_nbatches")[5..7], [0.0, 0.0]);
    highly_variable_genes(&mut a, Hvg::cell_ranger().n_top_genes(40)).unwrap();
    assert_eq!(numbers(&a, "dispersions")[5..7], [0.0, 0.0]);
    assert!(numbers(&a, "dispersions_norm")[6] < 0.0);
    assert_eq!(numbers(&a, "highly_variable")[5..7], [0.0, 0.0]);
    // Of counts.
    let mut x = a.layers["counts"].to_array_f32();
    x.column_mut(6).fill(2.0);
    a.layers.insert("counts".into(), x.into());
    highly_variable_genes(&mut a, Hvg::seurat_v3(40).layer("counts")).unwrap();
    assert_eq!(numbers(&a, "variances_norm")[6], 0.0);
    assert!(numbers(&a, "highly_variable_rank")[6].is_nan());
}

#[test]
fn batches_that_cannot_be_used_are_named() {
    let mut a = logged().remove(0);
    let options = || Hvg::seurat().batch_key("batch");
    let e = highly_variable_genes(&mut a, Hvg::seurat().batch_key("no")).unwrap_err();
    assert!(e.to_string().contains("obs has no column `no`"), "{e}");
    let Some(Column::Categorical(mut c)) = a.obs.get("batch").cloned() else { panic!() };
    c.codes[7] = -1;
    a.obs.insert("batch", c.clone()).unwrap();
    let e = highly_variable_genes(&mut a, options()).unwrap_err().to_string();
    assert!(e.contains("no batch for 1 of 300 cells"), "{e}");
    c.codes.iter_mut().for_each(|x| *x = 0);
    c.codes[0] = 2;
    a.obs.insert("batch", c.clone()).unwrap();
    let e = highly_variable_genes(&mut a, options()).unwrap_err().to_string();
    assert!(e.contains("batch `2` has one cell"), "{e}");
    // One batch, and categories that no cell has, are no error.
    c.codes.iter_mut().for_each(|x| *x = 1);
    a.obs.insert("batch", c).unwrap();
    highly_variable_genes(&mut a, options()).unwrap();
}

#[test]
fn each_flavour_says_what_values_it_wants() {
    let mut a = logged().remove(2);
    crate::pp::scale(&mut a, crate::pp::Scale::default().zero_center(true)).unwrap();
    for options in [Hvg::seurat(), Hvg::cell_ranger()] {
        let e = highly_variable_genes(&mut a, options).unwrap_err().to_string();
        assert!(e.contains("wants logarithmised counts"), "{e}");
    }
    let mut a = logged().remove(0);
    assert!(highly_variable_genes(&mut a, Hvg::seurat().n_bins(0)).is_err());
    assert!(highly_variable_genes(&mut a, Hvg::seurat().n_top_genes(0)).is_err());
    let e = highly_variable_genes(&mut a, Hvg::seurat().min_mean(4.0)).unwrap_err();
    assert!(e.to_string().contains("below the upper limit, 3"), "{e}");
    let mut empty = sample(ndarray::Array2::<f32>::zeros((5, 40)).into());
    let e = highly_variable_genes(&mut empty, Hvg::cell_ranger()).unwrap_err().to_string();
    assert!(e.contains("have the same mean"), "{e}");
}

#[test]
fn a_gene_without_a_mean_is_named() {
    let logged = logged().remove(2);
    let cases = [
        (f32::NAN, "has the mean NaN"),
        (f32::INFINITY, "has the mean inf"),
        (-0.5, "holds values below 0"),
    ];
    for (bad, words) in cases {
        for options in [Hvg::seurat(), Hvg::cell_ranger()] {
            let mut a = logged.clone();
            let mut x = a.x().unwrap().to_array_f32();
            x[[3, 7]] = bad;
            a.x = Some(x.into());
            let e = highly_variable_genes(&mut a, options).unwrap_err().to_string();
            assert!(e.contains("X: gene `7` (column 7)") && e.contains(words), "{e}");
        }
    }
}

#[test]
fn cells_without_counts_make_no_gene_variable() {
    let mut a = logged().remove(2);
    let mut x = a.x().unwrap().to_array_f32();
    x.rows_mut().into_iter().skip(1).step_by(3).for_each(|mut row| row.fill(0.0));
    a.x = Some(x.into());
    for options in [Hvg::seurat(), Hvg::cell_ranger()] {
        let e = highly_variable_genes(&mut a, options.batch_key("batch")).unwrap_err().to_string();
        assert!(e.contains("X in batch `1`: no gene is expressed"), "{e}");
    }
    let mut empty = sample(ndarray::Array2::<f32>::zeros((5, 40)).into());
    highly_variable_genes(&mut empty, Hvg::seurat()).unwrap();
    assert_eq!(numbers(&empty, "highly_variable"), [0.0; 40]);
}

#[test]
fn a_column_that_marks_nothing_is_refused() {
    let mut a = sample(forms(10, 4).remove(0));
    a.var.insert("highly_variable", vec![false; 4]).unwrap();
    let e = keep_highly_variable(&mut a).unwrap_err().to_string();
    assert!(e.contains("marks no gene"), "{e}");
    a.var.insert("highly_variable", vec![1.0; 4]).unwrap();
    let e = highly_variable_index(&a).unwrap_err().to_string();
    assert!(e.contains("must hold true and false, not float64"), "{e}");
    assert_eq!(a.n_vars(), 4);
}
