//! Figures as a whole: what they refuse, what they survive, and how they look.
//!
//! The pictures in `tests/golden/pl` are what the tests here compare with. After a change that is
//! meant to be seen, `SPATIALKIT_BLESS=1 cargo test --release pl::` draws them anew; look at them.

mod charts;
mod edge_cases;
mod groups;
mod maps;

use super::*;
use crate::anndata::{AnnData, Categorical, Column, Frame, Map, Value};
use crate::datasets::{Synthetic, synthetic};
use crate::error::Error;
use crate::image::{Filter, Image};
use ndarray::Array2;
use std::path::{Path, PathBuf};

/// `n` spots on a square grid of 10 pixels, with labels, numbers (one NaN) and one gene.
fn grid(n: usize, categories: usize) -> AnnData {
    let side = (n as f64).sqrt().ceil() as usize;
    let gene = Array2::from_shape_fn((n, 1), |(i, _)| (i % 5) as f32);
    let mut a = AnnData::new(gene, Frame::with_len(n), Frame::new(vec!["MBP".into()])).unwrap();
    let at = |i: usize, c: usize| 10.0 * if c == 0 { i % side } else { i / side } as f64 + 20.0;
    a.obsm.insert("spatial".into(), Array2::from_shape_fn((n, 2), |(i, c)| at(i, c)).into());
    let wave = |i: usize, c: usize| (i as f64 * 0.7 + c as f64 * 1.3).sin() * (1.0 + i as f64);
    a.obsm.insert("X_umap".into(), Array2::from_shape_fn((n, 2), |(i, c)| wave(i, c)).into());
    let labels: Vec<_> = (0..n).map(|i| Some(format!("type {}", i % categories))).collect();
    a.obs.insert("domain", Categorical::from_labels(&labels)).unwrap();
    let some = labels.iter().enumerate().map(|(i, l)| l.clone().filter(|_| i % 7 != 0));
    a.obs.insert("partial", Categorical::from_labels(&some.collect::<Vec<_>>())).unwrap();
    let numbers = (0..n).map(|i| if i == 1 { f64::NAN } else { i as f64 / 4.0 });
    a.obs.insert("score", numbers.collect::<Vec<f64>>()).unwrap();
    a.obs.insert("flat", vec![3.0f64; n]).unwrap();
    a.obs.insert("nothing", vec![f64::NAN; n]).unwrap();
    a
}

/// [`grid`] over a picture of half its resolution, with spots 8 pixels wide.
fn slide(n: usize, categories: usize) -> AnnData {
    let mut a = grid(n, categories);
    let map = |entries: Vec<(&str, Value)>| -> Value {
        entries.into_iter().map(|(k, v)| (k.to_string(), v)).collect::<Map<Value>>().into()
    };
    let pixel = |i: usize| [230 - (i % 100) as u8, 190, 215 - (i / 100) as u8];
    let image = Image::new(100, 100, (0..10_000).flat_map(pixel).collect()).unwrap();
    let factors = vec![
        ("tissue_hires_scalef", Value::float(0.5)),
        ("spot_diameter_fullres", Value::float(8.0)),
    ];
    let library = map(vec![
        ("images", map(vec![("hires", image.to_value())])),
        ("scalefactors", map(factors)),
    ]);
    a.uns.insert("spatial".into(), map(vec![("slide", library)]));
    a
}

fn pixels<P: Plot>(figure: &Figure<P>) -> Image {
    Image::decode(&figure.to_png().unwrap(), "figure.png").unwrap()
}

fn error<P: Plot>(figure: Figure<P>) -> String {
    figure.to_png().unwrap_err().to_string()
}

fn count(image: &Image, color: [u8; 3]) -> usize {
    image.pixels.chunks_exact(3).filter(|p| *p == color).count()
}

#[test]
fn a_missing_key_names_columns_and_similar_genes() {
    let a = grid(9, 2);
    let figure = spatial(&a, "mbp").title("no such gene");
    assert!(matches!(figure.check(), Err(Error::MissingKey { .. })));
    let e = error(figure);
    assert!(e.contains("`mbp`") && e.contains("gene MBP") && e.contains("obs[\"domain\"]"), "{e}");
    let e = error(embedding(&a, "X_tsne", "domain"));
    assert!(e.contains("X_tsne") && e.contains("X_umap"), "{e}");
    let e = error(spatial(&AnnData::default(), "domain"));
    assert!(e.contains("spatial"), "{e}");
}

