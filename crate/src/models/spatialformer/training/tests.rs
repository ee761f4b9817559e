//! What must hold of any training.

use super::super::plain::Training;
use super::super::vocabulary::MASK;
use super::super::{AttentionLayout, SpatialFormer, SpatialFormerConfig, Vocabulary};
use super::losses::Weights;
use super::*;
use crate::anndata::{AnnData, Column, Dense, Frame, Matrix};
use crate::nn::Dropout;
use crate::rng::Rng;
use candle_core::{DType, Device, Tensor};
use ndarray::Array2;
use std::collections::HashMap;

pub(super) fn flat(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

pub(super) fn near(what: &str, got: &Tensor, expected: &Tensor, abs: f64, rel: f64) -> f64 {
    let (got, expected) = (flat(got), flat(expected));
    assert_eq!(got.len(), expected.len(), "{what}");
    let mut most = 0f64;
    for (g, e) in got.iter().zip(&expected) {
        assert!((g - e).abs() <= abs + rel * e.abs(), "{what}: {g} is not {e}");
        most = most.max((g - e).abs());
    }
    most
}

/// Cells of two kinds: neighbours are of one kind.
fn toy(n: usize) -> (Vec<TrainingCell>, Vec<CellPair>) {
    let mut rng = Rng::new(3);
    let cell = |kind: usize, rng: &mut Rng| {
        let mut genes: Vec<u32> = (0..8).map(|g| (40 + 10 * kind + g) as u32).collect();
        rng.shuffle(&mut genes);
        // Even genes lie together.
        let even = |i: &usize| genes[*i].is_multiple_of(2);
        let places: Vec<usize> = (0..genes.len()).filter(even).collect();
        let together = places.iter().flat_map(|&a| {
            places.iter().filter(move |&&b| b != a).map(move |&b| (a as u32, b as u32))
        });
        TrainingCell { together: together.collect(), genes }
    };
    let cells: Vec<TrainingCell> = (0..n).map(|i| cell(i % 2, &mut rng)).collect();
    let mut pairs = Vec::new();
    for _ in 0..4 * n {
        let (a, b) = (rng.below(n), rng.below(n));
        let neighbours = a % 2 == b % 2;
        pairs.push(CellPair { anchor: a as u32, other: b as u32, neighbours });
    }
    (cells, pairs)
}

fn toy_batch(cells: &[TrainingCell], pairs: &[CellPair]) -> TrainingBatch {
    let mut batch = TrainingBatch::default();
    for p in pairs {
        let cells = [&cells[p.anchor as usize], &cells[p.other as usize]];
        batch.push_pair([[26, 8, 3, 6]; 2], cells, 27, p.neighbours);
    }
    batch
}

fn toy_trainer(trained: Trained, seed: u64) -> Trainer {
    let attention = AttentionLayout::PerHead;
    let config = SpatialFormerConfig { dim: 16, heads: 2, layers: 1, tokens: 64, attention };
    let schedule =
        Schedule { learning_rate: 3e-3, warmup: 5, accumulate: 2, ..Schedule::default() };
    Trainer::new(Start::Fresh(config, Device::Cpu), 27, trained, schedule, seed).unwrap()
}

#[test]
fn every_loss_falls_and_a_stopped_training_goes_on_bit_by_bit() {
    let (cells, pairs) = toy(40);
    let batches: Vec<TrainingBatch> = pairs.chunks(16).map(|p| toy_batch(&cells, p)).collect();
    let mut whole = toy_trainer(Trained::All, 1);
    let mut history = Vec::new();
    for batch in batches.iter().cycle().take(20 * batches.len()) {
        history.push(whole.learn(batch).unwrap());
    }
    let mean = |part: &[StepLoss], of: fn(&StepLoss) -> f64| {
        part.iter().map(of).sum::<f64>() / part.len() as f64
    };
    let (first, last) = (&history[..batches.len()], &history[history.len() - batches.len()..]);
    for (name, of) in [
        ("hidden", (|l| l.hidden) as fn(&StepLoss) -> f64),
        ("together", |l| l.together),
        ("pairs", |l| l.pairs),
    ] {
        let (before, after) = (mean(first, of), mean(last, of));
        assert!(after < 0.93 * before, "{name}: {before} → {after}");
    }
    // Stopped in the middle of a step, and on.
    let mut half = toy_trainer(Trained::All, 1);
    for batch in &batches[..3] {
        half.learn(batch).unwrap();
    }
    let state = half.state().unwrap();
    let mut on = toy_trainer(Trained::All, 2);
    let mut straight = toy_trainer(Trained::All, 1);
    on.load_state(&state).unwrap();
    for batch in &batches[..3] {
        straight.learn(batch).unwrap();
    }
    on.set_seed(1);
    for batch in &batches[3..7] {
        assert_eq!(on.learn(batch).unwrap(), straight.learn(batch).unwrap());
    }
    let prints = [&on, &straight].map(|t| t.finished().unwrap().fingerprint().unwrap());
    assert_eq!(prints[0], prints[1]);
}

/// The pass of training on the CPU against candle's operations and their gradients: both arrangements, with
/// and without dropped elements, pairs and single cells of several lengths, all weights and some.
#[test]
fn the_fused_pass_has_the_plain_one_s_losses_and_gradients() {
    let (cells, pairs) = toy(20);
    let mut shorter = cells.clone();
    for (i, cell) in shorter.iter_mut().enumerate() {
        let n = 3 + i % 6;
        cell.genes.truncate(n);
        cell.together.retain(|&(a, b)| (a as usize) < n && (b as usize) < n);
    }
    let mut single = TrainingBatch::default();
    shorter[..7].iter().for_each(|cell| single.push_cell([26, 8, 3, 6], cell));
    let weigh = Weights { scale: 0.7, neighbours: 2.0 };
    for attention in [AttentionLayout::PerHead, AttentionLayout::Flash] {
        for (dropout, trained) in [
            (0.0, Trained::All),
            (0.3, Trained::All),
            (0.3, Trained::LowRank(2)),
            (0.3, Trained::Last(1)),
        ] {
            let config =
                SpatialFormerConfig { dim: 16, heads: 2, layers: 2, tokens: 64, attention };
            let start = Start::Fresh(config, Device::Cpu);
            let trainer = Trainer::new(start, 27, trained, Schedule::default(), 1).unwrap();
            // The narrow matrices begin as 0, which would hide half of their gradients.
            for (name, var) in trainer.store().iter().filter(|(n, _)| n.ends_with(".b")) {
                let some = (var.ones_like().unwrap() * 0.1).unwrap();
                var.set(&Dropout::new(0.5, 1, 0, name).apply(&some).unwrap()).unwrap();
            }
            let network = trainer.network().unwrap();
            for batch in [&toy_batch(&shorter, &pairs[..9]), &single] {
                let hidden = batch.hide(0.2, 27, 64, &mut Rng::new(5));
                let training = [(); 2].map(|()| Training::new(3, 4, dropout));
                let fused = network.losses(batch, &hidden, weigh, Some(&training[0])).unwrap();
                let mut seen = batch.sequences.clone();
                seen.tokens.clone_from(&hidden.tokens);
                let padded = seen.padded(&Device::Cpu).unwrap();
                let passed = network.plain(&padded, true, Some(&training[1]), false).unwrap();
                let states = passed.hidden.last().unwrap();
                let plain = network.losses_of(batch, &hidden, weigh, states).unwrap();
                let what = format!("{attention:?} {dropout} {trained:?}");
                near(&format!("{what}: total"), &fused.total.value, &plain.total.value, 0.0, 1e-5);
                for (a, b) in training[0].found.borrow().iter().zip(&*training[1].found.borrow()) {
                    assert_eq!(a.0, b.0);
                    near(&a.0, &a.1, &b.1, 1e-5, 1e-5);
                    near(&a.0, &a.2, &b.2, 1e-5, 1e-5);
                }
                let [fused, plain] = [fused, plain].map(|losses| {
                    let moves = |name: &str| trainer.moves(name);
                    losses.total.gradients(0.5, trainer.store(), &moves).unwrap()
                });
                let names = |all: &HashMap<String, Tensor>| {
                    let mut names: Vec<String> = all.keys().cloned().collect();
                    names.sort();
                    names
                };
                assert_eq!(names(&fused), names(&plain), "{what}");
                for (name, gradient) in &fused {
                    near(&format!("{what}: {name}"), gradient, &plain[name], 5e-6, 1e-4);
                }
            }
        }
    }
}

#[test]
fn fine_tuning_moves_what_it_should() {
    let (cells, pairs) = toy(20);
    let batch = toy_batch(&cells, &pairs[..16]);
    for (trained, moved, still) in [
        (Trained::Heads, "pair_head.weight", "encoder.layers.0.conv_blocks.0.conv_proj.weight"),
        (Trained::Last(1), "encoder.layers.0.conv_blocks.0.conv_proj.weight", "embeddings.weight"),
        (
            Trained::LowRank(2),
            "encoder.layers.0.attn_blocks.0.self_attn.qkv.weight",
            "embeddings.weight",
        ),
    ] {
        let mut trainer = toy_trainer(trained, 1);
        let before = trainer.finished().unwrap();
        for _ in 0..6 {
            trainer.learn(&batch).unwrap();
        }
        let after = trainer.finished().unwrap();
        let same = |name: &str| flat(&before.weights()[name]) == flat(&after.weights()[name]);
        assert!(!same(moved), "{trained:?}: {moved} stayed");
        assert!(same(still), "{trained:?}: {still} moved");
        // Statistics of a frozen layer follow the data all the same; kinds never learn.
        assert!(same("token_type_embeddings.weight"));
    }
}

/// Cells of two kinds, each with genes of its own beside some that both have.
fn two_kinds(n: usize) -> AnnData {
    let mut rng = Rng::new(9);
    let mut x = vec![0f32; n * 20];
    for (i, cell) in x.chunks_exact_mut(20).enumerate() {
        for (g, x) in cell.iter_mut().enumerate() {
            let own = if i % 2 == 0 { 0..8 } else { 8..16 };
            let level = if own.contains(&g) || g >= 16 { 6.0 } else { 1.0 };
            *x = rng.poisson(level) as f32;
        }
    }
    let names = |n: usize, what: &str| Frame::new((0..n).map(|i| format!("{what}{i}")).collect());
    let x = Matrix::Dense(Dense::new(n, 20, x).unwrap());
    let mut adata = AnnData::new(x, names(n, "cell"), names(20, "G")).unwrap();
    let kinds = (0..n).map(|i| (i % 7 != 6).then(|| ["even", "odd"][i % 2].to_string())).collect();
    adata.obs.insert("kind", Column::Str(kinds)).unwrap();
    adata
}

#[test]
fn a_network_learns_to_name_kinds_of_cells() {
    let mut adata = two_kinds(120);
    let vocabulary = Vocabulary::of_genes(adata.var.names());
    let attention = AttentionLayout::Flash;
    let tokens = vocabulary.len();
    let config = SpatialFormerConfig { dim: 16, heads: 2, layers: 1, tokens, attention };
    let model = SpatialFormer::random(config, 1, &Device::Cpu).unwrap();
    let model = model.with_vocabulary(vocabulary).unwrap();
    // What is drawn at random and stays so tells kinds apart only in part.
    for (trained, least) in [(Trained::LowRank(2), 0.7), (Trained::All, 0.9)] {
        let annotate = Annotate::default().trained(trained).epochs(30).learning_rate(1e-2);
        let fit = annotate.batch_size(8).seed(2).fit(&adata, "kind", &model).unwrap();
        let judged = fit.judged.clone().unwrap();
        assert!(judged.accuracy() > least, "{trained:?}: {fit}");
        assert!(fit.history.last() < fit.history.first());
        // Cells without a kind are named, too.
        fit.annotator.annotate(&mut adata, "found").unwrap();
        let found = adata.obs_column("found").unwrap();
        let right = (0..120).filter(|&i| found.text(i).as_deref() == Some(["even", "odd"][i % 2]));
        assert!(right.count() as f64 > 120.0 * least);
        let likely = adata.obs_column("found_probability").unwrap();
        assert!((0..120).all(|i| (0.5..=1.0).contains(&likely.text(i).unwrap().parse().unwrap())));
    }
    let same = Column::Str(vec![Some("one".into()); 120]);
    adata.obs.insert("same", same).unwrap();
    let annotate = Annotate::default();
    for (annotate, label, expected) in [
        (annotate.clone(), "nothing", "nothing"),
        (annotate.clone(), "same", "two or more"),
        (annotate.clone().epochs(0), "kind", "epochs"),
        (annotate.kept_back(1.0), "kind", "kept_back"),
    ] {
        let e = annotate.fit(&adata, label, &model).unwrap_err().to_string();
        assert!(e.contains(expected), "{e}");
    }
}

/// Two genes in one corner of a cell, two in another, and one too rare to count.
#[test]
fn genes_lie_together_where_their_molecules_do() {
    let mut all = Transcripts::default();
    let mut put = |cell: u32, gene: u32, x: f32, y: f32| {
        all.cell.push(cell);
        all.gene.push(gene);
        all.place.push([x, y]);
    };
    for i in 0..4 {
        let d = i as f32;
        for (gene, x) in [(0, 0.0), (1, 1.0), (2, 40.0), (3, 41.0)] {
            put(0, gene, x + d, d);
        }
    }
    put(0, 4, 1.0, 1.0);
    put(1, 0, 0.0, 0.0);
    let names = |n: usize, what: &str| Frame::new((0..n).map(|i| format!("{what}{i}")).collect());
    let x = Matrix::Dense(Dense::new(2, 5, vec![1f32; 10]).unwrap());
    let mut adata = AnnData::new(x, names(2, "cell"), names(5, "G")).unwrap();
    let found = all.together(&adata, &TogetherRule::default()).unwrap();
    assert_eq!(found, [vec![(0, 1), (2, 3)], vec![]]);
    let wide = TogetherRule { molecules: 1, ..TogetherRule::default() };
    assert_eq!(all.together(&adata, &wide).unwrap()[0], [(0, 1), (0, 4), (1, 4), (2, 3)]);
    all.cell[0] = 7;
    let e = all.together(&adata, &wide).unwrap_err().to_string();
    assert!(e.contains("cell 7") && e.contains("2 cells"), "{e}");
    all.cell[0] = 0;

    // As a slide, in memory and on disk.
    let places = Matrix::Dense(Dense::new(2, 2, vec![0f64, 0., 20., 0.]).unwrap());
    adata.obsm.insert("spatial".into(), places);
    let vocabulary = Vocabulary::of_genes(["G0", "G2", "G1", "G3"]);
    let slide = Prepare::default().slide(&adata, &vocabulary, Some(&all)).unwrap();
    let cell = slide.cell(0).unwrap();
    // Ranked as in the slide: G0 G1 G2 G3; G4 has no token.
    assert_eq!(cell.genes, [28, 30, 29, 31]);
    assert_eq!(cell.together, [(0, 1), (1, 0), (2, 3), (3, 2)]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slide.cells");
    slide.write(&path).unwrap();
    let streamed = TrainingSlide::open(&path).unwrap();
    assert_eq!(streamed.len(), 2);
    for i in 0..2 {
        assert_eq!(streamed.cell(i).unwrap(), slide.cell(i).unwrap());
    }
    assert!(streamed.cell(2).unwrap_err().to_string().contains("there are 2"));
    let bytes = std::fs::read(&path).unwrap();
    for cut in [3, 20, 40, bytes.len() - 4] {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let read = TrainingSlide::open(&path).and_then(|s| s.cell(s.len() - 1));
        assert!(read.is_err(), "cut at {cut}");
    }
    std::fs::write(&path, b"not a slide, but long enough to hold a header").unwrap();
    assert!(TrainingSlide::open(&path).unwrap_err().to_string().contains("begins otherwise"));
}

#[test]
fn genes_whose_molecules_lie_close_get_vectors_that_are_alike() {
    use crate::datasets::{Synthetic, compartment_of, synthetic, synthetic_transcripts};
    let adata = synthetic(&Synthetic::default().n_genes(40).depth(400.0).image(false)).unwrap();
    let adata = adata.select_obs(0..60).unwrap();
    let molecules = synthetic_transcripts(&adata, 20, 1).unwrap();
    let vocabulary = Vocabulary::of_genes(adata.var.names());
    let sage = Sage::default().dim(16).batches(60, 1500).seed(1).learning_rate(5e-3);
    let sage = sage.device(crate::nn::Device::Cpu);
    let table = sage.fit(&adata, &vocabulary, &molecules).unwrap();
    assert_eq!(table.dim(), (vocabulary.len(), 16));
    assert!(table.row(0).iter().all(|x| *x == 0.0));
    let (mut same, mut other) = (vec![], vec![]);
    for a in 0..adata.n_vars() {
        for b in 0..a {
            let names = [a, b].map(|g| adata.var.names()[g].as_str());
            let [x, y] = names.map(|n| table.row(vocabulary.id(n).unwrap() as usize));
            let cosine = x.dot(&y) / (x.dot(&x) * y.dot(&y)).sqrt();
            if compartment_of(names[0]) == compartment_of(names[1]) {
                same.push(cosine);
            } else {
                other.push(cosine);
            }
        }
    }
    let mean = |v: &[f32]| v.iter().sum::<f32>() / v.len() as f32;
    assert!(mean(&same) > mean(&other) + 0.2, "{} {}", mean(&same), mean(&other));
    assert_eq!(sage.fit(&adata, &vocabulary, &molecules).unwrap(), table);
    let lone = Transcripts { cell: vec![0, 1], gene: vec![0, 1], place: vec![[0.0; 2]; 2] };
    let e = sage.fit(&adata, &vocabulary, &lone).unwrap_err().to_string();
    assert!(e.contains("no two are within"), "{e}");
}

#[test]
fn a_whole_training_learns_neighbours_and_goes_on_where_it_stopped() {
    // Two kinds of cells in bands of 100 units: neighbours are of one kind.
    let mut rng = Rng::new(5);
    let n = 160;
    let mut x = vec![0f32; n * 20];
    let mut places = Vec::new();
    for i in 0..n {
        let (px, py) = (400.0 * rng.uniform(), 100.0 * rng.uniform());
        places.extend([px, py]);
        let kind = (px / 100.0) as usize % 2;
        for g in 0..10 {
            x[i * 20 + 10 * kind + g] = 1.0 + rng.below(5) as f32;
        }
    }
    let names = |n: usize, what: &str| Frame::new((0..n).map(|i| format!("{what}{i}")).collect());
    let x = Matrix::Dense(Dense::new(n, 20, x).unwrap());
    let mut adata = AnnData::new(x, names(n, "cell"), names(20, "G")).unwrap();
    adata.obsm.insert("spatial".into(), Matrix::Dense(Dense::new(n, 2, places).unwrap()));
    let vocabulary = Vocabulary::of_genes(adata.var.names());
    let slide = Prepare::default().slide(&adata, &vocabulary, None).unwrap();
    let attention = AttentionLayout::PerHead;
    let config = SpatialFormerConfig { dim: 16, heads: 2, layers: 1, tokens: 0, attention };
    let schedule =
        Schedule { learning_rate: 3e-3, warmup: 5, accumulate: 1, ..Schedule::default() };
    let rule = PairRule { neighbours: 20.0, hard: (80.0, 120.0), others: (1, 0) };
    let train = Train::new(config).schedule(schedule).pairs(rule).kept_back(0.3).seed(1);
    let train = train.device(crate::nn::Device::Cpu);
    let slides = [slide];
    let fit = train.clone().batches(300).fit(&slides, &vocabulary).unwrap();
    assert!(fit.auroc > 0.65, "{fit}");
    assert!(fit.judged > 20 && fit.history.iter().all(|l| l.together.is_nan()));
    // Trained with one arrangement of attention, hidden genes are guessed worse with the other.
    let options = super::super::Embed::default();
    let check = super::super::check_layout(&adata, &fit.model, &options).unwrap();
    assert!(check.per_head < check.flash, "{check}");
    let found = super::super::PredictPairs::default();
    let (a, b) = (&adata.obs.names()[..3], &adata.obs.names()[3..6]);
    super::super::predict_pairs(&adata, &fit.model, a, b, &found).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.safetensors");
    let stopped = train.clone().checkpoint(&state, 4);
    stopped.clone().batches(7).fit(&slides, &vocabulary).unwrap();
    let on = stopped.clone().batches(12).fit(&slides, &vocabulary).unwrap();
    let straight = train.clone().batches(12).fit(&slides, &vocabulary).unwrap();
    let totals = |fit: &TrainFit| fit.history.iter().map(|l| l.total.to_bits()).collect::<Vec<_>>();
    assert_eq!(totals(&on), totals(&straight));
    assert_eq!(on.model.fingerprint().unwrap(), straight.model.fingerprint().unwrap());
    let table = Array2::zeros((3, 16));
    let e = train.clone().spatial_embedding(table).fit(&slides, &vocabulary).unwrap_err();
    assert!(e.to_string().contains("[48, 16]"), "{e}");
    let e = stopped.seed(2).fit(&slides, &vocabulary).unwrap_err().to_string();
    assert!(e.contains("another training"), "{e}");
    let e = train.kept_back(1.0).fit(&slides, &vocabulary).unwrap_err().to_string();
    assert!(e.contains("kept_back"), "{e}");
}

#[test]
fn hidden_tokens_have_the_published_proportions() {
    let mut batch = TrainingBatch::default();
    let genes: Vec<u32> = (0..5000).map(|i| 28 + i % 270).collect();
    batch.push_cell([26, 8, 3, 6], &TrainingCell { genes, together: vec![] });
    let hidden = batch.hide(0.15, 27, 300, &mut Rng::new(1));
    let tokens = &batch.sequences.tokens;
    let selected: Vec<usize> = (0..tokens.len()).filter(|&i| hidden.selected[i]).collect();
    let share = |n: usize| n as f64 / selected.len() as f64;
    assert!((selected.len() as f64 / tokens.len() as f64 - 0.15).abs() < 0.02);
    let masked = selected.iter().filter(|&&i| hidden.tokens[i] == MASK).count();
    let same = selected.iter().filter(|&&i| hidden.tokens[i] == tokens[i]).count();
    assert!((share(masked) - 0.81).abs() < 0.04, "{}", share(masked));
    assert!((share(same) - 0.09).abs() < 0.03, "{}", share(same));
    assert!((0..tokens.len()).all(|i| hidden.selected[i] || hidden.tokens[i] == tokens[i]));
    // With none drawn, one is chosen.
    let mut two = TrainingBatch::default();
    two.push_cell([26, 8, 3, 6], &TrainingCell { genes: vec![30], together: vec![] });
    let hidden = two.hide(0.0, 27, 300, &mut Rng::new(1));
    assert_eq!(hidden.selected.iter().filter(|s| **s).count(), 1);
}

#[test]
fn pairs_are_near_or_far_as_the_rule_says() {
    let side = 20;
    let places = Array2::from_shape_fn((side * side, 2), |(i, axis)| {
        20.0 * if axis == 0 { i % side } else { i / side } as f64
    });
    let rule = PairRule::default();
    let pairs = rule.pairs(places.view(), 1).unwrap();
    let distance = |p: &CellPair| {
        let d = |axis| places[(p.anchor as usize, axis)] - places[(p.other as usize, axis)];
        f64::hypot(d(0), d(1))
    };
    let mut kinds = [0; 3];
    for p in &pairs {
        let d = distance(p);
        if p.neighbours {
            assert!(d > 0.0 && d <= 30.0);
            kinds[0] += 1;
        } else if d <= 150.0 {
            assert!(d >= 80.0);
            kinds[1] += 1;
        } else {
            kinds[2] += 1;
        }
    }
    // Inside every cell has eight neighbours within 30 (diagonals are 28.3 away).
    assert!(kinds[0] > 7 * 18 * 18 && kinds[1] == kinds[0] && kinds[2] == kinds[0], "{kinds:?}");
    assert_eq!(rule.pairs(places.view(), 1).unwrap(), pairs);
    assert_ne!(rule.pairs(places.view(), 2).unwrap(), pairs);
    let e = rule.pairs((&places * 10.0).view(), 1).unwrap_err().to_string();
    assert!(e.contains("within 30") && e.contains("200"), "{e}");
    let e = PairRule { hard: (10.0, 5.0), ..rule }.pairs(places.view(), 1).unwrap_err().to_string();
    assert!(e.contains("must rise"), "{e}");
}
