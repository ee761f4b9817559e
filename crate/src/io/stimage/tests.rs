use super::*;
use crate::io;
use ndarray::array;
use std::fs;

const A1: &str = "Human_Breast_Andersson_10142021_ST_A1";
const BRAIN: &str = "GSE1234_GSM99";

/// A copy with two slides on disk, of which the metadata know one and one that is not there.
fn copy() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |file: String, text: String| {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let header = "slide,species,tissue,pmid,title,involve_cancer,tech,spot_num,gene_num";
    let rows = format!(
        "{A1},human,breast,\"1,2\",\"Title, with\na line\",True,ST,3,2\nGSE7_GSM1,mouse,skin,,,False,Visium,9,9\n"
    );
    write("meta/meta_all_gene.csv".into(), format!("{header}\nold,x,y,1,t,True,ST,1,1\n"));
    write("meta/meta_all_gene02122025.csv".into(), format!("{header}\n{rows}"));
    write("meta/meta_all_gene12312024.csv".into(), format!("{header}\nold,x,y,1,t,True,ST,1,1\n"));
    write(
        format!("ST/gene_exp/{A1}_count.csv"),
        format!(",SAMD11,NOC2L\n{A1}_10x13,0,6\n{A1}_10x14,1,0\n{A1}_11x1,1,1\n"),
    );
    write(
        format!("ST/coord/{A1}_coord.csv"),
        format!(",yaxis,xaxis,r\n{A1}_10x14,2.5,1.5,4\n{A1}_10x13,20,10,4\n"),
    );
    write(format!("annotation/{A1}_anno.csv"), format!(",V2\n{A1}_10x14,tumour\n{A1}_10x13,\n"));
    write(format!("Visium/gene_exp/{BRAIN}_count.csv"), ",g\nb1,1\n".into());
    // The pictures are called .png whatever they are.
    fs::create_dir_all(dir.path().join("ST/image")).unwrap();
    let path = dir.path().join(format!("ST/image/{A1}.png"));
    let jpeg = ::image::ImageFormat::Jpeg;
    ::image::RgbImage::new(40, 30).save_with_format(path, jpeg).unwrap();
    dir
}

#[test]
fn a_catalogue_joins_metadata_and_files() {
    let dir = copy();
    let all = StImage::open(dir.path()).unwrap();
    assert_eq!(all.slides(), [A1, "GSE7_GSM1", BRAIN]);
    let texts = |c: &str| {
        let column = all.catalogue().get(c).unwrap();
        (0..3).map(|i| column.text(i).unwrap_or_default()).collect::<Vec<_>>()
    };
    assert_eq!(texts("tech"), ["ST", "Visium", "Visium"]);
    assert_eq!(texts("species"), ["human", "mouse", ""]);
    assert_eq!(texts("study"), ["Andersson", "GSE7", "GSE1234"]);
    assert_eq!(texts("pmid"), ["1,2", "", ""]);
    assert_eq!(texts("title")[0], "Title, with\na line");
    assert_eq!(texts("spot_num"), ["3", "9", ""]);
    assert!(texts("counts")[0].ends_with("_count.csv") && texts("counts")[1].is_empty());
    assert_eq!(all.available().slides(), [A1]);

    let only = |f: StImageFilter| all.filter(&f).map(|s| s.slides().to_vec());
    let filter = StImageFilter::default;
    assert_eq!(only(filter().technology("visium")).unwrap(), ["GSE7_GSM1", BRAIN]);
    assert_eq!(only(filter().species("Human").tissue("breast").study("Andersson")).unwrap(), [A1]);
    let e = only(filter().tissue("lung")).unwrap_err().to_string();
    assert!(e.contains("no slide has `lung`; there is: breast, skin"), "{e}");
}

#[test]
fn without_metadata_names_are_what_is_known() {
    let dir = copy();
    fs::remove_dir_all(dir.path().join("meta")).unwrap();
    let all = StImage::open(dir.path()).unwrap();
    assert_eq!(all.slides(), [BRAIN, A1]);
    let tissue = all.catalogue().get("tissue").unwrap();
    assert_eq!((tissue.text(0), tissue.text(1)), (None, Some("breast".into())));
    let e = StImage::open(dir.path().join("ST")).unwrap_err().to_string();
    assert!(e.contains("not a copy of STimage-1K4M"), "{e}");
}

#[test]
fn a_slide_has_counts_places_labels_and_its_image() {
    let dir = copy();
    let counts = dir.path().join(format!("ST/gene_exp/{A1}_count.csv"));
    let a = io::read(&counts).unwrap();
    assert_eq!(a, StImage::open(dir.path()).unwrap().slide(A1).unwrap());
    assert_eq!(a.obs.names(), [format!("{A1}_10x13"), format!("{A1}_10x14")]);
    assert_eq!(a.x().unwrap().to_array_f32(), array![[0., 6.], [1., 0.]]);
    assert_eq!(a.spatial().unwrap(), array![[10., 20.], [1.5, 2.5]]);
    let label = a.obs.get("label").unwrap();
    assert_eq!((label.text(0), label.text(1)), (None, Some("tumour".into())));
    let left = a.uns["unmatched"].at(&[&format!("{A1}_count.csv")]).cloned();
    assert_eq!(left, Some(Value::strings([format!("{A1}_11x1")])));
    let tissue = crate::image::tissue(&a, None, &Default::default()).unwrap();
    assert_eq!((tissue.library.as_str(), tissue.scale, tissue.spot_diameter), (A1, 1.0, Some(8.0)));
    let small = StImage::open(dir.path()).unwrap().image_size(20).slide(A1).unwrap();
    let tissue = crate::image::tissue(&small, None, &Default::default()).unwrap();
    assert_eq!((tissue.scale, tissue.image.width, tissue.image.height), (0.5, 20, 15));
    let meta = |k: &str| small.uns["spatial"].at(&[A1, "metadata", k]).cloned();
    assert!(meta("source_image_path").unwrap().as_str().unwrap().ends_with("_A1.png"));
    assert_eq!(meta("tissue"), Some("breast".into()));
    let bare = StImage::open(dir.path()).unwrap().load_images(false).slide(A1).unwrap();
    assert!(bare.uns["spatial"].at(&[A1, "images"]).unwrap().as_map().unwrap().is_empty());
}

#[test]
fn what_is_not_there_is_named() {
    let dir = copy();
    let all = StImage::open(dir.path()).unwrap();
    let e = all.slide("Human_Lung").unwrap_err().to_string();
    assert!(e.contains("no slide `Human_Lung`") && e.contains(A1), "{e}");
    let e = all.slide("GSE7_GSM1").unwrap_err().to_string();
    assert!(e.contains("gene_exp/GSE7_GSM1_count.csv: is not in this copy"), "{e}");
    let e = all.slide(BRAIN).unwrap_err().to_string();
    assert!(e.contains("coord/GSE1234_GSM99_coord.csv: is not in this copy"), "{e}");
    let e = io::read(dir.path()).unwrap_err().to_string();
    assert!(e.contains("STimage-1K4M with 3 slides"), "{e}");
    let e = all.unmatched(Unmatched::Error).slide(A1).unwrap_err().to_string();
    assert!(e.contains("1 of 3 have no coordinates"), "{e}");
    fs::write(dir.path().join("meta/meta_all_gene02122025.csv"), "a,b\n1,2\n").unwrap();
    let e = StImage::open(dir.path()).unwrap_err().to_string();
    assert!(e.contains("no column `slide`; it has: a, b"), "{e}");
}
