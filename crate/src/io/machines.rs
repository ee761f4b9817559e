//! Tests of the folders that machines write, on small ones made here: what is read, and the words
//! for what does not fit together. Parity with Python is in `tests/tests/io_tables.rs`.

use super::*;
use crate::anndata::{AnnData, Column, Value};
use ndarray::array;
use std::fs;
use std::path::{Path, PathBuf};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        for (name, text) in files {
            folder.write(name, text);
        }
        folder
    }

    fn path(&self) -> PathBuf {
        self.0.path().into()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self) -> AnnData {
        read(self.path()).unwrap_or_else(|e| panic!("{e}"))
    }

    /// The message of reading it once a file has another text.
    fn message(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        let before = fs::read(&path).unwrap();
        self.write(name, text);
        let message = read(self.path()).unwrap_err().to_string();
        fs::write(path, before).unwrap();
        message
    }
}

fn spatial(adata: &AnnData) -> ndarray::Array2<f64> {
    adata.obsm("spatial").unwrap().to_array_f64()
}

const MATRIX: &str =
    "%%MatrixMarket matrix coordinate integer general\n3 2 3\n1 1 5\n2 2 7\n3 1 1\n";
const FEATURES: &str =
    "E1\tMbp\tGene Expression\nE2\tGad1\tGene Expression\nB1\tBlank\tBlank Codeword\n";

fn xenium() -> Folder {
    Folder::new(&[
        ("cell_feature_matrix/matrix.mtx", MATRIX),
        ("cell_feature_matrix/features.tsv", FEATURES),
        ("cell_feature_matrix/barcodes.tsv", "1\n2\n"),
        ("cells.csv", "cell_id,x_centroid,y_centroid,area\n2,20.5,30.5,9.5\n1,10.5,11.5,8.5\n"),
        ("cell_boundaries.csv", "cell_id,vertex_x,vertex_y\n1,0,0\n1,1,0\n1,1,1\n2,5,5\n2,6,6\n"),
        ("experiment.xenium", "{\"pixel_size\": 0.2125, \"panel_name\": \"p\", \"images\": {}}"),
    ])
}

#[test]
fn xenium_cells_are_joined_by_id() {
    let folder = xenium();
    let a = folder.read();
    assert_eq!(a.x().unwrap().to_array_f32(), array![[5., 0.], [0., 7.]]);
    assert_eq!(spatial(&a), array![[10.5, 11.5], [20.5, 30.5]]);
    assert_eq!(a.obs_column("area").unwrap(), &Column::from(vec![8.5, 9.5]));
    let handle = Xenium::open(folder.path()).unwrap().controls(true);
    assert_eq!(handle.read().unwrap().n_vars(), 3);
    assert_eq!(handle.metadata()["pixel_size"].as_f64(), Some(0.2125));
    assert_eq!(handle.metadata()["units"].as_str(), Some("micron"));
    let outlines = handle.boundaries(Boundary::Cell).unwrap();
    assert_eq!(
        (outlines.ids.clone(), outlines.offsets.clone()),
        (vec!["1".into(), "2".into()], vec![0, 3, 5])
    );
    assert_eq!(outlines.polygon(1), [[5., 5.], [6., 6.]]);
    let e = handle.transcripts().unwrap_err().to_string();
    assert!(e.contains("transcripts.parquet") && e.contains("cells.csv"), "{e}");
}

#[test]
fn what_does_not_fit_together_is_counted() {
    let folder = xenium();
    let e = folder.message("cells.csv", "cell_id,x_centroid,y_centroid\n7,1,2\n1,1,2\n");
    assert!(e.contains("1 of 2 cells of the matrix have no row") && e.contains("`2`"), "{e}");
    let e = folder.message("cells.csv", "cell_id,x_centroid,y_centroid\n1,1,2\n1,1,2\n2,3,4\n");
    assert!(e.contains("`1` has more than one row"), "{e}");
    let e = folder.message("cells.csv", "cell_id,x_centroid,y\n1,1,2\n2,1,2\n");
    assert!(e.contains("no column `y_centroid`"), "{e}");
    let e = folder.message("cells.csv", "cell_id,x_centroid,y_centroid\n1,1,a\n2,1,2\n");
    assert!(e.contains("do not hold numbers"), "{e}");
    let e = folder.message("experiment.xenium", "{");
    assert!(e.contains("malformed JSON"), "{e}");
}

fn cosmx() -> Folder {
    Folder::new(&[
        ("S_exprMat_file.csv", "fov,cell_ID,Mbp,Gad1\n1,0,9,9\n1,1,0,3\n1,2,4,0\n2,1,1,1\n"),
        (
            "S_metadata_file.csv",
            "fov,cell_ID,Area,CenterX_local_px,CenterY_local_px,CenterX_global_px,CenterY_global_px\n\
             2,1,7,5,6,50.5,60.5\n1,1,8,1,2,10.5,20.5\n1,2,9,3,4,30.5,40.5\n",
        ),
        ("S_fov_positions_file.csv", "fov,x_global_px,y_global_px\n1,0.5,1\n2,3,4\n"),
    ])
}

