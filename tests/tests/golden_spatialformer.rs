//! SpatialFormer against the numbers of the released Python package.

use candle_core::Tensor;
use ndarray::{Array2, s};
use spatialkit::anndata::AnnData;
use spatialkit::io;
use spatialkit::models::spatialformer::{
    AttentionLayout, Cpu, Embed, GenePairs, Load, Pooling, PredictPairs, Reverse, Sequences,
    SpatialFormer, SpatialFormerConfig, TieOrder, Vocabulary, embed, gene_pairs, predict_pairs,
};
use spatialkit_tests::{
    Golden, abs, compare, device, formula, golden, golden_dir, large_golden, shared,
};
use std::collections::HashMap;

const SEP: u32 = 1949;

fn flat(a: &Array2<f32>) -> Vec<f64> {
    a.iter().map(|&v| f64::from(v)).collect()
}

/// The rectangle of tokens of a golden file as sequences.
fn sequences(g: &Golden, name: &str) -> Sequences {
    let tokens = g.matrix(&format!("{name}.indices"));
    let lengths = g.matrix(&format!("{name}.sequence_length"));
    let mut all = Sequences::default();
    for (row, lengths) in tokens.rows().into_iter().zip(lengths.rows()) {
        let row: Vec<u32> = row.iter().map(|&t| t as u32).collect();
        let (first, second) = (lengths[0] as usize, lengths[1] as usize);
        let origin: [u32; 4] = row[1..5].try_into().unwrap();
        let sep = row[first - 1];
        if second == 0 {
            all.push_cell(origin, &row[5..first - 1], sep);
        } else {
            let right = &row[first + 4..first + second - 1];
            all.push_pair(origin, [&row[5..first - 1], right], sep);
        }
    }
    all
}

/// The rows of a `[batch, length, width]` tensor that are no padding, one sequence behind the other.
fn unpadded(g: &Golden, name: &str, batch: &Sequences) -> Vec<f64> {
    let all = g.f64(name);
    let mut rows = Vec::new();
    for (i, span) in batch.spans().into_iter().enumerate() {
        rows.extend(all.slice(s![i, ..span.len(), ..]).iter());
    }
    rows
}

fn weights(g: &Golden, config: &SpatialFormerConfig, prefix: &str) -> HashMap<String, Tensor> {
    let weight = |w: spatialkit::models::spatialformer::Weight| {
        let values = g.f32(&format!("{prefix}{}", w.name));
        let tensor = Tensor::from_iter(values.iter().copied(), &device()).unwrap();
        (w.name, tensor.reshape(w.shape).unwrap())
    };
    config.weights().into_iter().map(weight).collect()
}

/// The released vocabulary as far as the golden file tells it: special tokens, 200 genes and their
/// medians; the others have names of no gene.
fn vocabulary() -> Vocabulary {
    let text = std::fs::read(golden_dir().join("spatialformer/e1_genes.json")).unwrap();
    let genes: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let list = |key: &str| genes[key].as_array().unwrap().clone();
    let mut names: Vec<String> = (0..6065).map(|i| format!("token {i}")).collect();
    let special = Vocabulary::of_genes::<&str>([]);
    for (i, name) in special.names()[..27].iter().enumerate() {
        names[i] = name.clone();
    }
    names[SEP as usize] = "<SEP>".into();
    let mut medians = Vec::new();
    for ((gene, id), median) in
        list("genes").iter().zip(list("gene_token_ids")).zip(list("gene_medians"))
    {
        let gene = gene.as_str().unwrap();
        if let Some(id) = id.as_u64() {
            names[id as usize] = gene.into();
        }
        medians.push((gene.to_string(), median.as_f64().unwrap()));
    }
    let ids: HashMap<&String, usize> = names.iter().zip(0..).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.json");
    std::fs::write(&path, serde_json::json!(ids).to_string()).unwrap();
    Vocabulary::open(&path).unwrap().with_gene_medians(medians).unwrap()
}

fn cells() -> AnnData {
    io::read_h5ad(golden_dir().join("spatialformer/e1_cells.h5ad")).unwrap()
}

/// A network of the released size of vocabulary, only to look at the tokens that reach it.
fn any_model() -> SpatialFormer {
    let config = SpatialFormerConfig {
        dim: 8,
        heads: 2,
        layers: 1,
        tokens: 6065,
        attention: AttentionLayout::PerHead,
    };
    let model = SpatialFormer::random(config, 1, &device()).unwrap();
    model.with_vocabulary(vocabulary()).unwrap()
}

