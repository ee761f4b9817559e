//! The fused pass against candle's operations, and what becomes of odd input.

use super::*;
use crate::anndata::{AnnData, Column, Dense, Frame, Matrix, Sparse};
use crate::error::Error;
use crate::parallel::same_with_any_threads;
use crate::rng::Rng;
use candle_core::{Device, Tensor};
use std::collections::HashMap;

fn small(attention: AttentionLayout) -> SpatialFormerConfig {
    SpatialFormerConfig { dim: 24, heads: 3, layers: 2, tokens: 40, attention }
}

/// Weights of which none is at its beginning.
fn weights(config: &SpatialFormerConfig) -> HashMap<String, Tensor> {
    let mut rng = Rng::new(7);
    let mut draw = |w: Weight| {
        let n: usize = w.shape.iter().product();
        let base = if w.fresh == Fresh::Ones { 1.0 } else { 0.0 };
        let values: Vec<f32> = (0..n).map(|_| base + 0.2 * rng.normal() as f32).collect();
        let positive = w.name.ends_with("running_var");
        let values = values.into_iter().map(|v| if positive { v.abs() } else { v });
        let tensor = Tensor::from_iter(values, &Device::Cpu).unwrap().reshape(w.shape).unwrap();
        (w.name, tensor)
    };
    config.weights().into_iter().map(&mut draw).collect()
}

fn model(attention: AttentionLayout) -> SpatialFormer {
    let config = small(attention);
    let weights = weights(&config);
    SpatialFormer::new(config, &weights, &Device::Cpu).unwrap()
}

fn vocabulary() -> Vocabulary {
    Vocabulary::of_genes((0..12).map(|i| format!("G{i}")))
}

fn sequences() -> Sequences {
    let mut all = Sequences::default();
    let genes: Vec<u32> = (28..40).collect();
    all.push_cell([26, 8, 3, 6], &genes, 27);
    all.push_cell([25, 9, 4, 5], &[], 27);
    all.push_pair([26, 8, 3, 6], [&genes[..7], &genes[3..]], 27);
    all.push_pair([26, 8, 3, 6], [&[], &genes[..1]], 27);
    let long: Vec<u32> = (0..90).map(|i| 28 + i % 12).collect();
    all.push_cell([26, 8, 3, 6], &long, 27);
    all
}

fn close(a: &ndarray::Array2<f32>, b: &ndarray::Array2<f32>, within: f32) {
    assert_eq!(a.dim(), b.dim());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() < within, "{a} is not {b}");
    }
}

#[test]
fn the_fused_pass_equals_candles_operations_for_any_threads() {
    for layout in [AttentionLayout::PerHead, AttentionLayout::Flash] {
        let (model, batch) = (model(layout), sequences());
        let all = same_with_any_threads(|| model.all_states(&batch).unwrap());
        close(&all, &model.plain_states(&batch, fused::Keep::All).unwrap(), 2e-5);
        let first = same_with_any_threads(|| model.first_states(&batch).unwrap());
        let rows: Vec<usize> = batch.spans().iter().map(|s| s.start).collect();
        close(&first, &all.select(ndarray::Axis(0), &rows), 2e-5);
        close(&all, model.layer_states(&batch).unwrap().last().unwrap(), 2e-5);
    }
}

#[test]
fn a_sequence_is_what_it_is_in_any_company() {
    let (model, batch) = (model(AttentionLayout::PerHead), sequences());
    let together = model.first_states(&batch).unwrap();
    for i in 0..batch.len() {
        let alone = model.first_states(&batch.part(i..i + 1)).unwrap();
        close(&alone, &together.slice(ndarray::s![i..i + 1, ..]).to_owned(), 1e-5);
    }
}

#[test]
fn pairs_swap_their_cells_and_back() {
    let mut pairs = Sequences::default();
    pairs.push_pair([26, 8, 3, 6], [&[30, 31, 32], &[33]], 27);
    let swapped = pairs.swapped();
    assert_eq!(swapped.tokens_of(0), [1, 26, 8, 3, 6, 33, 27, 26, 8, 3, 6, 30, 31, 32, 27]);
    assert_eq!(swapped.segments(), [[7, 8]]);
    assert_eq!(swapped.kinds(), [1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2]);
    assert_eq!(swapped.swapped(), pairs);
}