#[test]
fn cosmx_cells_are_named_by_cell_and_field() {
    let folder = cosmx();
    let a = folder.read();
    assert_eq!(a.obs.names(), ["1_2", "1_1", "2_1"]);
    assert_eq!(a.x().unwrap().to_array_f32(), array![[1., 1.], [0., 3.], [4., 0.]]);
    assert_eq!(spatial(&a), array![[5., 6.], [1., 2.], [3., 4.]]);
    assert_eq!(a.obsm("spatial").unwrap().values().dtype(), "int64");
    assert_eq!(a.obsm("spatial_fov").unwrap().to_array_f64()[[0, 1]], 60.5);
    let x = a.uns["spatial"].at(&["2", "metadata", "x_global_px"]).and_then(Value::as_f64);
    assert_eq!(x, Some(3.0));
    let e = folder.message("S_exprMat_file.csv", "fov,cell_ID,Mbp\n1,1,0\n1,2,4\n");
    assert!(e.contains("1 of 3 cells of the metadata") && e.contains("common_only"), "{e}");
    let e = folder.message("S_exprMat_file.csv", "fov,cell_ID,Mbp\n1,1,0\n1,2,x\n2,1,1\n");
    assert!(e.contains("line 3: field 3 is `x` where a number"), "{e}");
    let e = folder.message("S_exprMat_file.csv", "cell_ID,Mbp\n1,0\n");
    assert!(e.contains("no column `fov`"), "{e}");
    folder.write("T_exprMat_file.csv", "");
    let e = read_cosmx(folder.path()).unwrap_err().to_string();
    assert!(e.contains("several files"), "{e}");
}

#[test]
fn vizgen_blanks_are_set_apart() {
    let id = "110883424764611924400221639916314253469";
    let folder = Folder::new(&[
        ("cell_by_gene.csv", &format!("cell,Mbp,Blank-1\n{id},2,1\n7,0,0\n")),
        ("cell_metadata.csv", &format!(",fov,center_x,center_y\n7,1,1.5,2.5\n{id},0,3.5,4.5\n")),
        ("images/micron_to_mosaic_pixel_transform.csv", "9.2 0 1\n0 9.2 2\n0 0 1\n"),
    ]);
    let a = folder.read();
    assert_eq!(a.obs.names(), [id, "7"]);
    assert_eq!(a.var.names(), ["Mbp"]);
    assert_eq!(spatial(&a), array![[3.5, 4.5], [1.5, 2.5]]);
    assert_eq!(a.obsm_frames["blank_genes"].get("Blank-1").unwrap(), &vec![1f32, 0.].into());
    let path = ["library", "scalefactors", "transformation_matrix"];
    let Some(Value::Frame(matrix)) = a.uns["spatial"].at(&path) else { panic!() };
    assert_eq!(matrix.get("0").unwrap(), &vec![9.2, 0., 0.].into());
    let e = folder.message("cell_metadata.csv", "id,center_x,center_y\n7,1,2\n");
    assert!(e.contains("1 of 2 cells"), "{e}");
}

#[test]
fn beads_are_read_from_genes_by_cells() {
    let folder = Folder::new(&[
        ("P.digital_expression.txt", "#DGE\tVERSION:1.1\nGENE\tAC\tGT\nMbp\t0\t3\nNA\t1\t0\n"),
        ("P_bead_locations.csv", "barcode,xcoord,ycoord\nGT,1.5,2\nTT,0,0\nAC,3,4\n"),
    ]);
    let a = folder.read();
    assert_eq!(
        (a.obs.names(), a.var.names()),
        (&["AC", "GT"].map(String::from)[..], &["Mbp", "NA"].map(String::from)[..])
    );
    assert_eq!(a.x().unwrap().to_array_f32(), array![[0., 1.], [3., 0.]]);
    assert_eq!(spatial(&a), array![[3., 4.], [1.5, 2.]]);
    // Without a header, as older pucks have it.
    folder.write("P_bead_locations.csv", "GT,1.5,2\nTT,0,0\nAC,3,4\n");
    assert_eq!(spatial(&folder.read()), array![[3., 4.], [1.5, 2.]]);
    let e = folder.message("P_bead_locations.csv", "barcode,xcoord,ycoord\nGT,1.5,2\n");
    assert!(e.contains("1 of 2 beads") && e.contains("common_only"), "{e}");
    let e = folder.message("P_bead_locations.csv", "barcode,a,b,c\nGT,1,2,3\n");
    assert!(e.contains("no coordinates"), "{e}");
    folder.write("P_bead_locations.csv", "barcode,xcoord,ycoord\nGT,1.5,2\n");
    let common = SlideSeq::default().common_only(true).read(folder.path()).unwrap();
    assert_eq!(common.obs.names(), ["GT"]);
}

