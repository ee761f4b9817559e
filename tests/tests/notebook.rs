//! The tutorial notebook, from top to bottom in the built kernel: on the built-in tissue, on a
//! real slide in two formats, and on everything a user may get wrong.

use spatialkit_tests::notebooks::{self, Run, kernel, workspace};
use spatialkit_tests::{python, shared};
use std::path::{Path, PathBuf};
use std::process::Command;

fn stamgc(kernel: &Path, parameters: &[(&str, &str)], more: &[&str]) -> Run {
    notebooks::run(kernel, &workspace().join("notebooks/stamgc.ipynb"), parameters, more)
}

#[test]
fn the_notebook_runs_on_the_built_in_tissue() {
    let Some(kernel) = kernel("the_notebook_runs_on_the_built_in_tissue") else { return };
    let dir = tempfile::tempdir().unwrap();
    let html = dir.path().join("out.html");
    let run = stamgc(&kernel, &[], &["--html", html.to_str().unwrap()]);
    assert!(run.success, "{}", run.log);
    assert!(run.of_type("image/png").len() >= 3, "fewer than three figures");
    let summary = |o: &&serde_json::Value| notebooks::text(o).contains("AnnData");
    assert!(run.of_type("text/html").iter().any(summary), "no HTML summary");
    assert!(run.number("ari") > 0.5, "{}", run.result());
    if let Some(python) = python("the output is a valid notebook, by nbformat") {
        let file = dir.path().join("out.ipynb");
        std::fs::write(&file, run.notebook.to_string()).unwrap();
        let check = "import nbformat, sys; nbformat.validate(nbformat.read(sys.argv[1], 4))";
        let valid = Command::new(python).args(["-c", check]).arg(file).status().unwrap();
        assert!(valid.success());
    }
    let page = std::fs::read_to_string(html).unwrap();
    assert!(page.contains("data:image/png;base64,") && page.contains("STAMGC"));
}

#[test]
fn a_real_slide_gives_the_published_quality_from_both_of_its_formats() {
    let name = "a_real_slide_gives_the_published_quality_from_both_of_its_formats";
    let Some(kernel) = kernel(name) else { return };
    for (path, label) in [
        ("data/dlpfc/dlpfc_151673_5000g.h5ad", "layer_guess"),
        ("data/dlpfc/151673_spaceranger", "truth.txt"),
    ] {
        let Some(data) = shared(name, path) else { return };
        let data = data.to_str().unwrap();
        let run = stamgc(&kernel, &[("data", data), ("label", label), ("seed", "1")], &[]);
        assert!(run.success, "{}", run.log);
        println!("{path}: {}", run.result());
        // One seed's ARI moves by 0.05 about 0.46; far below means that something broke.
        assert!(run.number("ari") > 0.36, "{}", run.result());
        assert!(run.number("peak_mb") < 1000.0, "{}", run.result());
    }
}

/// A folder with copies of a real slide that are each broken in one way.
fn broken_inputs(dir: &Path) -> Vec<(&'static str, PathBuf)> {
    std::fs::write(dir.join("text.h5ad"), "barcode,gene\n").unwrap();
    let mut all = vec![
        ("a missing file", dir.join("missing.h5ad")),
        ("a text file named .h5ad", dir.join("text.h5ad")),
    ];
    let Some(slide) = shared("broken copies of a real slide", "data/dlpfc/151673_spaceranger")
    else {
        return all;
    };
    let matrix = "filtered_feature_bc_matrix.h5";
    let bytes = std::fs::read(slide.join(matrix)).unwrap();
    let folder = |name: &str, matrix_bytes: &[u8]| {
        let folder = dir.join(name);
        std::fs::create_dir_all(folder.join("spatial")).unwrap();
        std::fs::write(folder.join(matrix), matrix_bytes).unwrap();
        folder
    };
    let truncated = folder("truncated", &bytes[..bytes.len() / 2]);
    for file in std::fs::read_dir(slide.join("spatial")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), truncated.join("spatial").join(file.file_name())).unwrap();
    }
    all.push(("a truncated .h5", truncated));
    all.push(("a folder without positions", folder("no_positions", &bytes)));
    all
}