#[test]
fn slopes_fall_by_heads_and_for_any_number_of_them() {
    let slopes = |heads| SpatialFormerConfig { heads, ..small(AttentionLayout::PerHead) }.slopes();
    assert_eq!(slopes(8), [0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625]);
    // The four of 4 heads, then every other one of 8.
    assert_eq!(slopes(6), [0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125]);
}

/// Four cells of known, unknown and tied genes: the last is empty but for an unknown one.
fn slide() -> AnnData {
    let genes = ["G3", "G1", "nobody", "G0", "G7"];
    #[rustfmt::skip]
    let x: Vec<f32> = vec![
        2., 2., 9., 0., 5.,
        0., 1., 0., 1., 1.,
        4., 0., 0., 3., 0.,
        0., 0., 7., 0., 0.,
    ];
    let obs = Frame::new((0..4).map(|i| format!("cell{i}")).collect());
    let var = Frame::new(genes.map(String::from).into());
    AnnData::new(Matrix::Dense(Dense::new(4, 5, x).unwrap()), obs, var).unwrap()
}

fn named() -> SpatialFormer {
    model(AttentionLayout::PerHead).with_vocabulary(vocabulary()).unwrap()
}

#[test]
fn medians_of_a_slide_are_those_of_cells_that_express_a_gene() {
    let adata = slide();
    let v = vocabulary().with_medians_of(&adata).unwrap();
    let x = adata.x().unwrap().to_array_f64();
    for (g, name) in adata.var.names().iter().enumerate() {
        let mut values: Vec<f64> = x.column(g).iter().copied().filter(|v| *v != 0.0).collect();
        values.sort_by(f64::total_cmp);
        let middle = |n: usize| (values[(n - 1) / 2] + values[n / 2]) / 2.0;
        let expected = if values.is_empty() { 1.0 } else { middle(values.len()) };
        assert_eq!(v.median(name), expected, "{name}");
    }
}

#[test]
fn genes_rank_by_their_share_of_the_median_and_ties_stay_in_order() {
    let adata = slide();
    let v = vocabulary().with_gene_medians([("G7", 5.0), ("G3", 2.0)]).unwrap();
    let id = |name: &str| v.id(name).unwrap();
    let rank = |adata: &AnnData| {
        let t = tokens::Tokenizer::new(adata, &v, None, TieOrder::Stable).unwrap();
        assert_eq!((t.known(), &t.unknown[..]), (4, &["nobody".to_string()][..]));
        t.rank(&[0, 1, 2, 3], Some(3)).unwrap()
    };
    let ranked = rank(&adata);
    assert_eq!(ranked[0], [id("G1"), id("G3"), id("G7")]);
    assert_eq!(ranked[1], [id("G1"), id("G0"), id("G7")]);
    assert_eq!(ranked[2], [id("G0"), id("G3")]);
    assert!(ranked[3].is_empty());
    let x: &Matrix = adata.x().unwrap();
    let (csr, csc): (Sparse, Sparse) = (x.to_csr(), x.to_csc());
    for x in [Matrix::Csr(csr), Matrix::Csc(csc)] {
        assert_eq!(rank(&AnnData { x: Some(x), ..adata.clone() }), ranked);
    }
}

#[test]
fn embeddings_are_written_and_an_interrupted_run_goes_on() {
    let (mut adata, model) = (slide(), named());
    let options = Embed::default().batch_size(3);
    let done = embed(&mut adata, &model, &options).unwrap();
    assert_eq!((done.cells, done.known_genes, done.width), (4, 4, 24));
    assert_eq!(done.empty_cells, ["cell3"]);
    assert_eq!(done.unknown_genes, ["nobody"]);
    assert!(done.to_string().contains("4 of 5 in the vocabulary; not: nobody"), "{done}");
    let x = adata.obsm("X_SpaF").unwrap().to_array_f32();
    assert_eq!(x.dim(), (4, 24));
    assert_eq!(adata.uns["spatialformer"].at(&["tissue"]).unwrap().as_str(), Some("Lung"));

    let folder = tempfile::tempdir().unwrap();
    let kept = options.clone().keep(folder.path());
    let mut half = adata.select_obs(0..2).unwrap();
    assert_eq!(embed(&mut half, &model, &kept).unwrap().from_before, 0);
    let again = embed(&mut adata, &model, &kept).unwrap();
    assert_eq!(again.from_before, 2);
    let after = adata.obsm("X_SpaF").unwrap().to_array_f32();
    close(&after, &x, 1e-5);

    embed(&mut adata, &model, &options.pooling(Pooling::Gene).key_added("mean")).unwrap();
    assert_ne!(adata.obsm("mean").unwrap().to_array_f32(), x);
}

