//! Figures as a whole.

use super::*;
use crate::datasets::{Synthetic, synthetic};

#[test]
#[ignore = "writes sample pictures to look at"]
fn samples() {
    let dir = std::path::PathBuf::from(std::env::var("SAMPLES").unwrap_or("/tmp/pl".into()));
    std::fs::create_dir_all(&dir).unwrap();
    let t = std::time::Instant::now();
    let a = synthetic(Synthetic::default());
    eprintln!("synthetic {:?}: {:?}", t.elapsed(), a.shape());
    let tissue = crate::image::tissue(&a, None, &Default::default()).unwrap();
    std::fs::write(dir.join("hires.png"), tissue.image.to_png().unwrap()).unwrap();
    let save = |name: &str, png: Vec<u8>| std::fs::write(dir.join(name), png).unwrap();
    let t = std::time::Instant::now();
    save("layer.png", spatial(&a, "layer").to_png().unwrap());
    eprintln!("one panel {:?}", t.elapsed());
    save(
        "layer_light.png",
        spatial(&a, "layer").theme(Theme::Light).title("Cortex").to_png().unwrap(),
    );
    let four = spatial(&a, ["layer", "MBP", "PCP4", "HPCAL1"]).vmax("p99").greyscale(true);
    save(
        "four.png",
        four.clone().theme(Theme::Light).title("Layers and markers").to_png().unwrap(),
    );
    save("four_dark.png", four.clone().theme(Theme::Dark).to_png().unwrap());
    save(
        "three.png",
        spatial(&a, ["layer", "SNAP25", "GFAP"])
            .image(false)
            .spot_scale(1.4)
            .theme(Theme::Light)
            .to_png()
            .unwrap(),
    );
    save(
        "layer600.png",
        spatial(&a, "layer").width(600).theme(Theme::Light).palette("colorblind").to_png().unwrap(),
    );
    let loss: Vec<f64> = (0..200)
        .map(|i| 2.0 * (-0.02 * f64::from(i)).exp() + 0.05 + 0.03 * (f64::from(i) * 1.7).sin())
        .collect();
    let other: Vec<f64> = loss.iter().map(|l| 0.6 * l + 0.1).collect();
    let curve = loss_curve([("total", loss), ("contrastive", other)]);
    save("loss.png", curve.clone().theme(Theme::Light).title("Training").to_png().unwrap());
    save("loss_log.png", curve.clone().log_y(true).to_png().unwrap());
    curve.clone().theme(Theme::Dark).save(dir.join("loss.svg")).unwrap();
    save(
        "bar.png",
        bar([("ARI", 0.61), ("NMI", 0.7), ("silhouette", -0.1)])
            .theme(Theme::Light)
            .to_png()
            .unwrap(),
    );
    let v: Vec<f64> = a.x().unwrap().column_f32(0).iter().map(|&v| f64::from(v)).collect();
    save("hist.png", histogram(&v, 40).xlabel("MBP").theme(Theme::Light).to_png().unwrap());
    spatial(&a, "layer").save(dir.join("layer.svg")).unwrap();
}

#[test]
#[ignore = "writes the counts for other programs"]
fn dump() {
    let a = synthetic(
        Synthetic::default()
            .image(false)
            .seed(std::env::var("SEED").map_or(0, |s| s.parse().unwrap())),
    );
    let x = a.x().unwrap().to_array_f32();
    let bytes: Vec<u8> = x.iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write("/tmp/pl/x.bin", bytes).unwrap();
    let c: Vec<u8> = a.spatial().unwrap().iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write("/tmp/pl/c.bin", c).unwrap();
    let l = a.obs_column("layer").unwrap().to_categorical();
    std::fs::write("/tmp/pl/l.bin", l.codes.iter().map(|&c| c as u8).collect::<Vec<_>>()).unwrap();
}