#[test]
fn e1_tokens_of_cells_and_pairs() {
    let g = golden("spatialformer/e1_tokenize");
    let (mut adata, model) = (cells(), any_model());
    let names: Vec<String> = adata.obs.names().to_vec();
    for (max, name) in [(None, "single.maxNone"), (Some(50), "single.max50")] {
        let options = match max {
            Some(max) => Embed::default().max_len(max),
            None => Embed::default(),
        };
        let batch = options.tokens(&adata, &model).unwrap();
        assert_eq!(batch, sequences(&g, name), "{name}");
    }
    let meta = g.meta();
    let side = |key: &str| -> Vec<String> {
        let list = meta["pairs"][key].as_array().unwrap().iter();
        list.map(|c| c.as_str().unwrap().to_string()).collect()
    };
    for (max, name) in [(None, "pair.maxNone"), (Some(50), "pair.max50")] {
        let options = match max {
            Some(max) => PredictPairs::default().max_len(max),
            None => PredictPairs::default(),
        };
        let batch = options.tokens(&adata, &model, &side("left"), &side("right")).unwrap();
        assert_eq!(batch, sequences(&g, name), "{name}");
        assert_eq!(batch.swapped(), sequences(&g, &format!("{name}.reversed")), "{name}");
    }
    // A first cell of exactly two genes is one cell among others.
    let two = names.iter().position(|n| n == "cell_00").unwrap();
    let first = adata.select_obs(vec![two, 1, 2]).unwrap();
    assert_eq!(Embed::default().tokens(&first, &model).unwrap().len(), 3);
    // Counts, which are full of ties.
    adata.set_x_from_layer("counts").unwrap();
    let batch = Embed::default().tokens(&adata, &model).unwrap();
    assert_eq!(batch, sequences(&g, "counts.stable"), "counts");
    for cpu in [Cpu::Avx512, Cpu::Avx2] {
        let options = Embed::default().ties(TieOrder::Released(cpu));
        let batch = options.tokens(&adata, &model).unwrap();
        assert_eq!(batch, sequences(&g, "counts.numpy_default"), "{cpu:?}");
    }
}

#[test]
fn e2_hidden_states_and_every_head_of_a_small_network() {
    let test = "e2_hidden_states_and_every_head_of_a_small_network";
    let Some(g) = large_golden(test, "spatialformer/e2_small_model") else { return };
    let config = SpatialFormerConfig {
        dim: 64,
        heads: 8,
        layers: 2,
        tokens: 6065,
        attention: AttentionLayout::PerHead,
    };
    let model = SpatialFormer::new(config.clone(), &weights(&g, &config, "w."), &device()).unwrap();
    let batch = sequences(&g, "single.in");
    let states = model.all_states(&batch).unwrap();
    let expected = unpadded(&g, "single.out.hidden", &batch);
    compare("e2 hidden, fused", flat(&states), expected.clone(), abs(5e-5));
    let layers = model.layer_states(&batch).unwrap();
    compare("e2 hidden, plain", flat(&layers[1]), expected, abs(5e-5));
    let expected = unpadded(&g, "single.mid.layer0_out", &batch);
    compare("e2 layer 0, plain", flat(&layers[0]), expected, abs(5e-5));
    compare(
        "e2 cls",
        flat(&model.first_states(&batch).unwrap()),
        g.vec("single.out.cls"),
        abs(5e-5),
    );
    for (i, span) in batch.spans().into_iter().enumerate() {
        let rows = states.slice(s![span, ..]);
        let mean = rows.slice(s![5.., ..]).mapv(f64::from).mean_axis(ndarray::Axis(0)).unwrap();
        let expected = g.matrix("single.out.gene_mean").row(i).to_vec();
        compare("e2 gene mean", mean.to_vec(), expected, abs(5e-5));
        let together = flat(&model.co_occurrence(rows).unwrap());
        compare("e2 together", together, g.vec(&format!("single.out.cooc_prob{i}")), abs(2e-5));
    }
    let rows = states.slice(s![..6, ..]);
    let logits = flat(&model.masked_logits(rows).unwrap());
    compare("e2 hidden tokens", logits, g.vec("single.out.mlm_logits_sample0_pos0_6"), abs(2e-4));
    let attention = &model.attention(&batch, 1).unwrap()[1];
    let attention = attention.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    compare("e2 attention", attention, g.vec("single.out.attn_last_sample1"), abs(2e-5));

    let batch = sequences(&g, "pair.in");
    let first = model.first_states(&batch).unwrap();
    compare("e2 pair cls", flat(&first), g.vec("pair.out.hidden_cls"), abs(5e-5));
    let p = model.pair_probabilities(first.view()).unwrap();
    compare("e2 pair", flat(&p), g.vec("pair.out.prob"), abs(2e-5));
    let first = model.first_states(&batch.swapped()).unwrap();
    compare("e2 swapped cls", flat(&first), g.vec("pair.rev.hidden_cls"), abs(5e-5));
    let p = model.pair_probabilities(first.view()).unwrap();
    compare("e2 swapped", flat(&p), g.vec("pair.rev.prob"), abs(2e-5));
    let all = model.all_states(&batch).unwrap();
    for i in [0, 3] {
        let (span, [first, _]) = (batch.spans()[i].clone(), batch.segments()[i]);
        let logit = |p: f64| (p / (1.0 - p)).ln();
        for (block, rows) in
            [("block1", span.start..span.start + first), ("block2", span.start + first..span.end)]
        {
            let p = model.co_occurrence(all.slice(s![rows, ..])).unwrap();
            let expected = g.vec(&format!("pair.out.{block}_{i}"));
            let expected: Vec<f64> = expected.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect();
            assert!(expected.iter().all(|&p| logit(p).is_finite()));
            compare(&format!("e2 {block} {i}"), flat(&p), expected, abs(2e-5));
        }
    }
}

