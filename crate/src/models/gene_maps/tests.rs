//! Whole runs of both methods on a small slide with an encoder of a few numbers.

use super::super::encoder::{Encoder, Histology};
use super::super::{HisToSge, SpaMcaf};
use super::*;
use crate::anndata::{AnnData, Frame};
use crate::error::Result;
use crate::image::{Channels, Image, SlideImage};
use crate::nn::Device;
use crate::parallel::same_with_any_threads;
use crate::rng::{self, Rng};
use crate::tl::{Interpolate, ScoreGeneMap, interpolate_genes, score_gene_map};
use ndarray::Array2;

/// Means and deviations of the channels.
struct Colours;

impl Encoder for Colours {
    fn name(&self) -> &str {
        "colours"
    }
    fn width(&self) -> usize {
        6
    }
    fn fingerprint(&self) -> String {
        "colours".into()
    }
    fn encode(&self, patches: &[Image]) -> Result<Array2<f32>> {
        let mut out = Array2::zeros((patches.len(), 6));
        for (patch, mut row) in patches.iter().zip(out.rows_mut()) {
            for c in 0..3 {
                let values =
                    || patch.pixels.iter().skip(c).step_by(3).map(|&p| f32::from(p) / 255.0);
                let n = (patch.width * patch.height) as f32;
                let mean = values().sum::<f32>() / n;
                row[c] = mean;
                row[3 + c] = values().map(|v| (v - mean).powi(2)).sum::<f32>() / n;
            }
        }
        Ok(out)
    }
}

const SIDE: usize = 160;

/// 48 spots on a hexagonal grid; red rises to the right, and with it every other gene.
fn slide() -> (AnnData, Histology) {
    let pixel = |i: usize| {
        let (x, y) = (i % SIDE, i / SIDE);
        let noise = (rng::at(1, i as u64) % 16) as usize;
        [(x + noise) as u8, (y / 2 + noise) as u8, 90]
    };
    let image = Image::new(SIDE, SIDE, (0..SIDE * SIDE).flat_map(pixel).collect()).unwrap();
    let mut rng = Rng::new(5);
    let (mut counts, mut columns, mut rows, mut xy) = (vec![], vec![], vec![], vec![]);
    for r in 0..8 {
        for c in 0..6 {
            let (column, row) = ((2 * c + r % 2) as f64, r as f64);
            let (x, y) = (15.0 + 11.0 * column, 15.0 + 18.0 * row);
            let rate = 1.0 + 20.0 * x / SIDE as f64;
            counts.extend((0..12).map(|g| rng.poisson(if g % 2 == 0 { rate } else { 6.0 }) as f32));
            columns.push(column);
            rows.push(row);
            xy.extend([x, y]);
        }
    }
    let counts = Array2::from_shape_vec((48, 12), counts).unwrap();
    let mut obs = Frame::new((0..48).map(|i| format!("spot{i}")).collect());
    obs.insert("array_col", columns).unwrap();
    obs.insert("array_row", rows).unwrap();
    let var = Frame::new((0..12).map(|i| format!("gene{i}")).collect());
    let mut adata = AnnData::new(counts, obs, var).unwrap();
    let xy = Array2::from_shape_vec((48, 2), xy).unwrap();
    adata.obsm.insert("spatial".into(), xy.into());
    (adata, Histology::new(SlideImage::from_image(image), Colours).without_cache())
}

fn histosge() -> HisToSge {
    HisToSge::recovery().patch(16).chunk(10).epochs(6).device(Device::Cpu)
}

fn spamcaf() -> SpaMcaf {
    SpaMcaf::recovery().patches(&[8, 24]).chunk(10).epochs(12).device(Device::Cpu)
}

#[test]
fn recovery_trains_on_half_of_the_spots_and_predicts_all() {
    let (adata, histology) = slide();
    let fit = same_with_any_threads(|| {
        let fit = histosge().fit(&adata, &histology).unwrap();
        let x = fit.predicted().x().unwrap().to_array_f32();
        (fit.training().to_vec(), fit.losses().to_vec(), x)
    });
    let (training, losses, x) = fit;
    assert_eq!((training.len(), x.dim()), (24, (48, 12)));
    assert!(training.windows(2).all(|w| w[0] < w[1]));
    assert!(losses[5] < losses[0], "{losses:?}");
    assert!(x.iter().all(|v| v.is_finite() && *v >= 0.0));

    let fit = histosge().fit(&adata, &histology).unwrap();
    let out = fit.predicted();
    assert_eq!(out.obs.names(), adata.obs.names());
    assert_eq!(out.obsm["X_histosge"].shape(), (48, 6));
    let measured = out.layers["measured"].to_array_f32();
    assert!(measured.iter().all(|v| v.is_finite()));
    let trains = out.obs_column("training").unwrap().to_f64().unwrap();
    assert!((0..48).all(|i| (trains[i] == 1.0) == training.contains(&i)));
    let other = histosge().seed(2).fit(&adata, &histology).unwrap();
    assert_ne!(other.training(), training);
    assert!(fit.to_string().contains("recovery of 48 spots from 24"), "{fit}");
}

