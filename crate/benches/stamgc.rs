//! One measurement of STAMGC. `cargo xtask bench stamgc-train|stamgc-preprocess` runs it again and again, beside
//! `stamgc.py`.
//!
//! ```text
//! bench-stamgc stamgc-preprocess SLIDE        prints `seconds peak_mb check version`
//! bench-stamgc stamgc-train SLIDE [EPOCHS]    the same, for the training
//! bench-stamgc seeds SLIDE SEED…              prints `seed ARI NMI` for each
//! bench-stamgc osmfish SLIDE SEED…            the same with the settings for osmFISH, labels in `Region`
//! bench-stamgc slide PATH                     writes the built-in tissue as such a slide
//! bench-stamgc beads [EPOCHS]                 41,786 beads × 4,000 genes, exact: seconds of an epoch
//! bench-stamgc million [EPOCHS]               1,000,000 cells × 300 genes, by moments: seconds of an epoch
//! bench-stamgc agreement CELLS [EPOCHS]       ARI between domains by moments and exact, 300 genes
//! ```
//! SLIDE has raw counts and labels in `obs["layer_guess"]`.

mod measured;

use rayon::prelude::*;
use spatialkit::models::stamgc::{
    LossWeights, NetworkConfig, TrainConfig, Trainer, TrainingData, spot_graph,
};
use spatialkit::models::{Preset, Stamgc};
use spatialkit::ndarray::Array2;
use spatialkit::nn::Pairs;
use spatialkit::prelude::*;
use std::time::Instant;

/// The steps that the published code calls preprocessing.
const PREPROCESSING: [&str; 3] = ["genes", "smoothing", "graph"];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse().unwrap_or(200);
    measured::print(match args.as_slice() {
        ["seeds", slide, seeds @ ..] => {
            return each_seed(Preset::Visium, "layer_guess", slide, seeds);
        }
        ["osmfish", slide, seeds @ ..] => {
            return each_seed(Preset::OsmFish, "Region", slide, seeds);
        }
        ["slide", path] => return end(tissue(path)),
        ["stamgc-preprocess", slide] => on_slide(slide, 0, &PREPROCESSING),
        ["stamgc-train", slide] => on_slide(slide, 200, &["training"]),
        ["stamgc-train", slide, epochs] => on_slide(slide, number(epochs), &["training"]),
        ["beads"] => made(41_786, 4_000, Pairs::Exact, 1),
        ["beads", epochs] => made(41_786, 4_000, Pairs::Exact, number(epochs)),
        ["agreement", cells] => return end(agreement(number(cells), 200)),
        ["agreement", cells, epochs] => return end(agreement(number(cells), number(epochs))),
        ["million"] => made(1_000_000, 300, Pairs::Quadratic, 1),
        ["million", epochs] => made(1_000_000, 300, Pairs::Quadratic, number(epochs)),
        _ => {
            return eprintln!("usage: bench-stamgc stamgc-train|stamgc-preprocess|beads|million …");
        }
    });
}

fn end(done: Result<()>) {
    if let Err(e) = done {
        eprintln!("{e}");
        std::process::exit(1);
    }
}

/// The built-in tissue with the labels of its layers where the program looks for them.
fn tissue(path: &str) -> Result<()> {
    let mut slide = datasets::synthetic(&datasets::Synthetic::default().image(false))?;
    let layers = slide.obs_column("layer")?.clone();
    slide.obs.insert("layer_guess", layers)?;
    io::write_h5ad(&slide, path)
}

/// Prints how the domains of each seed agree with the labels.
fn each_seed(preset: Preset, label: &str, path: &str, seeds: &[&str]) {
    let run = || -> Result<()> {
        let mut slide = io::read(path)?;
        // osmFISH's cells of no region.
        let real = slide.obs.mask(label, |region| region != "Excluded")?;
        slide.keep_obs(real)?;
        for seed in seeds {
            let model = Stamgc::preset(preset).seed(seed.parse().unwrap_or(1)).labelled_by(label);
            model.fit(&mut slide)?;
            let (known, found) = (slide.obs_column(label)?, slide.obs_column("domain")?);
            println!("{seed} {:.4} {:.4}", tl::ari(known, found)?, tl::nmi(known, found)?);
        }
        Ok(())
    };
    end(run());
}

