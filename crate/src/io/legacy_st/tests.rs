use super::*;
use crate::io;
use ndarray::array;
use std::fs;

const COUNTS: &str = "\tSAMD11\tNOC2L\n10x13\t0\t6\n11x13\t1\t0\n10x14\t2\t2\n12x20\t3\t0\n";
const SPOTS: &str = "x\ty\tnew_x\tnew_y\tpixel_x\tpixel_y\tselected\n\
    11\t13\t11.02\t12.99\t300\t200.5\t1\n10\t13\t9.98\t13\t100\t200\t0\n\
    10\t14\t10\t14.1\t100\t400\t1\n9\t9\t9\t9\t1\t1\t1\n";
const LABELS: &str = "Row.names\tx\ty\tpixel_x\tpixel_y\tlabel\n\
    a\t9.98\t13.004\t100\t200\tinvasive cancer\nb\t11.02\t12.99\t300\t200\tadipose\n\
    c\t4\t4\t0\t0\tadipose\n";
const CLUSTERS: &str = "\tids\tlabel\tx\ty\n100x400\tA1\t3\t10\t14\n";

/// A collection of one section; with `image` of that size, a picture beside it.
fn collection(image: Option<(u32, u32)>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (file, text) in [
        ("ST-cnts/A1.tsv", COUNTS),
        ("ST-spotfiles/A1_selection.tsv", SPOTS),
        ("ST-pat_lbl/A1_labeled_coordinates.tsv", LABELS),
        ("ST-cluster_lbl/A1-cluster-annotation.tsv", CLUSTERS),
    ] {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    if let Some((w, h)) = image {
        fs::create_dir_all(dir.path().join("ST-imgs/A/A1")).unwrap();
        let path = dir.path().join("ST-imgs/A/A1/x.png");
        ::image::RgbImage::new(w, h).save(path).unwrap();
    }
    dir
}

fn unmatched(a: &AnnData, file: &str) -> Option<Value> {
    a.uns["unmatched"].at(&[file]).cloned()
}

#[test]
fn a_section_is_joined_from_its_files() {
    let dir = collection(Some((400, 500)));
    // The file of counts and the folder lead to the same slide.
    let a = io::read(dir.path().join("ST-cnts/A1.tsv")).unwrap();
    assert_eq!(a, io::read(dir.path()).unwrap());
    assert_eq!(a.obs.names(), ["10x13", "11x13", "10x14"]);
    assert_eq!(a.x().unwrap().to_array_f32(), array![[0., 6.], [1., 0.], [2., 2.]]);
    assert_eq!(a.spatial().unwrap(), array![[100., 200.], [300., 200.5], [100., 400.]]);
    let numbers = |c: &str| a.obs.get(c).unwrap().to_f64().unwrap();
    assert_eq!(numbers("array_col"), [10., 11., 10.]);
    assert_eq!(numbers("array_row"), [13., 13., 14.]);
    assert_eq!(numbers("in_tissue"), [0., 1., 1.]);
    let texts = |c: &str| (0..3).map(|i| a.obs.get(c).unwrap().text(i)).collect::<Vec<_>>();
    let some = |s: &str| Some(s.to_string());
    assert_eq!(texts("label"), [some("invasive cancer"), some("adipose"), None]);
    assert_eq!(texts("cluster"), [None, None, some("3")]);
    assert_eq!(texts("ids"), [None, None, some("A1")]);
    assert_eq!(unmatched(&a, "A1.tsv"), Some(Value::strings(["12x20"])));
    assert_eq!(unmatched(&a, "A1_selection.tsv"), Some(Value::strings(["9x9"])));
    assert_eq!(unmatched(&a, "A1_labeled_coordinates.tsv"), Some(Value::strings(["4x4"])));
    let tissue = crate::image::tissue(&a, Some("A1"), &Default::default()).unwrap();
    assert_eq!((tissue.scale, tissue.image.width), (1.0, 400));
    assert!((tissue.spot_diameter.unwrap() - 100.0).abs() < 0.1, "half of the pitch");
}

#[test]
fn an_image_is_placed_or_not_taken() {
    let dir = collection(Some((100, 125)));
    let all = Her2st::open(dir.path()).unwrap();
    let left_out = all.section("A1").unwrap();
    let note = left_out.uns["spatial"].at(&["A1", "metadata", "image_left_out"]).unwrap();
    assert!(note.as_str().unwrap().contains("reach to (300, 400)"), "{note:?}");
    let counts = all.counts("A1").unwrap();
    let image = dir.path().join("ST-imgs/A/A1/x.png");
    let read =
        |st: LegacySt| st.spots(dir.path().join("ST-spotfiles/A1_selection.tsv")).read(counts);
    let e = read(LegacySt::default().image(&image)).unwrap_err().to_string();
    assert!(e.contains("x.png") && e.contains("full_size"), "{e}");
    for st in [
        LegacySt::default().full_size(400, 500).image(&image),
        all.files("A1").unwrap().image_scale(0.25),
    ] {
        let a = read(st).unwrap();
        assert_eq!(crate::image::tissue(&a, None, &Default::default()).unwrap().scale, 0.25);
    }
    let e = read(LegacySt::default().image(&image).full_size(400, 900)).unwrap_err().to_string();
    assert!(e.contains("no smaller picture"), "{e}");
    assert!(read(LegacySt::default().image(&image).image_scale(-1.0)).is_err());
    assert!(matches!(all.section("Z9"), Err(Error::MissingKey { .. })));
}

#[test]
fn counts_alone_keep_the_array() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stdata.tsv");
    // Older files: spots along the top, or named after adjusted places.
    fs::write(&path, "gene\t10x13\t11x13\nENSG01\t1\t0\nENSG02\t0\t2\n").unwrap();
    let a = io::read(&path).unwrap();
    assert_eq!(
        (a.obs.names().join(" "), a.var.names().join(" ")),
        ("10x13 11x13".into(), "ENSG01 ENSG02".into())
    );
    assert_eq!(a.spatial().unwrap(), array![[10., 13.], [11., 13.]]);
    fs::write(&path, "\tENSG01\n9.98x13\t1\n11.02x12.99\t5\n").unwrap();
    let spots = dir.path().join("spot_data-selection.tsv");
    fs::write(&spots, SPOTS).unwrap();
    let a = LegacySt::default().spots(&spots).read(&path).unwrap();
    assert_eq!(a.spatial().unwrap(), array![[100., 200.], [300., 200.5]]);
    assert_eq!(a.obs.get("array_col").unwrap().to_f64().unwrap(), [10., 11.]);
}