#[test]
fn generation_predicts_points_between_all_spots() {
    let (adata, histology) = slide();
    let fit = SpaMcaf::generation(8).patches(&[8, 24]).chunk(10).epochs(3).device(Device::Cpu);
    let fit = fit.fit(&adata, &histology).unwrap();
    let out = fit.predicted();
    assert_eq!((out.n_obs(), fit.training().len()), (8 * 48, 48));
    assert_eq!((out.obs.names()[0].as_str(), out.obs.names()[48].as_str()), ("spot0", "spot0+1"));
    let measured = out.layers["measured"].to_array_f32();
    assert!(measured.rows().into_iter().take(48).all(|r| r.iter().all(|v| v.is_finite())));
    assert!(measured.rows().into_iter().skip(48).all(|r| r.iter().all(|v| v.is_nan())));
    let attention = out.obsm["scale_attention"].to_array_f32();
    assert!(attention.rows().into_iter().all(|r| (r.sum() - 1.0).abs() < 1e-5));
    let xy = out.obsm["spatial"].to_array_f64();
    assert!((xy[[48, 0]] - xy[[0, 0]] - 11.0).abs() < 1e-9 && xy[[48, 1]] == xy[[0, 1]]);

    // The published distances in pixels, which are not this slide's: points off the image.
    let published = Task::Generation { factor: 4, grid: None, published_pixels: true };
    let e = histosge().task(published).fit(&adata, &histology).unwrap_err().to_string();
    assert!(e.contains("off the picture"), "{e}");
}

#[test]
fn a_run_that_was_stopped_goes_on_as_if_it_had_not() {
    let (adata, histology) = slide();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    let whole = histosge().epochs(9).fit(&adata, &histology).unwrap();
    histosge().epochs(4).checkpoint(&path).fit(&adata, &histology).unwrap();
    let rest = histosge().epochs(9).checkpoint(&path).fit(&adata, &histology).unwrap();
    assert_eq!(rest.losses(), whole.losses());
    let x = |fit: &GeneMapFit| fit.predicted().x().unwrap().to_array_f32();
    assert_eq!(x(&rest), x(&whole));

    let e = histosge().seed(9).checkpoint(&path).fit(&adata, &histology).unwrap_err().to_string();
    assert!(e.contains("another run") && e.contains("state.safetensors"), "{e}");
    std::fs::write(&path, b"text").unwrap();
    let e = histosge().checkpoint(&path).fit(&adata, &histology).unwrap_err().to_string();
    assert!(e.contains("not the state of a training"), "{e}");
    // SpaMCAF's rates depend on the number of epochs.
    let path = folder.path().join("other.safetensors");
    spamcaf().epochs(2).checkpoint(&path).fit(&adata, &histology).unwrap();
    assert!(spamcaf().epochs(3).checkpoint(&path).fit(&adata, &histology).is_err());
}

#[test]
fn poor_networks_do_not_spoil_interpolation() {
    let (adata, histology) = slide();
    let model = histosge().epochs(40).folds(3);
    let together = model.clone().with_interpolation(true);
    let x = same_with_any_threads(|| {
        let fit = together.fit(&adata, &histology).unwrap();
        fit.predicted().x().unwrap().to_array_f32()
    });
    assert!(x.iter().all(|v| *v >= 0.0));
    let fit = together.fit(&adata, &histology).unwrap();
    let weights = fit.weights().unwrap();
    assert!(weights.iter().all(|w| (0.0..2.0).contains(w)) && weights.iter().sum::<f64>() > 0.1);
    assert!(fit.to_string().contains("interpolation"), "{fit}");
    let mut map = fit.into_predicted();
    let hidden = map.obs.mask_by("training", |t| t == 0.0).unwrap();
    let idw = Interpolate::inverse_distance().layer("measured");
    interpolate_genes(&mut map, &hidden, idw).unwrap();
    let alone = model.fit(&adata, &histology).unwrap();
    assert!(alone.weights().is_none());
    map.layers.insert("alone".into(), alone.predicted().x().unwrap().clone());
    let error = |layer: &str| {
        let options = ScoreGeneMap::default().layer("measured").spots(&hidden);
        score_gene_map(&map, layer, options).unwrap().mean_mse()
    };
    let (together, idw, alone) = (error("X"), error("idw"), error("alone"));
    // The networks of so few epochs are poor, and 24 spots tell little of weights.
    assert!(together < 1.05 * idw && together < 0.6 * alone, "{together} {idw} {alone}");

    let e = histosge().with_interpolation(true).fit(&adata, &histology).unwrap_err().to_string();
    assert!(e.contains("folds"), "{e}");
}