#[test]
fn what_cannot_be_drawn_is_one_clear_error() {
    let a = grid(9, 2);
    let none = a.take_obs(&[]);
    assert!(error(spatial(&none, "domain")).contains("no spots"));
    assert!(error(embedding(&none, "umap", "domain")).contains("no points"));
    for (figure, part) in [
        (spatial(&a, "score").cmap("virids"), "viridis"),
        (spatial(&a, "score").vmin(3.0).vmax(1.0), "vmax"),
        (spatial(&a, "score").vmax("p200"), "p99"),
        (spatial(&a, "domain").palette("nope"), "colorblind"),
        (spatial(&a, "domain").groups(["type 9"]), "type 0"),
        (spatial(&a, "domain").crop(5.0, 5.0, 5.0, 9.0), "crop"),
        (spatial(&a, "domain").alpha(2.0), "between 0 and 1"),
        (spatial(&a, "domain").spot_size(-1.0), "positive"),
        (spatial(&a, "domain").ncols(0), "at least 1"),
        (spatial(&a, "domain").width(1e9), "8192"),
        (spatial(&a, "domain").pixel_ratio(0.0), "pixel_ratio"),
        (spatial(&a, values("v", vec![1.0])), "9 (one a spot)"),
    ] {
        let e = error(figure);
        assert!(e.contains(part), "{e}");
    }
    assert!(error(line([("a", vec![0f64; 0])])).contains("no points"));
    assert!(error(line([("a", vec![-1.0, f64::NAN])]).log_y(true)).contains("positive"));
    assert!(error(histogram(&[f64::NAN], 5)).contains("finite"));
    assert!(error(line([("a", vec![1.0, 2.0])]).size(40, 40)).contains("too small"));
}

#[test]
fn coordinates_that_are_not_numbers_are_refused_on_tissue_and_skipped_in_embeddings() {
    let mut a = grid(9, 2);
    let mut coords = a.obsm("spatial").unwrap().to_array_f64();
    coords[[4, 0]] = f64::NAN;
    a.obsm.insert("spatial".into(), coords.clone().into());
    a.obsm.insert("X_pca".into(), coords.into());
    assert!(error(spatial(&a, "domain")).contains("row 4"));
    pca(&a, "domain").check().unwrap();
}

#[test]
fn extreme_data_are_drawn() {
    let one = slide(1, 1);
    let line_of_spots = {
        let mut a = grid(5, 2);
        let row = Array2::from_shape_fn((5, 2), |(i, c)| if c == 0 { i as f64 } else { 3.0 });
        a.obsm.insert("spatial".into(), row.into());
        a
    };
    let same_place = {
        let mut a = grid(5, 2);
        a.obsm.insert("spatial".into(), Array2::from_elem((5, 2), 7.0).into());
        a
    };
    for a in [&one, &line_of_spots, &same_place, &grid(40, 1), &slide(49, 3)] {
        for key in ["domain", "partial", "score", "flat", "nothing", "MBP"] {
            for figure in [spatial(a, key), umap(a, key)] {
                let (_, w, h) = figure.render().unwrap_or_else(|e| panic!("{key}: {e}"));
                assert!(w > 50 && h > 50 && w < 900 && h < 900, "{key}: {w} × {h}");
            }
        }
    }
    spatial(&one, ()).check().unwrap();
    spatial(&grid(9, 2), ()).check().unwrap();
    line([("one point", vec![2.0])]).check().unwrap();
    line([("flat", vec![2.0; 9])]).log_y(true).check().unwrap();
    histogram(&[2.0; 5], 10).check().unwrap();
}

#[test]
fn colours_stay_with_their_category_when_others_are_absent() {
    let a = grid(36, 3);
    let third = default_colors(3)[2];
    let last = [third.r, third.g, third.b];
    let only: Vec<usize> = (0..36).filter(|i| i % 3 == 2).collect();
    let image = pixels(&spatial(&a.take_obs(&only), "domain").theme(Theme::Light));
    assert!(count(&image, last) > 500);
    let first = default_colors(1)[0];
    assert_eq!(count(&image, [first.r, first.g, first.b]), 0);
}

#[test]
fn stored_colours_are_used_and_missing_labels_are_light_grey() {
    let mut a = grid(36, 2);
    a.uns.insert("partial_colors".into(), Value::strings(["#ff0000", "#00ff00"]));
    let image = pixels(&spatial(&a, "partial").theme(Theme::Light));
    for color in [[255, 0, 0], [0, 255, 0], [0xd3, 0xd3, 0xd3]] {
        assert!(count(&image, color) > 500, "{color:?}");
    }
    let image = pixels(&spatial(&a, "partial").groups(["type 1"]).theme(Theme::Light));
    assert_eq!(count(&image, [255, 0, 0]), 0);
}