#[test]
fn odd_input_is_named() {
    let (mut adata, model) = (slide(), named());
    let mut refused = |options: Embed| embed(&mut adata, &model, &options).unwrap_err().to_string();
    let e = refused(Embed::default().tissue("Moon"));
    assert!(e.contains("tissue = `Moon`") && e.contains("Lymph Node"), "{e}");
    let e = refused(Embed::default().assay("xenium"));
    assert!(e.contains("assay = `xenium`") && e.contains("Xenium"), "{e}");
    let e = refused(Embed::default().gene_names("symbol"));
    assert!(e.contains("var has no column `symbol`"), "{e}");
    let e = refused(Embed::default().max_len(0));
    assert!(e.contains("max_len"), "{e}");
    let mut strange = slide();
    strange.set_var_names((0..5).map(|i| format!("ENSG{i}")).collect()).unwrap();
    let e = embed(&mut strange, &model, &Embed::default()).unwrap_err().to_string();
    assert!(e.contains("none of the 5 genes") && e.contains("ENSG0"), "{e}");
    let symbols = ["G0", "G1", "G2", "G3", "G4"].map(|s| Some(s.to_string())).into();
    strange.var.insert("symbol", Column::Str(symbols)).unwrap();
    embed(&mut strange, &model, &Embed::default().gene_names("symbol")).unwrap();
    let mut nan = slide();
    nan.x = Some(Matrix::Dense(Dense::new(4, 5, vec![f32::NAN; 20]).unwrap()));
    let e = embed(&mut nan, &model, &Embed::default()).unwrap_err().to_string();
    assert!(e.contains("gene `G3` in cell `cell0`"), "{e}");

    let e = predict_pairs(&slide(), &model, &["cell0"], &["cell9"], &PredictPairs::default());
    assert!(e.unwrap_err().to_string().contains("`cell9`"));
    let e = predict_pairs(&slide(), &model, &["cell0"], &[], &PredictPairs::default());
    assert!(matches!(e.unwrap_err(), Error::Shape { .. }));
    let e = model.first_states(&{
        let mut s = Sequences::default();
        s.push_cell([26, 8, 3, 6], &[40], 27);
        s
    });
    assert!(e.unwrap_err().to_string().contains("40 tokens"));
    let e = model.attention(&sequences(), 2).unwrap_err().to_string();
    assert!(e.contains("layers 0 to 1"), "{e}");
}

#[test]
fn pairs_of_unequal_cells_are_predicted_in_both_directions() {
    let (adata, model) = (slide(), named());
    let (left, right) = (["cell0", "cell3"], ["cell2", "cell0"]);
    let options = PredictPairs::default().reverse(Reverse::Surer);
    let found = predict_pairs(&adata, &model, &left, &right, &options).unwrap();
    let back = predict_pairs(&adata, &model, &right, &left, &PredictPairs::default()).unwrap();
    for (a, b) in found.reversed.as_ref().unwrap().iter().zip(&back.probabilities) {
        assert!((a - b).abs() < 1e-6);
    }
    assert_eq!(found.to_frame().names().len(), 2);
    assert!(found.probabilities.iter().all(|p| (0.0..=1.0).contains(p)));
    // Agreement and disagreement.
    let surer = pairs::chosen(Reverse::Surer, &[0.8, 0.9, 0.4], &[0.6, 0.2, 0.45]);
    assert!(surer.iter().zip([0.7, 0.9, 0.425]).all(|(a, b)| (a - b).abs() < 1e-6), "{surer:?}");
    assert_eq!(pairs::chosen(Reverse::Released(1), &[0.9], &[0.2]), [0.2]);
}