#[test]
fn each_network_stops_where_it_predicts_its_fold_best() {
    let (adata, histology) = slide();
    let model = || histosge().folds(3).epochs(40);
    let (x, hidden, kept, losses) = same_with_any_threads(|| {
        let fit = model().fit(&adata, &histology).unwrap();
        let x = fit.predicted().x().unwrap().to_array_f32();
        let hidden = fit.predicted().obsm["X_histosge"].shape();
        (x, hidden, fit.kept_epochs().to_vec(), fit.losses().to_vec())
    });
    assert_eq!(hidden, (48, 18));
    assert_eq!(kept.len(), 3);
    assert!(kept.iter().all(|&k| k > 0 && k <= losses.len()), "{kept:?} of {}", losses.len());
    // Stopped and gone on with, it comes to the same.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    model().epochs(3).checkpoint(&path).fit(&adata, &histology).unwrap();
    assert!(folder.path().join("state-2.safetensors").exists());
    let rest = model().checkpoint(&path).fit(&adata, &histology).unwrap();
    assert_eq!(rest.predicted().x().unwrap().to_array_f32(), x);
    assert_eq!((rest.kept_epochs(), rest.losses()), (&kept[..], &losses[..]));
    assert!(rest.to_string().contains("kept"), "{rest}");

    for folds in [1, 25] {
        let e = histosge().folds(folds).fit(&adata, &histology).unwrap_err().to_string();
        assert!(e.contains("folds"), "{e}");
    }
}

#[test]
fn weights_of_an_earlier_training_are_taken_and_others_refused() {
    let (adata, histology) = slide();
    let folder = tempfile::tempdir().unwrap();
    let (state, weights) =
        (folder.path().join("state.safetensors"), folder.path().join("weights.safetensors"));
    let trained = spamcaf().checkpoint(&state).fit(&adata, &histology).unwrap();
    // The parameters alone, and what published files hold beside them.
    let all = candle_core::safetensors::load(&state, &candle_core::Device::Cpu).unwrap();
    let mut model: std::collections::HashMap<_, _> = all
        .into_iter()
        .filter_map(|(name, t)| Some((name.strip_prefix("model.")?.to_string(), t)))
        .collect();
    let some = model["feed.fc6.bias"].clone();
    model.insert("x_embed.weight".into(), some.clone());
    model.insert("feed.fc6_bn.num_batches_tracked".into(), some.clone());
    candle_core::safetensors::save(&model, &weights).unwrap();
    let only = spamcaf().weights(&weights).epochs(0).fit(&adata, &histology).unwrap();
    let x = |fit: &GeneMapFit| fit.predicted().x().unwrap().to_array_f32();
    assert_eq!(x(&only), x(&trained));
    assert!(only.losses().is_empty());

    model.insert("surprise.weight".into(), some);
    candle_core::safetensors::save(&model, &weights).unwrap();
    let e = spamcaf().weights(&weights).fit(&adata, &histology).unwrap_err().to_string();
    assert!(e.contains("surprise.weight"), "{e}");
}

#[test]
fn what_cannot_be_is_named() {
    let (adata, histology) = slide();
    let error =
        |model: HisToSge, adata: &AnnData| model.fit(adata, &histology).unwrap_err().to_string();
    assert!(error(histosge().patch(0), &adata).contains("patches = 0"));
    assert!(error(histosge().chunk(0), &adata).contains("chunk = 0"));
    assert!(error(histosge().learning_rate(-1.0), &adata).contains("learning_rate = -1"));
    let task = Task::Recovery { train: 0.001 };
    assert!(error(histosge().task(task), &adata).contains("none of 48 spots"));
    assert!(error(HisToSge::generation(3), &adata).contains("4 or 8"));
    let mut without = adata.clone();
    without.obs.remove("array_col");
    assert!(error(histosge(), &without).contains("array_col"));
    let mut logged = adata.clone();
    crate::pp::log1p(&mut logged).unwrap();
    assert!(error(histosge(), &logged).contains("raw counts"));
    let far = histology.clone().scale(10.0);
    let e = histosge().fit(&adata, &far).unwrap_err().to_string();
    assert!(e.contains("scale factor"), "{e}");
    let e = spamcaf().chunk(1).fit(&adata, &histology).unwrap_err().to_string();
    assert!(e.contains("single spot"), "{e}");
    // The colours' order changes what the encoder sees.
    let losses = |model: HisToSge| model.fit(&adata, &histology).unwrap().losses().to_vec();
    let rgb = losses(histosge().epochs(1).channels(Channels::Rgb));
    assert_ne!(rgb, losses(histosge().epochs(1).channels(Channels::Bgr)));
    assert_eq!(rgb, losses(histosge().epochs(1)));
}