#[test]
fn e9_the_other_arrangement_of_the_same_weights() {
    let test = "e9_the_other_arrangement_of_the_same_weights";
    let Some(g) = large_golden(test, "spatialformer/e9_flash_variant_emulated") else { return };
    let Some(e2) = large_golden(test, "spatialformer/e2_small_model") else { return };
    let config = SpatialFormerConfig {
        dim: 64,
        heads: 8,
        layers: 2,
        tokens: 6065,
        attention: AttentionLayout::Flash,
    };
    let model =
        SpatialFormer::new(config.clone(), &weights(&e2, &config, "w."), &device()).unwrap();
    for kind in ["single", "pair"] {
        let batch = sequences(&e2, &format!("{kind}.in"));
        let expected = unpadded(&g, &format!("{kind}.out.hidden"), &batch);
        let states = model.all_states(&batch).unwrap();
        compare(&format!("e9 (emulated) {kind}"), flat(&states), expected.clone(), abs(5e-5));
        let plain = model.layer_states(&batch).unwrap().pop().unwrap();
        compare(&format!("e9 (emulated) {kind}, plain"), flat(&plain), expected, abs(5e-5));
        if kind == "pair" {
            let first = model.first_states(&batch).unwrap();
            let p = model.pair_probabilities(first.view()).unwrap();
            compare("e9 (emulated) pairs", flat(&p), g.vec("pair.out.prob"), abs(2e-5));
        }
    }
}