#[test]
fn spots_lie_on_their_place_of_the_picture() {
    // A black pixel of the picture below each spot, drawn without and with the spot.
    let mut a = slide(1, 1);
    let mut image = Image::new(100, 100, vec![255; 30_000]).unwrap();
    for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        let k = ((9 + dy) * 100 + 9 + dx) * 3;
        image.pixels[k..k + 3].fill(0);
    }
    let Some(Value::Map(m)) = a.uns.get_mut("spatial") else { panic!() };
    let images = m["slide"].as_map_mut().unwrap()["images"].as_map_mut().unwrap();
    images.insert("hires".into(), image.to_value());
    let dark = |i: &Image| i.pixels.chunks_exact(3).filter(|p| p[0] < 60 && p[1] < 60).count();
    let map = spatial(&a, "domain").legend(false).title("").theme(Theme::Light);
    assert!(dark(&pixels(&map.clone().spot_size(0.01))) > 100);
    assert_eq!(dark(&pixels(&map)), 0, "the spot at (20, 20) covers pixel (10, 10)");
}

#[test]
fn options_have_their_effect() {
    let a = slide(49, 3);
    let map = || spatial(&a, "domain");
    let plain = map().to_png().unwrap();
    assert_eq!(plain, spatial_scatter(&a, "domain").to_png().unwrap());
    let changed = [
        map().image(false),
        map().image_alpha(0.3),
        map().greyscale(true),
        map().alpha(0.5),
        map().spot_size(4.0),
        map().spot_scale(0.5),
        map().shape(SpotShape::Square),
        map().crop(0.0, 0.0, 50.0, 50.0),
        map().groups(["type 1"]),
        map().palette("colorblind"),
        map().palette(["red", "#00f"]),
        map().palette([("type 0", "red")]),
        map().legend(false),
        map().frame(true),
        map().titles(["other"]),
        map().title("other"),
        map().theme(Theme::Dark),
        map().width(300),
        map().pixel_ratio(1),
    ];
    for (k, figure) in changed.iter().enumerate() {
        assert_ne!(figure.to_png().unwrap(), plain, "option {k}");
    }
    let numbers = || spatial(&a, ["score", "MBP"]);
    let plain = numbers().to_png().unwrap();
    for figure in [
        numbers().cmap("magma"),
        numbers().vmin(1),
        numbers().vmax("p80"),
        numbers().shared_scale(true),
        numbers().alpha_by_value(true),
        numbers().ncols(1),
    ] {
        assert_ne!(figure.to_png().unwrap(), plain);
    }
}

#[test]
fn sizes_are_kept() {
    let a = slide(49, 3);
    assert_eq!(spatial(&a, "domain").width(600).dimensions().unwrap().0, 600);
    let (png, w, h) = spatial(&a, ["domain", "score"]).size(700, 300).render().unwrap();
    let image = Image::decode(&png, "x.png").unwrap();
    assert_eq!((w, h, image.width, image.height), (700, 300, 1400, 600));
    // Panels that would get too small move below each other.
    let three = |w: f64| spatial(&a, ["domain", "score", "MBP"]).width(w).dimensions().unwrap();
    let (wide, narrow) = (three(900.0), three(420.0));
    assert!(wide.1 < wide.0 / 2 && narrow.1 > narrow.0, "{wide:?} {narrow:?}");
    let (_, w, h) = loss_curve([("a", vec![1.0, 0.5])]).size(320, 200).render().unwrap();
    assert_eq!((w, h), (320, 200));
}

#[test]
fn figures_are_saved_by_extension() {
    let dir = tempfile::tempdir().unwrap();
    let figure = loss_curve([("a & b", vec![3.0, 2.0]), ("c", vec![1.0, 1.5])]);
    figure.save(dir.path().join("a.png")).unwrap();
    figure.save(dir.path().join("a.svg")).unwrap();
    let svg = std::fs::read_to_string(dir.path().join("a.svg")).unwrap();
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
    assert!(svg.contains("a &amp; b") && svg.contains("epoch"));
    let e = figure.save(dir.path().join("a.pdf")).unwrap_err().to_string();
    assert!(e.contains(".png or .svg"), "{e}");
    let e = figure.save(dir.path().join("none/a.png")).unwrap_err();
    assert!(matches!(e, Error::Io { .. }), "{e}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing else is left behind");
}

#[test]
fn many_spots_become_one_bitmap_in_svg() {
    let few = spatial(&grid(100, 3), "domain").to_svg().unwrap();
    assert!(few.matches("<circle").count() >= 100 && !few.contains("<image"));
    let many = spatial(&grid(5000, 3), "domain").to_svg().unwrap();
    assert!(many.matches("<circle").count() < 10 && many.contains("<image"));
}

