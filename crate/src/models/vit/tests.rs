//! The fused pass against candle's operations, on small random weights.

use super::*;
use crate::parallel::same_with_any_threads;
use crate::rng::Rng;
use candle_core::{Device, Tensor};
use std::collections::HashMap;

fn small(mlp: Mlp, registers: usize, embed_prefix: bool) -> VitConfig {
    VitConfig {
        image_size: 32,
        patch_size: 8,
        dim: 24,
        depth: 3,
        heads: 4,
        mlp,
        layer_scale: registers > 0,
        registers,
        embed_prefix,
        epsilon: 1e-6,
    }
}

fn random(shape: &[usize], rng: &mut Rng) -> Tensor {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|_| 0.3 * rng.normal() as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn weights(config: &VitConfig) -> HashMap<String, Tensor> {
    let mut rng = Rng::new(7);
    config.weights().into_iter().map(|(name, shape)| (name, random(&shape, &mut rng))).collect()
}

#[test]
fn the_fused_pass_equals_candles_operations_for_any_threads() {
    for (mlp, registers, embed_prefix) in [
        (Mlp::Gelu { hidden: 96 }, 0, true),
        (Mlp::SwiGlu { hidden: 40 }, 3, false),
        (Mlp::Gelu { hidden: 50 }, 2, true),
    ] {
        let config = small(mlp, registers, embed_prefix);
        let vit = Vit::new(config, &weights(&config), &Device::Cpu).unwrap();
        // The trained size, another, and one that is not square.
        for (h, w) in [(32, 32), (48, 48), (16, 40)] {
            let images = random(&[3, 3, h, w], &mut Rng::new(1));
            let got =
                same_with_any_threads(|| vit.forward(&images).unwrap().to_vec2::<f32>().unwrap());
            let expected = vit.forward_plain(&images).unwrap().to_vec2::<f32>().unwrap();
            for (g, e) in got.iter().flatten().zip(expected.iter().flatten()) {
                assert!((g - e).abs() < 2e-5, "{g} is not {e}");
            }
        }
    }
}

#[test]
fn weights_of_another_architecture_are_refused() {
    let config = small(Mlp::Gelu { hidden: 96 }, 0, true);
    let refuse = |change: &dyn Fn(&mut HashMap<String, Tensor>)| {
        let mut all = weights(&config);
        change(&mut all);
        Vit::new(config, &all, &Device::Cpu).unwrap_err().to_string()
    };
    let e = refuse(&|w| drop(w.remove("blocks.1.attn.qkv.bias")));
    assert!(e.contains("blocks.1.attn.qkv.bias"), "{e}");
    let extra = random(&[24], &mut Rng::new(1));
    let e = refuse(&|w| drop(w.insert("blocks.0.ls1.gamma".into(), extra.clone())));
    assert!(e.contains("blocks.0.ls1.gamma") && e.contains("architecture"), "{e}");
    let e = refuse(&|w| drop(w.insert("norm.bias".into(), random(&[25], &mut Rng::new(1)))));
    assert!(e.contains("norm.bias") && e.contains("[24]") && e.contains("[25]"), "{e}");
}

#[test]
fn images_of_wrong_shapes_are_refused() {
    let config = small(Mlp::Gelu { hidden: 96 }, 0, true);
    let vit = Vit::new(config, &weights(&config), &Device::Cpu).unwrap();
    for shape in [&[1, 3, 30, 32][..], &[1, 4, 32, 32], &[3, 32, 32], &[0, 3, 32, 32]] {
        let images = Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
        let e = vit.forward(&images).unwrap_err().to_string();
        assert!(e.contains("multiples of 8"), "{e}");
    }
}
