//! Vision transformers against timm's own numbers.

use candle_core::{DType, Tensor};
use spatialkit::models::vit::{Mlp, Vit, VitConfig};
use spatialkit_tests::{Golden, abs, compare, device, formula, golden, splitmix};

fn tensor(g: &Golden, name: &str) -> Tensor {
    let a = g.f32(name);
    Tensor::from_iter(a.iter().copied(), &device()).unwrap().reshape(a.shape()).unwrap()
}

fn flat(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn a_small_network_matches_d2_at_its_size_and_at_others() {
    let g = golden("images/d2_tiny_vit");
    let config = VitConfig {
        image_size: 64,
        dim: 64,
        depth: 2,
        heads: 4,
        mlp: Mlp::Gelu { hidden: 256 },
        ..VitConfig::uni()
    };
    let weights = config.weights().into_iter();
    let weights = weights.map(|(n, _)| (n.clone(), tensor(&g, &format!("w.{n}")))).collect();
    let vit = Vit::new(config, &weights, &device()).unwrap();
    for (size, tolerance) in [("64", 2e-5), ("96", 1e-4), ("80x112", 1e-4)] {
        let images = tensor(&g, &format!("in.x{size}"));
        let expected = g.vec(&format!("out.y{size}"));
        let got = vit.forward(&images).unwrap();
        compare(&format!("{size} px"), flat(&got), expected.clone(), abs(tolerance));
        let got = vit.forward_plain(&images).unwrap();
        compare(&format!("{size} px, plain"), flat(&got), expected, abs(tolerance));
    }
}

#[test]
fn registers_and_gated_layers_match_d6() {
    let g = golden("images/d6_registers_swiglu");
    let config = VitConfig {
        image_size: 32,
        patch_size: 8,
        dim: 24,
        depth: 2,
        heads: 4,
        mlp: Mlp::SwiGlu { hidden: 64 },
        registers: 3,
        ..VitConfig::uni2_h()
    };
    let weights = config.weights().into_iter();
    let weights = weights.map(|(n, _)| (n.clone(), tensor(&g, &format!("w.{n}")))).collect();
    let vit = Vit::new(config, &weights, &device()).unwrap();
    for (size, tolerance) in [("32", 2e-5), ("40x24", 1e-4)] {
        let got = vit.forward(&tensor(&g, &format!("in.x{size}"))).unwrap();
        compare(&format!("{size} px"), flat(&got), g.vec(&format!("out.y{size}")), abs(tolerance));
    }
}

#[test]
fn uni_matches_d3() {
    let config = VitConfig::uni();
    for kind in ["sin", "splitmix"] {
        let g = golden(&format!("images/d3_vit_l16_{kind}"));
        let path = spatialkit_tests::golden_dir().join("images/d4_uni_state_dict.meta.json");
        let list = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let weights = formula(&list, kind, |_| true);
        assert_eq!(weights.len(), config.weights().len());
        let vit = Vit::new(config, &weights, &device()).unwrap();
        let pixels: Vec<f32> = (0..3 * 224 * 224)
            .map(|i| (2.0 * (2.0 * splitmix(i, 1_000_000) - 1.0)) as f32)
            .collect();
        let image = Tensor::from_vec(pixels, (1, 3, 224, 224), &device()).unwrap();
        let got = flat(&vit.forward(&image).unwrap());
        let expected = g.vec("out.y");
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let cosine = dot(&got, &expected) / (dot(&got, &got) * dot(&expected, &expected)).sqrt();
        println!("{kind}: cosine {cosine}");
        assert!(cosine > 0.99999, "{cosine}");
        compare(&format!("class token, {kind}"), got, expected, abs(2e-3));
    }
}
