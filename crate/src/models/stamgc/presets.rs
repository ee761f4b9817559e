//! The published configurations.

use super::losses::LossWeights;
use super::network::NetworkConfig;
use super::params::{Clustering, Smoothing, Spots, Stamgc};
use crate::nn::{Device, Pairs};

/// A published configuration: of a platform, or of several slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Preset {
    /// 10x Visium, tuned by the authors on human cortex: 200 epochs, 3,000 genes, smoothing over
    /// two fiducial diameters, 6 neighbours of which one is pruned, loss weights 8, 0.3 and 0.7.
    #[default]
    Visium,
    /// The Visium slide of a breast cancer: 20 domains, 300 epochs, weights 1, 0.85 and 0.15.
    BreastCancer,
    /// Stereo-seq of an olfactory bulb: smoothing over 50 units, 3 neighbours, weights 6, 0.1 and 0.9.
    StereoSeq,
    /// MERFISH: 254 genes, 11 domains, smoothing over 50 units, 5 neighbours, weights 1, 0.4 and 0.6.
    Merfish,
    /// osmFISH: 33 genes, 11 domains, 600 epochs, smoothing over 400 units, 4 neighbours, a network of half the
    /// widths, weights 1, 0.5 and 0.5.
    OsmFish,
    /// Slide-seqV2: 1,933 genes, 14 domains, smoothing over 50 units, 3 neighbours, weights 10, 0.3 and 0.7.
    SlideSeqV2,
    /// Anything else: smoothing over 50 units, 5 neighbours, weights 20, 0.5 and 0.5.
    Other,
    /// Visium slices that continue each other (anterior and posterior brain), placed without a gap: 26 domains,
    /// weights 7, 0.1 and 0.9.
    Horizontal,
    /// Neighbouring Visium sections; otherwise as [`Visium`](Preset::Visium).
    Vertical,
    /// Neighbouring MERFISH sections; otherwise as [`Merfish`](Preset::Merfish).
    MerfishVertical,
    /// Slices of several stages (axolotl brains): 18 domains, smoothing over 50 units, 4 neighbours, weights 20,
    /// 0.35 and 0.65.
    CrossStage,
}

impl Stamgc {
    /// The published settings for a platform, or for several slices (see [`join`](Stamgc::join)).
    pub fn preset(preset: Preset) -> Self {
        let weights = |alpha, beta, gamma| LossWeights { alpha, beta, gamma };
        let visium = Stamgc {
            n_domains: 7,
            seed: 2025,
            epochs: 200,
            device: Device::Auto,
            min_cells: 50,
            min_counts: 10,
            smoothing: Smoothing::Fiducials(2.0),
            n_neighbors: 6,
            n_pruning: 1,
            weights: weights(8.0, 0.3, 0.7),
            pairs: Pairs::Exact,
            learning_rate: 1e-3,
            weight_decay: 5e-4,
            n_init: 10,
            clustering: Clustering::KMeans,
            network: NetworkConfig::new(3000),
            spots: Spots::All,
            slice_key: None,
            gap: true,
            domain_key: "domain".into(),
            keep_expression: false,
            start: None,
            checkpoint: None,
            checkpoint_every: 50,
        };
        let other = Stamgc {
            n_domains: 14,
            epochs: 300,
            min_cells: 3,
            smoothing: Smoothing::Units(50.0),
            n_neighbors: 5,
            weights: weights(20.0, 0.5, 0.5),
            ..visium.clone()
        };
        let merfish = Stamgc {
            n_domains: 11,
            weights: weights(1.0, 0.4, 0.6),
            network: NetworkConfig::new(254),
            ..other.clone()
        };
        let slices = |model: Stamgc| model.slices("slice");
        match preset {
            Preset::Visium => visium,
            Preset::BreastCancer => Stamgc {
                n_domains: 20,
                epochs: 300,
                min_cells: 3,
                weights: weights(1.0, 0.85, 0.15),
                ..visium
            },
            Preset::StereoSeq => Stamgc {
                n_domains: 7,
                epochs: 200,
                min_cells: 195,
                min_counts: 292,
                n_neighbors: 3,
                weights: weights(6.0, 0.1, 0.9),
                ..other
            },
            Preset::Merfish => merfish,
            Preset::OsmFish => Stamgc {
                n_domains: 11,
                epochs: 600,
                smoothing: Smoothing::Units(400.0),
                n_neighbors: 4,
                weights: weights(1.0, 0.5, 0.5),
                network: NetworkConfig {
                    hidden: 64,
                    out: 32,
                    head_dim: 16,
                    ..NetworkConfig::new(33)
                },
                ..other
            },
            Preset::SlideSeqV2 => Stamgc {
                n_neighbors: 3,
                weights: weights(10.0, 0.3, 0.7),
                network: NetworkConfig::new(1933),
                ..other
            },
            Preset::Other => other,
            Preset::Horizontal => slices(Stamgc {
                n_domains: 26,
                epochs: 300,
                min_cells: 10,
                weights: weights(7.0, 0.1, 0.9),
                gap: false,
                ..visium
            }),
            Preset::Vertical => slices(visium),
            Preset::MerfishVertical => slices(merfish),
            Preset::CrossStage => slices(Stamgc {
                n_domains: 18,
                n_neighbors: 4,
                weights: weights(20.0, 0.35, 0.65),
                ..other
            }),
        }
    }
}