#[test]
fn malformed_files_are_named() {
    let dir = collection(None);
    let at = |file: &str| dir.path().join(file);
    let read = || io::read(dir.path()).unwrap_err().to_string();
    let e = LegacySt::default()
        .spots(at("ST-spotfiles/A1_selection.tsv"))
        .unmatched(Unmatched::Error)
        .read(at("ST-cnts/A1.tsv"))
        .unwrap_err()
        .to_string();
    assert!(e.contains("A1.tsv: 1 of 4 have no entry in the table of spots"), "{e}");
    for (file, text, what) in [
        ("ST-pat_lbl/A1_labeled_coordinates.tsv", "x\ty\n10\t13\n", "no column `label`"),
        ("ST-pat_lbl/A1_labeled_coordinates.tsv", "x\ty\tlabel\n1\t1\ta\n", "none of its spots"),
        ("ST-spotfiles/A1_selection.tsv", "x\tpixel_x\n1\t2\n", "no column of numbers `y`"),
        ("ST-spotfiles/A1_selection.tsv", "x\ty\n1\t2\n", "none of its spots is in the counts"),
        ("ST-spotfiles/A1_selection.tsv", "x\ty\n10\t13\n10\t13\n", "10x13 stands in rows 1 and 2"),
        ("ST-cnts/A1.tsv", "\tg\nspot\t1\n10x13\t2\n", "row 1: `spot` is not the name of a spot"),
        ("ST-cnts/A1.tsv", "\tg\n10x13\t1\n10x13\t2\n", "10x13 stands in rows 1 and 2"),
    ] {
        fs::write(at(file), text).unwrap();
        let e = read();
        assert!(e.contains(what) && e.contains(&file[file.len() - 8..]), "{what}: {e}");
    }
}
