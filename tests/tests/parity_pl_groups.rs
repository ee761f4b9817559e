//! The numbers behind the figures of genes by groups, compared with scanpy's own figures.

use serde_json::{Value as Json, json};
use spatialkit::anndata::AnnData;
use spatialkit::pl::{self, Genes, GroupTable, Ranking};
use spatialkit::{Result, io};
use spatialkit_tests::{python, script, shared};
use std::time::Instant;

/// One comparison: what to call in scanpy, and our numbers.
fn case(
    function: &str,
    (var_names, groupby): (Json, Json),
    options: Json,
    frame: &str,
    ours: impl FnOnce() -> Result<GroupTable>,
) -> Json {
    let start = Instant::now();
    let table = ours().unwrap_or_else(|e| panic!("{function} {options}: {e}"));
    let seconds = start.elapsed().as_secs_f64();
    let rows: Vec<Vec<Option<f64>>> = table
        .values
        .rows()
        .into_iter()
        .map(|r| r.iter().map(|&v| v.is_finite().then_some(v)).collect())
        .collect();
    json!({
        "function": function, "var_names": var_names, "groupby": groupby, "options": options,
        "frame": frame, "groups": table.groups, "genes": table.genes, "values": rows,
        "seconds": seconds,
        // scanpy adds f32 in f32.
        "tolerance": 2e-6,
    })
}

fn cases(a: &AnnData, key: &str) -> Vec<Json> {
    let genes = ["MBP", "PCP4", "SNAP25", "GFAP", "MOBP", "total"];
    let plain = [&genes[..5], &["MBP"]].concat();
    let args = || (json!(plain), json!(key));
    let color = "dot_color_df";
    let dots = || pl::dotplot(a, &plain, key);
    let mut all = vec![
        case("dotplot", args(), json!({}), color, || dots().dot_color_df()),
        case("dotplot", args(), json!({}), "dot_size_df", || dots().dot_size_df()),
        case("dotplot", args(), json!({"expression_cutoff": 2.0}), "dot_size_df", || {
            dots().expression_cutoff(2.0).dot_size_df()
        }),
        case(
            "dotplot",
            args(),
            json!({"expression_cutoff": 2.0, "mean_only_expressed": true}),
            color,
            || dots().expression_cutoff(2.0).mean_only_expressed(true).dot_color_df(),
        ),
        case("dotplot", args(), json!({"standard_scale": "var"}), color, || {
            dots().standard_scale("var").dot_color_df()
        }),
        case("dotplot", args(), json!({"standard_scale": "group"}), color, || {
            dots().standard_scale("group").dot_color_df()
        }),
        case("dotplot", args(), json!({"log": true}), color, || dots().log(true).dot_color_df()),
        case("dotplot", args(), json!({"layer": "counts"}), color, || {
            pl::dotplot(a, Genes::new(&plain).layer("counts"), key).dot_color_df()
        }),
        case("dotplot", args(), json!({"dendrogram": true}), color, || {
            dots().dendrogram(true).dot_color_df()
        }),
        case("dotplot", (json!(plain), json!("some")), json!({}), "dot_size_df", || {
            pl::dotplot(a, &plain, "some").dot_size_df()
        }),
        case("dotplot", (json!(plain), json!(["side", "ring"])), json!({}), color, || {
            pl::dotplot(a, &plain, ["side", "ring"]).dot_color_df()
        }),
        case(
            "dotplot",
            (json!(plain), json!("total")),
            json!({"num_categories": 5}),
            color,
            || pl::dotplot(a, &plain, "total").num_categories(5).dot_color_df(),
        ),
        case("dotplot", (json!(genes), json!(key)), json!({}), color, || {
            pl::dotplot(a, genes, key).dot_color_df()
        }),
        case(
            "dotplot",
            (json!(["s_MBP", "s_PCP4"]), json!(key)),
            json!({"gene_symbols": "symbol"}),
            color,
            || {
                let genes = Genes::from(["s_MBP", "s_PCP4"]).gene_symbols("symbol");
                pl::dotplot(a, genes, key).dot_color_df()
            },
        ),
        case("matrixplot", args(), json!({}), "values_df", || {
            pl::matrixplot(a, &plain, key).values_df()
        }),
        case("matrixplot", args(), json!({"standard_scale": "var"}), "values_df", || {
            pl::matrixplot(a, &plain, key).standard_scale("var").values_df()
        }),
        case("stacked_violin", args(), json!({}), "medians", || {
            pl::stacked_violin(a, &plain, key).medians_df()
        }),
        case("stacked_violin", args(), json!({"standard_scale": "var"}), "medians", || {
            pl::stacked_violin(a, &plain, key).standard_scale("var").medians_df()
        }),
        case("stacked_violin", args(), json!({"standard_scale": "group"}), "medians", || {
            pl::stacked_violin(a, &plain, key).standard_scale("group").medians_df()
        }),
    ];
    let none = || (Json::Null, Json::Null);
    for n in [4, -3] {
        all.push(case("rank_genes_groups_dotplot", none(), json!({"n_genes": n}), color, || {
            pl::rank_genes_groups_dotplot(a, n).dot_color_df()
        }));
    }
    for what in ["scores", "logfoldchanges", "pvals_adj", "log10_pvals"] {
        let options = json!({"n_genes": 3, "values_to_plot": what, "min_logfoldchange": 0.5});
        let ranking = || Ranking::from(3).values_to_plot(what).min_logfoldchange(0.5);
        all.push(case("rank_genes_groups_dotplot", none(), options.clone(), color, || {
            pl::rank_genes_groups_dotplot(a, ranking()).dot_color_df()
        }));
        all.push(case("rank_genes_groups_matrixplot", none(), options, "values_df", || {
            pl::rank_genes_groups_matrixplot(a, ranking()).values_df()
        }));
    }
    all
}

fn clusters(a: &AnnData, key: &str) -> Vec<Json> {
    let genes = ["MBP", "PCP4", "SNAP25", "GFAP", "MOBP", "PLP1", "NEFL", "ENC1"];
    let cells: Vec<usize> = (0..a.n_obs()).step_by(7).collect();
    let part = a.select(cells.clone(), &genes[..]).unwrap();
    let one = |options: Json, figure: pl::Figure<pl::ClusterMap>| {
        let (rows, columns) = figure.reordered_ind().unwrap();
        json!({"function": "clustermap", "options": options, "cells": cells, "var_names": genes,
               "rows": rows, "columns": columns})
    };
    let map = || pl::clustermap(&part, key);
    vec![
        one(json!({}), map()),
        one(json!({"standard_scale": 1}), map().standard_scale("var")),
        one(json!({"z_score": 0}), map().z_score("obs")),
    ]
}

#[test]
fn groups_have_scanpys_numbers() {
    let test = "groups_have_scanpys_numbers";
    let Some(slide) = shared(test, "data/dlpfc/dlpfc_151673_5000g.h5ad") else { return };
    let Some(python) = python(test) else { return };
    let dir = tempfile::tempdir().unwrap();
    let (file, list) = (dir.path().join("slide.h5ad"), dir.path().join("cases.json"));
    let key = "layer_guess";
    let name = "parity_pl_groups.py";
    script(&python, name, &["prepare".as_ref(), slide.as_os_str(), key.as_ref(), file.as_ref()]);
    let a = io::read_h5ad(&file).unwrap();
    let all = [cases(&a, key), clusters(&a, key)].concat();
    std::fs::write(&list, serde_json::to_vec(&all).unwrap()).unwrap();
    script(&python, name, &["compare".as_ref(), file.as_os_str(), list.as_os_str()]);
}