/// What is wrong, the parameters, and words that the message must hold.
type Case = (String, Vec<(&'static str, String)>, &'static [&'static str]);

#[test]
fn each_wrong_input_gives_one_error_that_names_cause_and_fix() {
    let Some(kernel) = kernel("each_wrong_input_gives_one_error_that_names_cause_and_fix") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let mut cases: Vec<Case> = Vec::new();
    for (what, path) in broken_inputs(dir.path()) {
        let words: &[&str] = match what {
            "a missing file" => &["missing.h5ad", "no such file"],
            "a text file named .h5ad" => &["text.h5ad", "HDF5"],
            "a truncated .h5" => &["filtered_feature_bc_matrix.h5", "truncated"],
            _ => &["no_positions", "tissue_positions"],
        };
        cases.push((what.into(), vec![("data", path.to_str().unwrap().into())], words));
    }
    cases.push((
        "an unknown label column".into(),
        vec![("label", "no_such_column".into())],
        &["no_such_column", "layer", "array_row"],
    ));
    cases.push((
        "no domains".into(),
        vec![("n_domains", "0".into())],
        &["n_domains = 0", "at least"],
    ));
    for (what, parameters, words) in cases {
        let parameters: Vec<(&str, &str)> =
            parameters.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let run = stamgc(&kernel, &parameters, &[]);
        assert!(!run.success, "{what}: the runner reported success");
        let errors = run.errors();
        assert_eq!(errors.len(), 1, "{what}: {errors:?}\n{}", run.log);
        let (message, shown) = &errors[0];
        println!("{what}: {message}");
        let system = "(os error 2)";
        assert!(message.matches(system).count() <= 1, "{what}: said twice: {message}");
        for word in words {
            let found = message.to_lowercase().contains(&word.to_lowercase());
            assert!(found, "{what}: `{word}` is not in: {message}");
        }
        assert!(!shown.contains("panicked"), "{what}: {shown}");
    }
}

#[test]
fn coordinates_that_are_not_numbers_are_an_error_of_one_cell() {
    let Some(kernel) = kernel("coordinates_that_are_not_numbers_are_an_error_of_one_cell") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nan.ipynb");
    notebooks::write(
        &path,
        &[
            "use spatialkit::prelude::*;",
            "let mut slide = datasets::synthetic(&Synthetic::default())?;
             let mut xy = slide.spatial()?;
             xy[[3, 0]] = f64::NAN;
             slide.obsm.insert(\"spatial\".into(), xy.into());
             let kept = 42;",
            "let fit = Stamgc::preset(Preset::Visium).n_domains(7).fit(&mut slide)?;",
        ],
    );
    let run = notebooks::run(&kernel, &path, &[], &[]);
    assert!(!run.success);
    let errors = run.errors();
    assert_eq!(errors.len(), 1, "{}", run.log);
    assert!(
        errors[0].0.contains("obsm[\"spatial\"]") && errors[0].0.contains("row 3"),
        "{errors:?}"
    );
}

/// Cells link the library dynamically: what a function needs of HDF5's C code must be inside it,
/// not be left to the cell.
#[test]
fn every_reader_and_writer_works_from_a_cell() {
    let Some(kernel) = kernel("every_reader_and_writer_works_from_a_cell") else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("files.ipynb");
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let mut cells = vec![format!(
        "use spatialkit::prelude::*;
         let slide = datasets::synthetic(&Synthetic::default().n_genes(50))?;
         io::write_h5ad(&slide, {0:?})?;
         io::write_h5ad_with(&slide, {1:?}, &io::WriteOptions::default().gzip(4))?;
         assert_eq!(io::read_h5ad({0:?})?.shape(), slide.shape());
         assert_eq!(io::read_h5ad_with({1:?}, &io::ReadOptions::default())?.x()?, slide.x()?);
         pl::spatial(&slide, \"layer\").save({2:?})?;
         pl::spatial(&slide, \"layer\").save({3:?})?;",
        file("a.h5ad"),
        file("b.h5ad"),
        file("a.png"),
        file("a.svg"),
    )];
    cells.push(format!(
        "let opened = io::open_h5ad({0:?})?;
         assert_eq!(opened.describe()?.totals.unwrap().total_counts.len(), slide.n_obs());
         let mut rows = 0;
         for block in opened.x_blocks(100)? {{ rows += block?.rows.len(); }}
         assert_eq!(rows, slide.n_obs());
         assert_eq!(opened.select(1..20, ..)?.n_obs(), 19);
         assert_eq!(opened.to_memory()?.n_vars(), 50);
         let both = Concat::default().label(\"slide\").keys([\"a\", \"b\"]).run(&[&slide, &slide])?;
         assert_eq!(both.n_obs(), 2 * slide.n_obs());
         assert!(datasets::list().len() > 80);
         assert!(datasets::visium_sge(\"no such slide\").is_err());",
        file("a.h5ad"),
    ));
    if let Some(slide) = shared("readers of Visium folders", "data/dlpfc/151673_spaceranger") {
        let slide = slide.to_str().unwrap();
        cells.push(format!(
            "let visium = io::read_visium({slide:?})?;
             let tenx = io::read_10x_h5({0:?})?;
             assert_eq!(visium.n_vars(), tenx.n_vars());
             let known = io::read_labels({1:?}, &visium)?;
             assert_eq!(known.categories.len(), 7);",
            format!("{slide}/filtered_feature_bc_matrix.h5"),
            format!("{slide}/truth.txt"),
        ));
    }
    if let Some(fixtures) = shared("readers of zarr stores and MuData", "data/fixtures") {
        let fixtures = fixtures.to_str().unwrap();
        cells.push(format!(
            "let sample = io::SpatialData::open({0:?})?;
             assert_eq!(io::read_zarr({1:?})?.n_vars(), sample.table(\"table\")?.n_vars());
             assert_eq!(sample.image(\"blobs_image\", 0)?.shape, [3, 64, 64]);
             let radius = sample.shapes(\"blobs_circles\")?.table;
             assert_eq!(radius.len(), 5);
             assert_eq!(sample.points(\"blobs_points\")?.read()?.len(), 200);
             let mdata = io::read_mudata({2:?})?;
             io::write_h5mu(&mdata, {3:?})?;
             assert_eq!(io::read_mudata({3:?})?, mdata);",
            format!("{fixtures}/spatialdata_blobs_v3.zarr"),
            format!("{fixtures}/spatialdata_blobs_v3.zarr/tables/table"),
            format!("{fixtures}/mudata/v0.4.1/mdata_axis0.h5mu"),
            file("a.h5mu"),
        ));
    }
    let placenta = "data/visium_mouse_placenta/filtered_feature_bc_matrix";
    if let Some(folder) = shared("reader of mtx folders", placenta) {
        cells.push(format!("io::read_10x_mtx({:?})?.n_obs()", folder.to_str().unwrap()));
    }
    if let Some(folder) = shared("readers of loom files and of tables", "data/osmfish") {
        cells.push(format!(
            "let folder = std::path::Path::new({:?});
             let cells = io::read_loom(folder.join(\"osmFISH_SScortex_mouse_all_cells.loom\"))?;
             let tables = io::SpatialTables::in_folder(folder)?.read()?;
             assert_eq!(cells.n_vars(), tables.n_vars());",
            folder.to_str().unwrap(),
        ));
    }
    if let Some(folder) = shared("readers of legacy ST and of pictures", "data/her2st") {
        cells.push(format!(
            "let collection = io::Her2st::open({:?})?;
             let section = collection.section(\"B1\")?;
             assert_eq!(io::read_st(collection.counts(\"B1\")?)?.n_vars(), section.n_vars());
             let picture = spatialkit::image::read_image({:?})?;
             assert_eq!(picture.channels, 3);
             let none = io::StImage::open({0:?}).is_err();",
            folder.to_str().unwrap(),
            folder.join("images/A1_HE_image_dark.png").to_str().unwrap(),
        ));
    }
    let fixtures = "data/fixtures/sfe_xenium_toy";
    if let Some(toy) = shared("readers of tables and of machines' folders", fixtures) {
        let fixtures = toy.parent().unwrap().to_str().unwrap();
        cells.push(format!(
            "let toy = io::Xenium::open({fixtures:?}.to_string() + \"/sfe_xenium_toy\")?.controls(true);
             let cells = toy.read()?;
             let outlines = toy.boundaries(io::Boundary::Cell)?;
             assert_eq!(outlines.len(), cells.n_obs());
             let molecules = toy.transcripts()?;
             let mut rows = 0;
             for block in molecules.blocks(&[\"feature_name\"], 1000)? {{ rows += block?.len(); }}
             assert_eq!(rows, molecules.n_rows()?);
             let table = io::Table::open(molecules.path())?.categories(&[\"feature_name\"]);
             assert_eq!(table.select(&[\"feature_name\", \"qv\"])?.len(), rows);
             assert_eq!(io::read_table(molecules.path())?.len(), rows);
             assert_eq!(io::read_xenium({fixtures:?}.to_string() + \"/sfe_xenium_toy\")?.n_obs(), 526);",
        ));
        cells.push(format!(
            "let hd = io::VisiumHd::default().bin_size(8).read({fixtures:?}.to_string() + \"/seurat_visium_hd\")?;
             assert_eq!(io::read_visium_hd({fixtures:?}.to_string() + \"/seurat_visium_hd\")?.x()?, hd.x()?);
             let beads = io::SlideSeq::default().read({fixtures:?}.to_string() + \"/spacexr_Vignette\")?;
             assert_eq!(io::read_slideseq({fixtures:?}.to_string() + \"/spacexr_Vignette\")?.x()?, beads.x()?);
             assert!(io::read_cosmx({0:?}).is_err() && io::read_vizgen({0:?}).is_err());
             assert!(io::CosMx::default().read({0:?}).is_err());
             assert!(io::read_stereoseq({0:?}).is_err());
             assert!(io::StereoSeq::default().bin_size(20).read({0:?}).is_err());",
            dir.path().join("nowhere").to_str().unwrap(),
        ));
    }
    notebooks::write(&path, &cells.iter().map(String::as_str).collect::<Vec<_>>());
    let run = notebooks::run(&kernel, &path, &[], &[]);
    assert!(run.success, "{}", run.log);
}