#[test]
fn several_libraries_are_drawn_one_by_one() {
    let mut a = slide(16, 2);
    let Some(Value::Map(m)) = a.uns.get_mut("spatial") else { panic!() };
    let first = m["slide"].clone();
    m.insert("other".into(), first);
    let names = (0..16).map(|i| Some(if i < 8 { "slide" } else { "other" }.to_string()));
    a.obs.insert("library_id", Column::Str(names.collect())).unwrap();
    spatial(&a, "domain").check().unwrap();
    spatial_library(&a, "domain", "other").check().unwrap();
    assert!(error(spatial_library(&a, "domain", "third")).contains("other, slide"));
}

#[test]
fn every_kind_of_figure_describes_itself() {
    let a = grid(9, 2);
    assert_eq!(
        spatial(&a, ["domain", "MBP"]).title("T").describe(),
        "T: spatial map of 9 points coloured by domain, MBP"
    );
    assert!(spatial(&a, "nope").describe().contains("cannot be drawn"));
    assert_eq!(loss_curve([("total", vec![1.0])]).describe(), "curves of total");
}

#[test]
fn fifty_thousand_points_take_no_time() {
    let a = grid(50_000, 12);
    let start = std::time::Instant::now();
    spatial(&a, "domain").to_png().unwrap();
    // Half a second on an idle machine with room to spare; the limit is for a busy one.
    assert!(start.elapsed().as_secs_f64() < 5.0, "{:?}", start.elapsed());
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/pl")
}

/// Compares with the stored picture as an eye would: both at half their size, where the last bits
/// of antialiasing are gone.
fn compare<P: Plot>(name: &str, figure: Figure<P>) {
    let path = golden().join(format!("{name}.png"));
    let png = figure.pixel_ratio(1).to_png().unwrap();
    if std::env::var_os("SPATIALKIT_BLESS").is_some() {
        std::fs::create_dir_all(golden()).unwrap();
        std::fs::write(&path, &png).unwrap();
        return;
    }
    let expected = Image::open(&path).unwrap();
    let found = Image::decode(&png, name).unwrap();
    assert_eq!((found.width, found.height), (expected.width, expected.height), "{name}");
    let half = |i: &Image| i.resize(i.width / 2, i.height / 2, Filter::Box);
    let (expected, found) = (half(&expected), half(&found));
    let pairs = || expected.pixels.iter().zip(&found.pixels);
    let far = pairs().filter(|(a, b)| a.abs_diff(**b) > 24).count() as f64;
    let mean = pairs().map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>();
    let n = found.pixels.len() as f64;
    assert!(far / n < 0.002 && mean / n < 0.5, "{name}: {} {}", far / n, mean / n);
}

#[test]
fn figures_look_as_they_did() {
    let a = slide(49, 5);
    let light = |f: Figure<PointMap>| f.theme(Theme::Light).width(270);
    compare("categories", light(spatial(&a, "partial").title("Categories")));
    compare("numbers", light(spatial(&a, "score")));
    compare("dark", light(spatial(&a, "MBP").greyscale(true)).theme(Theme::Dark));
    compare("panels", light(spatial(&a, ["domain", "score", "flat"]).title("Panels")).width(440));
    compare("embedding", light(umap(&grid(200, 8), "domain").palette("colorblind")));
    compare("thirty", light(spatial(&grid(100, 30), "domain")).width(340));
    let loss = |k: f64| (0..60).map(|i| (-0.05 * f64::from(i)).exp() * k + 0.1).collect::<Vec<_>>();
    let curves = loss_curve([("total", loss(3.0)), ("contrast", loss(0.7))]).title("Loss");
    compare("loss", curves.clone().theme(Theme::Light).size(360, 220));
    compare("loss_log_auto", curves.log_y(true).size(360, 220));
    compare("bars", bar([("ARI", 0.61), ("NMI", 0.7), ("ASW", -0.1)]).size(260, 180));
}

#[test]
fn the_cortex_looks_as_it_did() {
    let a = synthetic(&Synthetic::default().n_genes(0)).unwrap();
    let lowres = crate::image::tissue(&a, None, &"lowres".into()).unwrap().image.thumbnail(150);
    let path = golden().join("cortex.png");
    if std::env::var_os("SPATIALKIT_BLESS").is_some() {
        std::fs::write(&path, lowres.to_png().unwrap()).unwrap();
    }
    let expected = Image::open(&path).unwrap();
    let off = expected.pixels.iter().zip(&lowres.pixels).map(|(a, b)| f64::from(a.abs_diff(*b)));
    assert!(off.sum::<f64>() / (lowres.pixels.len() as f64) < 1.0);
}