#[test]
fn a_perturbed_pair_is_the_pair_without_these_genes() {
    let (adata, model) = (slide(), named());
    let found = perturb(&adata, &model, "cell0", "cell1", &Perturb::default()).unwrap();
    // Three known genes are expressed in each.
    assert_eq!((found.genes.len(), found.change.len()), (9, 9));
    let without = |cell: usize, gene: &str| {
        let mut x = adata.x().unwrap().to_array_f32();
        x[(cell, adata.var_index(gene).unwrap())] = 0.0;
        x.row(cell).to_vec()
    };
    for ((l, r), change) in found.genes.iter().zip(&found.change) {
        let mut x = adata.x().unwrap().to_array_f32();
        x.row_mut(0).assign(&ndarray::Array1::from(without(0, l)));
        x.row_mut(1).assign(&ndarray::Array1::from(without(1, r)));
        let changed = AnnData { x: Some(x.into()), ..adata.clone() };
        let options = PredictPairs::default();
        let p = predict_pairs(&changed, &model, &["cell0"], &["cell1"], &options).unwrap();
        assert!((p.probabilities[0] - found.probability - change).abs() < 1e-5, "{l} {r}");
    }
    let frame = found.to_frame();
    let changes = frame.get("change").unwrap().to_f64().unwrap();
    assert!(changes.is_sorted());
    let some = Perturb::default().genes([("G3", "G1"), ("G3", "G11")]);
    let some = perturb(&adata, &model, "cell0", "cell1", &some).unwrap();
    assert_eq!(some.genes, [("G3".to_string(), "G1".to_string())]);
    let none = Perturb::default().genes([("G11", "G1")]);
    let e = perturb(&adata, &model, "cell0", "cell1", &none).unwrap_err().to_string();
    assert!(e.contains("`cell0`"), "{e}");
}

#[test]
fn deletions_that_share_their_passes_are_what_each_is_alone() {
    for layout in [AttentionLayout::PerHead, AttentionLayout::Flash] {
        let model = model(layout);
        let (left, right): (Vec<u32>, Vec<u32>) = ((28..40).collect(), (30..39).rev().collect());
        let origin = [26, 8, 3, 6];
        let mut pair = Sequences::default();
        pair.push_pair(origin, [&left, &right], 27);
        // One more on each side that the cells do not express, and one pair twice.
        let all = |left: u32| right.iter().chain([&29]).map(move |&r| (left, r));
        let mut tokens: Vec<(u32, u32)> = left.iter().chain([&27]).flat_map(|&l| all(l)).collect();
        tokens.push(tokens[7]);
        let shared = same_with_any_threads(|| model.without(&pair, &tokens).unwrap());
        let mut largest = 0f32;
        for (&(l, r), shared) in tokens.iter().zip(&shared) {
            let without = |genes: &[u32], token: u32| -> Vec<u32> {
                genes.iter().copied().filter(|&t| t != token).collect()
            };
            let mut alone = Sequences::default();
            alone.push_pair(origin, [&without(&left, l), &without(&right, r)], 27);
            let states = model.first_states(&alone).unwrap();
            let alone = model.pair_probabilities(states.view()).unwrap()[(0, 1)];
            largest = largest.max((alone - shared).abs());
        }
        assert!(largest < 1e-5, "{largest}");
        // As many as are not worth it.
        let some = model.without(&pair, &tokens[..3]).unwrap();
        assert!(some.iter().zip(&shared).all(|(a, b)| (a - b).abs() < 1e-5));
        // Nothing and what is no token.
        assert!(model.without(&pair, &[]).unwrap().is_empty());
        assert!(model.without(&sequences(), &tokens).is_err());
    }
}

#[test]
fn pairs_of_genes_are_counted_over_cells() {
    let (adata, model) = (slide(), named());
    let all = gene_pairs(&adata, &model, &GenePairs::default().threshold(0.0)).unwrap();
    assert_eq!(all.cells.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 1, 0]);
    let both =
        all.pairs.iter().find(|p| (p.first.as_str(), p.second.as_str()) == ("G0", "G3")).unwrap();
    assert_eq!((both.cells, both.together), (1, 1));
    let states = model.all_states(&Embed::default().tokens(&adata, &model).unwrap()).unwrap();
    let p = model.co_occurrence(states.slice(ndarray::s![..9, ..])).unwrap();
    let (a, b, found) = &all.cells[0][0];
    assert_eq!((a.as_str(), b.as_str()), ("G7", "G3"));
    assert!((found - p[(5, 6)]).abs() < 1e-6);
    let some = gene_pairs(&adata, &model, &GenePairs::default().threshold(0.5)).unwrap();
    assert!(some.pairs.len() <= all.pairs.len());
    assert!(some.cells.iter().flatten().all(|(_, _, p)| *p > 0.5));
    assert_eq!(some.to_frame().len(), some.pairs.len());
    let e = gene_pairs(&adata, &model, &GenePairs::default().threshold(1.5)).unwrap_err();
    assert!(e.to_string().contains("threshold"));
}

