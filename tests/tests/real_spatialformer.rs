//! SpatialFormer on a real Xenium slide: what comes before and after the network, and one that is interrupted.

use spatialkit::models::spatialformer::training::PairRule;
use spatialkit::models::spatialformer::{
    AttentionLayout, Embed, PredictPairs, SpatialFormer, SpatialFormerConfig, Vocabulary, embed,
    predict_pairs,
};
use spatialkit::prelude::progress::peak_memory_mb;
use spatialkit::{io, nn};
use spatialkit_tests::shared;
use std::time::Instant;

#[test]
fn a_xenium_slide_is_read_paired_and_tokenised_and_its_embedding_resumes() {
    let test = "a_xenium_slide_is_read_paired_and_tokenised_and_its_embedding_resumes";
    let Some(path) = shared(test, "data/xenium_mouse_brain") else { return };
    let start = Instant::now();
    let slide = io::read(&path).unwrap();
    assert_eq!(slide.shape(), (36602, 248));
    let read = start.elapsed().as_secs_f64();
    let pairs = PairRule::default().pairs(slide.spatial().unwrap().view(), 1).unwrap();
    let paired = start.elapsed().as_secs_f64() - read;
    let vocabulary = Vocabulary::of_genes(slide.var.names());
    let config = SpatialFormerConfig {
        dim: 64,
        heads: 8,
        layers: 2,
        tokens: vocabulary.len(),
        attention: AttentionLayout::PerHead,
    };
    let device = nn::Device::Cpu.open().unwrap();
    let model = SpatialFormer::random(config, 1, &device).unwrap();
    let model = model.with_vocabulary(vocabulary).unwrap();
    let options = Embed::default().tissue("Brain").condition("Healthy").species("Mouse");
    let before = start.elapsed().as_secs_f64();
    let tokens = options.tokens(&slide, &model).unwrap();
    let tokenised = start.elapsed().as_secs_f64() - before;
    let (total, peak) = (read + paired + tokenised, peak_memory_mb());
    println!(
        "read {read:.2} s, {} pairs {paired:.2} s, {} tokens {tokenised:.2} s; {peak:.0} MB",
        pairs.len(),
        tokens.n_tokens()
    );
    assert!(total < 20.0 && peak < 2000.0, "{total} s, {peak} MB");
    drop(tokens);

    // A part, then the same part and more: what was done before is not done again.
    let folder = tempfile::tempdir().unwrap();
    let kept = options.clone().keep(folder.path());
    let mut part = slide.select_obs(0..2000).unwrap();
    embed(&mut part, &model, &kept).unwrap();
    let mut more = slide.select_obs(0..4000).unwrap();
    let before = peak_memory_mb();
    let done = embed(&mut more, &model, &kept).unwrap();
    // Cells of equal tokens share an embedding.
    assert!(done.from_before >= 2000, "{}", done.from_before);
    let mut plain = slide.select_obs(0..4000).unwrap();
    embed(&mut plain, &model, &options).unwrap();
    let (a, b) = (more.obsm("X_SpaF").unwrap(), plain.obsm("X_SpaF").unwrap());
    let apart = (a.to_array_f32() - b.to_array_f32()).mapv(f32::abs);
    assert!(apart.iter().all(|d| *d < 1e-4));
    // Memory does not grow with cells beyond the embedding itself.
    assert!(peak_memory_mb() < before + 200.0);

    let name = |i: u32| slide.obs.names()[i as usize].as_str();
    let (left, right): (Vec<&str>, Vec<&str>) =
        pairs.iter().take(200).map(|p| (name(p.anchor), name(p.other))).unzip();
    let options = PredictPairs::default().tissue("Brain").condition("Healthy").species("Mouse");
    let found = predict_pairs(&slide, &model, &left, &right, &options).unwrap();
    assert!(found.probabilities.iter().all(|p| p.is_finite()));
}
