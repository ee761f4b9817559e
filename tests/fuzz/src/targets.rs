//! The targets: how an input becomes files, and which reader gets them.

use spatialkit::anndata::{AnnData, Frame};
use spatialkit::image::{Border, Image, SlideImage};
use spatialkit::io;
use std::fs;
use std::path::{Path, PathBuf};

/// A parser to fuzz.
pub struct Target {
    pub name: &'static str,
    /// Ends of the names of real files that are seeds; files of one folder that belong together are
    /// one input.
    pub seeds: &'static [&'static str],
    /// Seeds of formats without real files, or with large ones only: text.
    pub own: &'static [&'static str],
    /// Megabytes that a parser may take beyond 4 times its input.
    pub slack_mb: usize,
    pub kind: Kind,
    /// Writes the input where the parser looks for it, and says where that is.
    pub lay_out: fn(&Path, &[u8]) -> PathBuf,
    pub read: fn(&Path),
}

/// What an input is made of, which decides how it is changed.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    /// Text, or anything else without structure to keep.
    Plain,
    Hdf5,
    /// An archive whose entries have checksums.
    Zip,
    /// Files of one folder, one after the other, with [`BETWEEN`] between them.
    Several,
}

/// Stands between the files of an input that is several.
pub const BETWEEN: &[u8] = b"\x1d\x1d";

/// What compressed data may take beyond the rule.
const EXPANDING: usize = 64;
const PLAIN: usize = 16;