/// Seconds of some steps, and the loss of the last epoch or what preprocessing made.
fn on_slide(path: &str, epochs: usize, steps: &[&str]) -> Result<(f64, f64)> {
    let mut slide = io::read(path)?;
    let model = Stamgc::preset(Preset::Visium).epochs(epochs).labelled_by("layer_guess");
    let fit = model.keep_expression(epochs == 0).fit(&mut slide)?;
    let check = match fit.history().last() {
        Some(loss) => loss.total,
        None => {
            let smooth = slide.obsm("stamgc_smoothed")?.to_array_f64();
            let sum: f64 = smooth.iter().filter(|v| v.is_finite()).map(|v| v.abs()).sum();
            sum + 2.0 * fit.n_edges() as f64
        }
    };
    Ok((steps.iter().map(|step| fit.timings().of(step)).sum(), check))
}

/// Prints how domains by moments and exact agree, and each with the regions that were made.
fn agreement(n: usize, epochs: usize) -> Result<()> {
    let features = features(n, 300)?;
    // As the method does: what is known beforehand are clusters of the expression.
    let clusters = KMeans::new(7).seed(1).n_init(1);
    let known: Vec<u32> = clusters.fit(features.view())?.labels.iter().map(|&k| k as u32).collect();
    let domains = |pairs| -> Result<Vec<usize>> {
        let mut trainer = trainer(features.clone(), known.clone(), pairs)?;
        for _ in 0..epochs {
            trainer.step()?;
        }
        Ok(KMeans::new(7).seed(1).fit(trainer.z()?.view())?.labels)
    };
    let (exact, moments) = (domains(Pairs::Exact)?, domains(Pairs::Quadratic)?);
    let regions: Vec<usize> = (0..n).map(|i| region(i) as usize).collect();
    println!(
        "{n} cells, {epochs} epochs: exact | moments {:.4}, exact | regions {:.4}, \
         moments | regions {:.4}",
        tl::ari(&exact, &moments)?,
        tl::ari(&exact, &regions)?,
        tl::ari(&moments, &regions)?
    );
    Ok(())
}

/// Where a made cell lies.
fn place(i: usize, axis: usize) -> f64 {
    measured::unit((2 * i + axis) as u64, 1)
}

/// Regions are stripes, each with genes of its own.
fn region(i: usize) -> u32 {
    (place(i, 0) * 7.0) as u32
}

/// Made expression: the genes of a cell's region are a little higher.
fn features(n: usize, genes: usize) -> Result<Array2<f32>> {
    let mut values = vec![0f32; n * genes];
    values.par_chunks_mut(genes).enumerate().for_each(|(i, row)| {
        for (g, v) in row.iter_mut().enumerate() {
            let raised = if g % 7 == region(i) as usize { 0.5 } else { 0.0 };
            *v = (2.0 * measured::unit((i * genes + g) as u64, 2) + raised) as f32;
        }
    });
    Array2::from_shape_vec((n, genes), values).map_err(|e| Error::data("made", e.to_string()))
}

fn trainer(features: Array2<f32>, labels: Vec<u32>, pairs: Pairs) -> Result<Trainer> {
    let (n, genes) = features.dim();
    let xy = Array2::from_shape_fn((n, 2), |(i, axis)| place(i, axis));
    let graph = spot_graph(xy.view(), features.view(), 3, 1)?.pruned;
    let data = TrainingData::new(features, graph, labels, measured::device())?;
    let config = TrainConfig {
        weights: LossWeights { alpha: 10.0, beta: 0.3, gamma: 0.7 },
        learning_rate: 1e-3,
        weight_decay: 5e-4,
        seed: 1,
        pairs,
    };
    Trainer::new(NetworkConfig::new(genes), data, config)
}

/// Seconds of an epoch on made data of a size, and its loss.
fn made(n: usize, genes: usize, pairs: Pairs, epochs: usize) -> Result<(f64, f64)> {
    let mut trainer = trainer(features(n, genes)?, (0..n).map(region).collect(), pairs)?;
    let start = Instant::now();
    let mut loss = 0.0;
    for _ in 0..epochs {
        loss = trainer.step()?.total;
    }
    Ok((start.elapsed().as_secs_f64() / epochs.max(1) as f64, loss))
}