#[test]
fn e2b_and_e8_the_published_size() {
    let test = "e2b_and_e8_the_published_size";
    let Some(list) = shared(test, "golden/spatialformer/e8_real_state_dict.meta.json") else {
        return;
    };
    let list: serde_json::Value = serde_json::from_slice(&std::fs::read(list).unwrap()).unwrap();
    let config = SpatialFormerConfig::default();
    let mut names: Vec<(String, Vec<usize>)> =
        config.weights().into_iter().map(|w| (w.name, w.shape)).collect();
    names.sort();
    let theirs = list["params"].as_array().unwrap().iter().map(|p| {
        let shape = p["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize);
        (p["name"].as_str().unwrap().to_string(), shape.collect())
    });
    assert_eq!(names, theirs.collect::<Vec<(String, Vec<usize>)>>(), "e8");
    for kind in ["sin", "splitmix"] {
        let Some(g) = large_golden(test, &format!("spatialformer/e2b_real_{kind}")) else { return };
        let weights = formula(&list, kind, |_| true);
        let model = SpatialFormer::new(config.clone(), &weights, &device()).unwrap();
        drop(weights);
        let batch = sequences(&g, "in");
        let states = model.all_states(&batch).unwrap();
        let expected = unpadded(&g, "mid.layer9", &batch);
        let got = flat(&states);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let cosine = dot(&got, &expected) / (dot(&got, &got) * dot(&expected, &expected)).sqrt();
        println!("e2b {kind}: cosine {cosine}");
        assert!(cosine > 0.99999);
        compare(&format!("e2b {kind} hidden"), got, expected, abs(1e-3));
        let first = model.first_states(&batch).unwrap();
        compare(&format!("e2b {kind} cls"), flat(&first), g.vec("out.cls"), abs(1e-3));
        let layers = model.layer_states(&batch).unwrap();
        for layer in [0, 1, 4, 9] {
            let expected = unpadded(&g, &format!("mid.layer{layer}"), &batch);
            compare(
                &format!("e2b {kind} layer {layer}, plain"),
                flat(&layers[layer]),
                expected,
                abs(1e-3),
            );
        }
    }
}

#[test]
fn e3_a_checkpoint_of_lightning_and_what_embed_data_makes_of_it() {
    let test = "e3_a_checkpoint_of_lightning_and_what_embed_data_makes_of_it";
    let Some(g) = large_golden(test, "spatialformer/e3_checkpoint") else { return };
    let Some(path) = shared(test, "golden/spatialformer/small.ckpt") else { return };
    let model = SpatialFormer::load_with(&path, &Load::default()).unwrap();
    let config = model.config();
    assert_eq!((config.dim, config.heads, config.layers, config.tokens), (16, 4, 2, 6065));
    assert_eq!(config.attention, AttentionLayout::PerHead);
    let stored = io::read_checkpoint(&path).unwrap().state_dict().unwrap().read_all().unwrap();
    let mut compared = 0;
    for name in g.names().filter_map(|n| n.strip_prefix("sd.")) {
        let values = stored[name].to_dtype(candle_core::DType::F64).unwrap();
        let values = values.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert_eq!(values, g.vec(&format!("sd.{name}")), "{name}");
        compared += 1;
    }
    assert_eq!(compared, stored.len());
    let model = model.with_vocabulary(vocabulary()).unwrap();
    let mut adata = cells();
    for (method, pooling) in [("cls", Pooling::Cls), ("gene", Pooling::Gene)] {
        for (length, max) in [("maxNone", None), ("max20", Some(20))] {
            let mut options = Embed::default().pooling(pooling).batch_size(4);
            if let Some(max) = max {
                options = options.max_len(max);
            }
            embed(&mut adata, &model, &options).unwrap();
            let x = adata.obsm("X_SpaF").unwrap().to_array_f32();
            let name = format!("embed.{method}.{length}");
            compare(&format!("e3 {name}"), flat(&x), g.vec(&name), abs(5e-5));
        }
    }
    // Pairs of genes, named as the release names them.
    let options = GenePairs::default().max_len(20).threshold(0.5).released_positions(true);
    let found = gene_pairs(&adata, &model, &options).unwrap();
    let meta = g.meta();
    let counts: Vec<usize> = found.cells.iter().map(Vec::len).collect();
    let theirs = meta["gene_pairs_counts"].as_array().unwrap().iter();
    assert_eq!(counts, theirs.map(|n| n.as_u64().unwrap() as usize).collect::<Vec<_>>());
    let lists = meta["gene_pairs_cls_max20_thr0_5_first3cells"].as_array().unwrap();
    for (ours, theirs) in found.cells.iter().zip(lists) {
        let ours: Vec<[&str; 2]> = ours.iter().map(|(a, b, _)| [a.as_str(), b.as_str()]).collect();
        assert_eq!(serde_json::json!(ours), *theirs);
    }
    let side = |key: &str| -> Vec<String> {
        let list = meta["pair_cells"][key].as_array().unwrap().iter();
        list.map(|c| c.as_str().unwrap().to_string()).collect()
    };
    let (left, right) = (side("left"), side("right"));
    let options = PredictPairs::default().max_len(20);
    let found = predict_pairs(&adata, &model, &left, &right, &options).unwrap();
    compare("e3 pair cls", flat(&found.embeddings), g.vec("pair.emb.rev0"), abs(5e-5));
    let yes = |name: &str| g.matrix(name).column(1).to_vec();
    let f64s = |v: &[f32]| v.iter().map(|&p| f64::from(p)).collect::<Vec<_>>();
    compare("e3 pairs", f64s(&found.probabilities), yes("pair.prob.rev0"), abs(2e-5));
    // The release draws where both directions agree: what it drew is one of the two.
    let both =
        predict_pairs(&adata, &model, &left, &right, &options.reverse(Reverse::Surer)).unwrap();
    let backward = both.reversed.unwrap();
    for ((&a, &b), drawn) in found.probabilities.iter().zip(&backward).zip(yes("pair.prob.rev1")) {
        let near = |p: f32| (f64::from(p) - drawn).abs() < 2e-5;
        let expected = if (a > 0.5) == (b > 0.5) { near(a) || near(b) } else { near(a.min(b)) };
        assert!(expected, "{a} {b}: the release gives {drawn}");
    }
}

#[test]
fn the_package_s_vocabulary_has_the_tokens_and_medians_of_e1() {
    let test = "the_package_s_vocabulary_has_the_tokens_and_medians_of_e1";
    let why = "no wheel of `spatialformer` (`cargo xtask test` downloads it)";
    let Some(wheel) = spatialkit_tests::program(test, "SPATIALKIT_SPATIALFORMER", why) else {
        return;
    };
    let theirs = Vocabulary::open(wheel).unwrap();
    assert_eq!((theirs.len(), theirs.separator()), (6065, SEP));
    let ours = vocabulary();
    let adata = cells();
    let genes = adata.var_column("gene_name").unwrap();
    for i in 0..genes.len() {
        let gene = genes.text(i).unwrap();
        assert_eq!(theirs.id(&gene), ours.id(&gene), "{gene}");
        assert_eq!(theirs.median(&gene), ours.median(&gene), "{gene}");
    }
    assert!(theirs.tissues().contains(&"Lung".to_string()));
    assert_eq!(Vocabulary::installed().unwrap(), theirs);
}