pub const ALL: &[Target] = &[
    Target {
        name: "h5ad",
        seeds: &[".h5ad"],
        own: &[],
        slack_mb: EXPANDING,
        kind: Kind::Hdf5,
        lay_out: |place, data| file(place, "a.h5ad", data),
        read: |path| both_ways(io::read_h5ad(path)),
    },
    Target {
        name: "tenx",
        seeds: &["matrix.h5", "matrices_h5.h5", "genomes.h5"],
        own: &[],
        slack_mb: EXPANDING,
        kind: Kind::Hdf5,
        lay_out: |place, data| file(place, "a.h5", data),
        read: |path| {
            let _ = io::read(path).map(used);
            let _ = io::TenxH5::default().gex_only(false).read(path).map(used);
        },
    },
    Target {
        name: "mtx",
        seeds: &["matrix.mtx", "barcodes.tsv", "features.tsv", "genes.tsv"],
        own: &[],
        slack_mb: PLAIN,
        kind: Kind::Several,
        lay_out: |place, data| {
            several(place, &["matrix.mtx", "barcodes.tsv", "features.tsv"], data)
        },
        read: |path| {
            let _ = io::read(path).map(used);
        },
    },
    Target {
        name: "positions",
        seeds: &["positions_list.csv", "positions.csv", "scalefactors_json.json"],
        own: &[],
        slack_mb: PLAIN,
        kind: Kind::Several,
        lay_out: visium,
        read: |path| {
            let _ = io::read_visium(path).map(used);
        },
    },
    Target {
        name: "labels",
        seeds: &["truth.txt", "metadata.txt", "annotation.tsv.gz", "labeled_coordinates.tsv"],
        own: &[],
        slack_mb: PLAIN,
        kind: Kind::Plain,
        lay_out: |place, data| file(place, "labels.txt", data),
        read: |path| {
            let names = ["AAACAAGTATCTCCCA-1", "AAACAATCTACTAGCA-1", "a", "0", "10x13"];
            let obs = Frame::new(names.map(String::from).to_vec());
            let slide = AnnData { obs, ..AnnData::default() };
            let _ = io::read_labels(path, &slide);
            let _ = io::read_labels(path.with_file_name("labels.txt#label"), &slide);
        },
    },
    Target {
        name: "gmt",
        seeds: &[".gmt"],
        own: &["B cells\thttp://x\tCD19\tMS4A1\nT\t\tCD3D,1.0\tCD4\n"],
        slack_mb: PLAIN,
        kind: Kind::Plain,
        lay_out: |place, data| file(place, "a.gmt", data),
        read: |path| {
            let _ = io::read_gmt(path);
        },
    },
    Target {
        name: "table",
        seeds: &[".csv", ".tsv", ".txt", ".csv.gz"],
        own: &[],
        slack_mb: EXPANDING,
        kind: Kind::Plain,
        lay_out: |place, data| file(place, "a.csv", data),
        read: table,
    },
    Target {
        name: "parquet",
        seeds: &[".parquet"],
        own: &[],
        slack_mb: EXPANDING,
        kind: Kind::Plain,
        lay_out: |place, data| file(place, "a.parquet", data),
        read: table,
    },
    Target {
        name: "zarr",
        seeds: &[".zarr.zip"],
        own: &[],
        slack_mb: EXPANDING,
        kind: Kind::Zip,
        lay_out: |place, data| file(place, "a.zarr.zip", data),
        read: |path| both_ways(io::read(path)),
    },
    Target {
        name: "loom",
        seeds: &[".loom"],
        own: &[],
        slack_mb: EXPANDING,
        kind: Kind::Hdf5,
        lay_out: |place, data| file(place, "a.loom", data),
        read: |path| {
            let _ = io::read(path).map(used);
            let _ = io::Loom::default().sparse(true).cleanup(true).read(path).map(used);
        },
    },
    Target {
        name: "mudata",
        seeds: &[".h5mu"],
        own: &[],
        slack_mb: EXPANDING,
        kind: Kind::Hdf5,
        lay_out: |place, data| file(place, "a.h5mu", data),
        read: |path| {
            let _ = io::read_mudata(path);
        },
    },
    Target {
        name: "gem",
        seeds: &[],
        own: &[
            "#FileFormat=GEMv0.1\n#OffsetX=0\ngeneID\tx\ty\tMIDCounts\tExonCount\n\
             Gnai3\t12\t204\t1\t1\nGnai3\t61\t204\t2\t0\nCdc45\t12\t9\t3\t3\n",
            "geneID\tgeneName\tx\ty\tMIDCount\tCellID\n\
             E1\tA\t1\t2\t1\t0\nE1\tA\t3\t4\t2\t7\nE2\tB\t3\t5\t1\t7\n",
        ],
        slack_mb: EXPANDING,
        kind: Kind::Plain,
        lay_out: |place, data| file(place, "a.gem", data),
        read: |path| {
            let _ = io::read_stereoseq(path).map(used);
            let _ = io::StereoSeq::default().by_cell(true).read(path).map(used);
        },
    },
    Target {
        name: "st",
        seeds: &[],
        own: &["\tA\tB\tC\n10x13\t1\t0\t2\n11x13\t0\t3\t0\n\x1d\x1d\
                x\ty\tnew_x\tnew_y\tpixel_x\tpixel_y\tselected\n\
                10\t13\t10.1\t12.9\t3000.5\t2500\t1\n11\t13\t11\t13\t3290\t2501.5\t1\n\x1d\x1d\
                x\ty\tlabel\n10.1\t12.9\tinvasive cancer\n11\t13\tundetermined\n"],
        slack_mb: PLAIN,
        kind: Kind::Several,
        lay_out: |place, data| several(place, &["counts.tsv", "spots.tsv", "labels.tsv"], data),
        read: |path| {
            let counts = path.join("counts.tsv");
            let _ = io::read_st(&counts).map(used);
            let (spots, labels) = (path.join("spots.tsv"), path.join("labels.tsv"));
            let slide = io::LegacySt::default().spots(spots).labels(labels);
            let _ = slide.read(counts).map(used);
        },
    },
    Target {
        name: "stimage",
        seeds: &[],
        own: &[
            "slide,species,tissue,pmid,title,abstract,keywords,involve_cancer,tech,spot_num,gene_num\n\
                S1,human,breast,1,\"A, b\",c,d,True,ST,2,3\n\x1d\x1d\
                ,A,B,C\nS1_10x13,1,0,2\nS1_11x13,0,3,0\n\x1d\x1d\
                ,yaxis,xaxis,r\nS1_10x13,2500,3000.5,54.3\nS1_11x13,2501,3290,54.3\n",
        ],
        slack_mb: PLAIN,
        kind: Kind::Several,
        lay_out: stimage,
        read: |path| {
            let Ok(collection) = io::StImage::open(path) else { return };
            for slide in collection.slides().iter().take(3) {
                let _ = collection.slide(slide).map(used);
            }
        },
    },
    Target {
        name: "checkpoint",
        seeds: &["made-kinds-4.pt", "made-training-2.pt", "made-module.pt"],
        own: &[],
        slack_mb: EXPANDING,
        kind: Kind::Zip,
        lay_out: |place, data| file(place, "a.pt", data),
        read: weights,
    },
    Target {
        name: "storages",
        seeds: &["checkpoint/legacy.pt", "made-legacy.pt", "module.safetensors"],
        own: &[],
        slack_mb: EXPANDING,
        kind: Kind::Plain,
        lay_out: |place, data| file(place, "a.pt", data),
        read: weights,
    },
    Target {
        name: "images",
        seeds: &[".png", ".jpg", ".tif"],
        own: &[],
        slack_mb: EXPANDING,
        kind: Kind::Plain,
        lay_out: |place, data| file(place, "a.png", data),
        read: |path| {
            if let Ok(image) = Image::open(path) {
                let _ = image.thumbnail(64).to_png();
            }
        },
    },
    Target {
        name: "slides",
        // Beside those that the tests make.
        seeds: &[".png", ".jpg", ".tif"],
        own: &[],
        slack_mb: EXPANDING,
        kind: Kind::Plain,
        lay_out: |place, data| file(place, "a.tif", data),
        read: windows,
    },
];