const GEM: &str = "#FileFormat=GEMv0.1\n#OffsetX=0\ngeneID\tx\ty\tMIDCount\tCellID\n\
                   Mbp\t0\t0\t1\t0\nGad1\t49\t49\t2\t1\nMbp\t3\t60\t4\t1\nMbp\t1\t1\t5\t2\n";

#[test]
fn stereo_seq_is_summed_by_bin_or_cell() {
    let folder = Folder::new(&[("a.gem", GEM)]);
    let path = folder.path().join("a.gem");
    let a = read(&path).unwrap();
    assert_eq!(a.obs.names(), ["0_0", "0_1"]);
    assert_eq!(a.var.names(), ["Gad1", "Mbp"]);
    assert_eq!(a.x().unwrap().to_array_f32(), array![[2., 6.], [0., 4.]]);
    assert_eq!(spatial(&a), array![[25., 25.], [25., 75.]]);
    let single = StereoSeq::default().bin_size(1).read(&path).unwrap();
    assert_eq!(single.n_obs(), 4);
    let cells = StereoSeq::default().by_cell(true).read(&path).unwrap();
    assert_eq!(cells.obs.names(), ["1", "2"]);
    assert_eq!(cells.x().unwrap().to_array_f32(), array![[2., 4.], [0., 5.]]);
    assert_eq!(spatial(&cells), array![[26., 54.5], [1., 1.]]);
    assert!(StereoSeq::default().bin_size(0).read(&path).is_err());
    for (text, words) in [
        (GEM.replace("CellID", "x2"), "no column CellID"),
        (GEM.replace("\t60\t", "\tsixty\t"), "`y` does not hold whole numbers"),
        (GEM.replace("\nMbp\t1", "\nNA\t1"), "no geneID"),
        (GEM.replace("\t5\t2\n", "\n"), "line 7: 5 fields expected"),
    ] {
        fs::write(&path, text).unwrap();
        let e = StereoSeq::default().by_cell(true).read(&path).unwrap_err().to_string();
        assert!(e.contains(words), "{e}");
    }
}

/// One bin size of a Visium HD folder, with its positions as CSV in place of parquet.
fn bin(folder: &Folder, top: &str, size: u32) {
    let at = |name: &str| format!("{top}square_{size:03}um/{name}");
    folder.write(&at("filtered_feature_bc_matrix/matrix.mtx"), MATRIX);
    folder.write(&at("filtered_feature_bc_matrix/features.tsv"), FEATURES);
    folder.write(&at("filtered_feature_bc_matrix/barcodes.tsv"), "A-1\nB-1\n");
    folder.write(&at("spatial/tissue_positions.csv"), "A-1,1,0,0,10,20\nB-1,1,0,1,10,30\n");
    let factors = format!(
        "{{\"tissue_hires_scalef\": 0.5, \"tissue_lowres_scalef\": 0.1, \"spot_diameter_fullres\": 9,
           \"bin_size_um\": {size}, \"microns_per_pixel\": 0.27}}"
    );
    folder.write(&at("spatial/scalefactors_json.json"), &factors);
}

fn size_of(a: &AnnData) -> f64 {
    let (_, library) = a.uns["spatial"].as_map().unwrap().first().unwrap();
    library.at(&["scalefactors", "bin_size_um"]).and_then(Value::as_f64).unwrap()
}

#[test]
fn a_bin_size_is_chosen_or_those_there_are_listed() {
    let folder = Folder::new(&[]);
    bin(&folder, "binned_outputs/", 2);
    bin(&folder, "binned_outputs/", 8);
    let image = image::GrayImage::from_pixel(4, 3, image::Luma([200]));
    fs::create_dir(folder.path().join("spatial")).unwrap();
    image.save(folder.path().join("spatial/tissue_lowres_image.png")).unwrap();
    let a = folder.read();
    assert_eq!((size_of(&a), a.shape()), (8.0, (2, 3)));
    let (_, library) = a.uns["spatial"].as_map().unwrap().first().unwrap();
    assert!(library.at(&["images", "lowres"]).is_some(), "the image on top belongs to every size");
    let two = VisiumHd::default().bin_size(2);
    assert_eq!(size_of(&two.read(folder.path()).unwrap()), 2.0);
    assert_eq!(size_of(&two.read(folder.path().join("binned_outputs")).unwrap()), 2.0);
    let e = VisiumHd::default().bin_size(16).read(folder.path()).unwrap_err().to_string();
    assert!(e.contains("no bins of 16 µm; there are bins of 2 µm, 8 µm"), "{e}");
    let e = VisiumHd::default().segmented(true).read(folder.path()).unwrap_err().to_string();
    assert!(e.contains("segmented_outputs/"), "{e}");
    let e = read_visium_hd(Path::new("/")).unwrap_err().to_string();
    assert!(e.contains("not a Visium HD folder"), "{e}");
}