#[test]
fn a_saved_network_comes_back_with_its_vocabulary_and_can_grow() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let v = vocabulary().with_gene_medians([("G7", 5.0)]).unwrap();
    let saved = model(AttentionLayout::Flash).with_vocabulary(v.clone()).unwrap();
    saved.save(&path).unwrap();
    let loaded = SpatialFormer::load(&path).unwrap();
    assert_eq!(loaded.config(), saved.config());
    assert_eq!(loaded.vocabulary().unwrap(), &v);
    assert_eq!(loaded.fingerprint().unwrap(), saved.fingerprint().unwrap());
    let other =
        SpatialFormer::load_with(&path, &Load::default().attention(AttentionLayout::PerHead));
    assert_ne!(other.unwrap().fingerprint().unwrap(), saved.fingerprint().unwrap());

    let grown = SpatialFormer::load_with(&path, &Load::default().tokens(50)).unwrap();
    assert_eq!(grown.config().tokens, 50);
    let batch = sequences();
    close(&grown.first_states(&batch).unwrap(), &saved.first_states(&batch).unwrap(), 1e-6);
    let e = SpatialFormer::load_with(&path, &Load::default().tokens(30)).unwrap_err().to_string();
    assert!(e.contains("tokens = 30"), "{e}");
    let e = saved.with_vocabulary(Vocabulary::of_genes(["A"])).unwrap_err().to_string();
    assert!(e.contains("40 tokens"), "{e}");
}

#[test]
fn weights_of_another_size_are_refused() {
    let config = small(AttentionLayout::PerHead);
    let refuse = |change: &dyn Fn(&mut HashMap<String, Tensor>)| {
        let mut all = weights(&config);
        change(&mut all);
        SpatialFormer::new(config.clone(), &all, &Device::Cpu).unwrap_err().to_string()
    };
    let name = "encoder.layers.1.conv_blocks.0.norm1.bias";
    let e = refuse(&|w| drop(w.remove(name)));
    assert!(e.contains(name), "{e}");
    let other = weights(&SpatialFormerConfig { layers: 3, ..config.clone() });
    let extra = "encoder.layers.2.attn_blocks.0.norm1.bias";
    let e = refuse(&|w| drop(w.insert(extra.into(), other[extra].clone())));
    assert!(e.contains("layers.2") && e.contains("does not belong"), "{e}");
    let e = refuse(&|w| drop(w.insert("pair_head.weight".into(), other[extra].clone())));
    assert!(e.contains("pair_head.weight") && e.contains("[2, 24]"), "{e}");
}

#[test]
fn vocabularies_are_held_against_what_they_must_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.json");
    let open = |text: &str| {
        std::fs::write(&path, text).unwrap();
        Vocabulary::open(&path).unwrap_err().to_string()
    };
    assert!(open("[1, 2]").contains("no table of tokens"));
    assert!(open("{\"<PAD>\": 0, \"<CLS>\": 3}").contains("`<CLS>` is number 3 of 2"));
    assert!(open("{\"<PAD>\": 0, \"<CLS>\": 0}").contains("both number 0"));
    assert!(open("{\"a\": 0}").contains("must be `<PAD>`"));
    let whole = vocabulary();
    let ids: HashMap<&String, usize> = whole.names().iter().zip(0..).collect();
    std::fs::write(&path, serde_json::json!(ids).to_string()).unwrap();
    assert_eq!(Vocabulary::open(&path).unwrap(), vocabulary());
    let e = vocabulary().with_gene_medians([("G1", 0.0)]).unwrap_err().to_string();
    assert!(e.contains("gene `G1`"), "{e}");
}