/// The folder for this process's files, in memory where there is such a place.
pub fn place() -> PathBuf {
    let place = std::env::temp_dir().join(format!("fuzz-{}", std::process::id()));
    let _ = fs::create_dir_all(&place);
    place
}

fn file(place: &Path, name: &str, data: &[u8]) -> PathBuf {
    let path = place.join(name);
    // A new file, not new content of the old one: two inputs must not look the same to a cache.
    let _ = fs::remove_file(&path);
    fs::write(&path, data).expect("the temporary folder can be written to");
    path
}

fn several(place: &Path, names: &[&str], data: &[u8]) -> PathBuf {
    let mut rest = Some(data);
    for name in names {
        let part = rest.unwrap_or_default();
        let end = part.windows(BETWEEN.len()).position(|w| w == BETWEEN);
        file(place, name, &part[..end.unwrap_or(part.len())]);
        rest = end.map(|e| &part[e + BETWEEN.len()..]);
    }
    place.to_path_buf()
}

/// A Visium folder with a sound matrix and the texts of the input.
fn visium(place: &Path, data: &[u8]) -> PathBuf {
    let matrix = place.join("filtered_feature_bc_matrix");
    let spatial = place.join("spatial");
    for folder in [&matrix, &spatial] {
        let _ = fs::create_dir_all(folder);
    }
    let sizes = "%%MatrixMarket matrix coordinate integer general\n1 3 1\n1 2 5\n";
    file(&matrix, "matrix.mtx", sizes.as_bytes());
    file(&matrix, "features.tsv", b"E1\tA\n");
    file(&matrix, "barcodes.tsv", b"AAACAAGTATCTCCCA-1\nAAACACCAATAACTGC-1\nA\n");
    several(&spatial, &["tissue_positions.csv", "scalefactors_json.json"], data);
    place.to_path_buf()
}

/// A collection of one slide.
fn stimage(place: &Path, data: &[u8]) -> PathBuf {
    for folder in ["meta", "ST/gene_exp", "ST/coord"] {
        let _ = fs::create_dir_all(place.join(folder));
    }
    let names = ["meta/meta_all_gene.csv", "ST/gene_exp/S1_count.csv", "ST/coord/S1_coord.csv"];
    several(place, &names, data)
}

/// Looks at everything that an object holds.
fn used(adata: AnnData) -> AnnData {
    adata.check().expect("what was read is consistent");
    assert!(adata.to_html().len() < 4 << 20, "the summary is too long");
    assert!(adata.to_string().starts_with("AnnData object"));
    adata
}

/// A table at once, and in blocks, holds the same number of rows.
fn table(path: &Path) {
    let Ok(table) = io::Table::open(path) else { return };
    let columns: Vec<&str> = table.columns().iter().map(String::as_str).collect();
    if let Ok(frame) = table.read()
        && let Ok(blocks) = table.blocks(&columns, 7)
    {
        let rows: Vec<usize> = blocks.map_while(|b| b.ok().map(|b| b.len())).collect();
        assert_eq!(rows.iter().sum::<usize>(), frame.len());
    }
}

/// What a file of weights holds can be looked at, and its tensors read.
fn weights(path: &Path) {
    let Ok(checkpoint) = io::read_checkpoint(path) else { return };
    assert!(checkpoint.to_string().len() < 1 << 16, "the summary is too long");
    if let Ok(value) = checkpoint.at(&[]) {
        assert!(value.to_string().len() < 1 << 16, "the value is too long");
    }
    for tensors in [checkpoint.tensors(), checkpoint.state_dict()].into_iter().flatten() {
        let _ = tensors.read_all();
    }
    checkpoint.fingerprint().expect("an open file is readable");
}

/// The lower right corner of a slide, where tiles stick out, and of its smallest level.
fn windows(path: &Path) {
    let Ok(slide) = SlideImage::open(path) else { return };
    let last = slide.levels().len() - 1;
    for level in [0, last].into_iter().filter_map(|level| slide.level(level).ok()) {
        let (width, height) = (level.width().min(256), level.height().min(256));
        let (x, y) = ((level.width() - width) as i64, (level.height() - height) as i64);
        if let Ok(window) = level.window(x, y, width, height, Border::Error) {
            assert_eq!((window.width, window.height), (width, height));
        }
    }
}

/// What was read can be looked at, written unless a key forbids it, and read again.
fn both_ways(read: spatialkit::Result<AnnData>) {
    let Ok(adata) = read else { return };
    let adata = used(adata);
    let path = place().join("again.h5ad");
    if io::write_h5ad(&adata, &path).is_ok() {
        let again = io::read_h5ad(&path).expect("what was written is readable");
        assert_eq!(again.shape(), adata.shape());
    }
}
