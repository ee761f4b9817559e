//! Operations on AnnData, compared with what anndata itself makes of the same files.

use serde_json::{Value as Json, json};
use spatialkit::anndata::{
    AnnData, Categorical, Column, Concat, Frame, Map, Matrix, Merge, Raw, Select, Value, Values,
};
use spatialkit::io;
use spatialkit::ndarray::Array2;
use spatialkit_tests::{H5AD, python, script, shared};
use std::path::{Path, PathBuf};

/// Cases with our results, for Python to do again and compare.
struct Cases {
    dir: tempfile::TempDir,
    cases: Vec<Json>,
}

impl Cases {
    fn new() -> Self {
        Cases { dir: tempfile::tempdir().unwrap(), cases: Vec::new() }
    }

    fn add(
        &mut self,
        op: &str,
        inputs: &[PathBuf],
        options: Json,
        ours: spatialkit::Result<AnnData>,
    ) {
        let path = self.dir.path().join(format!("{}.h5ad", self.cases.len()));
        let (ours, error) = match ours {
            Ok(a) => {
                io::write_h5ad(&a, &path).unwrap_or_else(|e| panic!("{op} {options}: {e}"));
                (Some(path), None)
            }
            Err(e) => (None, Some(e.to_string())),
        };
        let case =
            json!({"op": op, "inputs": inputs, "options": options, "ours": ours, "error": error});
        self.cases.push(case);
    }

    fn compare(self, test: &str) {
        let Some(python) = python(test) else { return };
        let list = self.dir.path().join("cases.json");
        std::fs::write(&list, serde_json::to_vec(&self.cases).unwrap()).unwrap();
        script(&python, "io_ops.py", &[list]);
    }
}

fn read(path: &Path) -> AnnData {
    io::read_h5ad(path).unwrap_or_else(|e| panic!("{e}"))
}

/// The same options for Python and for us.
fn options() -> Vec<(Json, Concat)> {
    let c = Concat::default;
    vec![
        (json!({}), c()),
        (json!({"join": "outer"}), c().outer()),
        (
            json!({"join": "outer", "label": "slide", "keys": ["a", "b"], "index_unique": "-",
                   "merge": "same", "uns_merge": "same", "pairwise": true}),
            c().outer()
                .label("slide")
                .keys(["a", "b"])
                .index_unique("-")
                .merge(Merge::Same)
                .uns_merge(Merge::Same)
                .pairwise(),
        ),
        (
            json!({"merge": "unique", "uns_merge": "unique", "pairwise": true, "label": "batch"}),
            c().merge(Merge::Unique).uns_merge(Merge::Unique).pairwise().label("batch"),
        ),
        (
            json!({"join": "outer", "merge": "first", "uns_merge": "first"}),
            c().outer().merge(Merge::First).uns_merge(Merge::First),
        ),
        (
            json!({"merge": "only", "uns_merge": "only"}),
            c().merge(Merge::Only).uns_merge(Merge::Only),
        ),
        (
            json!({"join": "outer", "fill_value": -1.0, "fill_int": true}),
            c().outer().fill_value(-1.0),
        ),
        (json!({"join": "outer", "fill_value": 0.5}), c().outer().fill_value(0.5)),
        (
            json!({"axis": 1, "join": "outer", "merge": "same", "pairwise": true, "label": "part"}),
            c().vars().outer().merge(Merge::Same).pairwise().label("part"),
        ),
        (
            json!({"axis": 1, "merge": "first", "index_unique": "_"}),
            c().vars().merge(Merge::First).index_unique("_"),
        ),
        (
            json!({"axis": 1, "join": "outer", "merge": "unique", "fill_value": 2.0, "fill_int": true}),
            c().vars().outer().merge(Merge::Unique).fill_value(2.0),
        ),
    ]
}

fn concat(cases: &mut Cases, paths: &[PathBuf]) {
    for (json, concat) in options() {
        let mut parts: Vec<AnnData> = paths.iter().map(|p| read(p)).collect();
        for a in &mut parts {
            match json.get("axis").is_some() {
                true => a.obs_names_make_unique(),
                false => a.var_names_make_unique(),
            }
        }
        cases.add("concat", paths, json, concat.run(&parts.iter().collect::<Vec<_>>()));
    }
}

#[test]
fn real_slides_put_together_are_what_anndata_makes() {
    let test = "real_slides_put_together_are_what_anndata_makes";
    let Some(data) = shared(test, "data") else { return };
    let mut cases = Cases::new();
    for pair in [[10, 11], [0, 6], [1, 2], [1, 3], [4, 7], [8, 9], [5, 4], [7, 9], [2, 2]] {
        let paths = pair.map(|i: usize| data.join(H5AD[i]));
        if paths.iter().all(|p| p.is_file()) {
            concat(&mut cases, &paths);
        } else {
            println!("SKIPPED: {test}: {pair:?} is not there");
        }
    }
    cases.compare(test);
}

/// Objects that differ in every way that matters: types, missing columns and entries, sparse and
/// dense, nullable and plain.
fn made(kind: usize) -> AnnData {
    let (n, m) = (5 + kind, 4 + kind % 2);
    let at = |i: usize, j: usize| ((i * 7 + j * 3 + kind) % 4) as f64;
    let x = Matrix::from(Array2::from_shape_fn((n, m), |(i, j)| at(i, j)));
    let typed = |m: &Matrix, values: fn(Vec<f64>) -> Values| -> Matrix {
        let mut m = m.clone();
        let v = m.values().to_f64().into_owned();
        *m.values_mut() = values(v);
        m
    };
    let f32s = |v: Vec<f64>| Values::F32(v.into_iter().map(|x| x as f32).collect());
    let i16s = |v: Vec<f64>| Values::I16(v.into_iter().map(|x| x as i16).collect());
    let u8s = |v: Vec<f64>| Values::U8(v.into_iter().map(|x| x as u8).collect());
    let x = match kind {
        0 => typed(&x, f32s),
        1 => Matrix::Csr(typed(&x, f32s).to_csr()),
        2 => Matrix::Csc(typed(&x, i16s).to_csc()),
        _ => typed(&x, u8s),
    };
    let names = ["b", "a", "c", "e", "d", "f", "g", "h"];
    let var: Vec<String> = (0..m).map(|j| names[(j + kind) % 8].to_string()).collect();
    let obs: Vec<String> =
        (0..n).map(|i| format!("{}{i}", if kind == 2 { "y" } else { "x" })).collect();
    let mut a = AnnData::new(x.clone(), Frame::new(obs), Frame::new(var)).unwrap();

    let text = |i: usize| (!i.is_multiple_of(3)).then(|| format!("t{}", i * (kind + 1)));
    let labels: Vec<Option<String>> = (0..n).map(text).collect();
    let full: Vec<Option<String>> = (0..n).map(|i| Some(format!("n{i}"))).collect();
    let mut layer = Categorical::from_labels(&labels);
    let obs = &mut a.obs;
    obs.insert("layer", layer.clone()).unwrap();
    layer.ordered = kind < 2;
    obs.insert("ordered", layer.clone()).unwrap();
    obs.insert("name", Column::Str(full.clone())).unwrap();
    obs.insert("mixed", if kind.is_multiple_of(2) { Column::Str(full) } else { layer.into() })
        .unwrap();
    let number: Column = match kind {
        0 => (0..n as i8).collect::<Vec<_>>().into(),
        1 => (0..n as u8).collect::<Vec<_>>().into(),
        2 => (0..n).map(|i| i as f32 + 0.5).collect::<Vec<_>>().into(),
        _ => (0..n as i64).collect::<Vec<_>>().into(),
    };
    obs.insert("number", number.clone()).unwrap();
    let missing: Vec<bool> = (0..n).map(|i| i == 1).collect();
    let nullable = |values: Values| Column::Nullable { values, missing: missing.clone() };
    obs.insert(
        "nullable",
        match kind {
            0 => nullable(Values::I32(vec![3; n])),
            1 => nullable(Values::U8(vec![200; n])),
            2 => Column::Values(Values::I16(vec![-5; n])),
            _ => Column::Values(Values::I64(vec![1 << 40; n])),
        },
    )
    .unwrap();
    let yes: Vec<bool> = (0..n).map(|i| i % 2 == 0).collect();
    obs.insert("yes", if kind == 1 { nullable(Values::Bool(yes)) } else { yes.into() }).unwrap();
    if kind.is_multiple_of(2) {
        obs.insert("only_int", vec![kind as i32; n]).unwrap();
        obs.insert("only_float", vec![0.25f32; n]).unwrap();
        obs.insert("only_bool", vec![true; n]).unwrap();
        obs.insert("only_text", Column::Str(labels)).unwrap();
        let typed = Categorical {
            codes: (0..n as i32).map(|i| i % 3 - 1).collect(),
            categories: vec!["10".into(), "9".into()],
            typed: Some(Values::I64(vec![10, 9])),
            ordered: false,
        };
        obs.insert("numbers", typed).unwrap();
        a.obsm_frames.insert("table".into(), a.obs.clone());
        a.layers.insert("counts".into(), Matrix::Csr(typed_counts(n, m).to_csr()));
    } else {
        a.layers.insert("dense".into(), typed_counts(n, m));
    }
    a.layers.insert("both".into(), if kind < 2 { x.clone() } else { typed_counts(n, m) });
    a.var.insert("gene", (0..m).map(|j| (j + kind) as i64 % 8).collect::<Vec<_>>()).unwrap();
    a.var.insert("flag", (0..m).map(|j| (j + kind) % 8 > 3).collect::<Vec<_>>()).unwrap();
    a.var.insert("own", vec![kind as f64; m]).unwrap();
    if kind == 1 {
        a.var.insert("lonely", vec![7i32; m]).unwrap();
    }
    let by_name = |k: usize| Array2::from_shape_fn((m, 2), |(j, c)| ((j + k) % 8 * 2 + c) as f64);
    a.varm.insert("same".into(), by_name(kind).into());
    a.varm.insert("own".into(), by_name(0).into());
    a.varm_frames.insert("table".into(), a.var.clone());
    a.obsm.insert("wide".into(), Array2::<f32>::ones((n, 2 + kind)).into());
    if kind != 1 {
        a.obsm.insert("some".into(), Array2::<f32>::ones((n, 3)).into());
    }
    let square =
        |n: usize| Matrix::from(Array2::from_shape_fn((n, n), |(i, j)| ((i + j) % 3) as f32));
    a.obsp.insert("graph".into(), Matrix::Csr(square(n).to_csr()));
    if kind == 0 {
        a.obsp.insert("dense".into(), square(n));
    }
    a.varp.insert("graph".into(), Matrix::Csc(square(m).to_csc()));
    a.varp.insert("dense".into(), square(m));
    let nested = [("same", 1), ("own", kind as i64)];
    let nested: Map<Value> =
        nested.map(|(k, v)| (k.to_string(), Value::int(v))).into_iter().collect();
    a.uns.insert("nested".into(), nested.into());
    a.uns.insert("number".into(), if kind == 0 { Value::int(1) } else { Value::float(1.0) });
    a.uns.insert("texts".into(), Value::strings(["a", "b"]));
    a.uns.insert(format!("only{kind}"), Value::from("x"));
    a.uns.insert("nan".into(), Value::float(f64::NAN));
    a.uns.insert("table".into(), Value::Frame(a.varm_frames["table"].clone()));
    let raw =
        Raw { x: x.clone(), var: a.var.clone(), varm: a.varm.clone(), varm_frames: Map::new() };
    a.raw = Some(Box::new(raw));
    a
}

fn typed_counts(n: usize, m: usize) -> Matrix {
    let values: Vec<i32> = (0..n * m).map(|i| (i % 5) as i32 - 1).collect();
    let dense = spatialkit::anndata::Dense::new(n, m, values).unwrap();
    Matrix::Dense(dense)
}

#[test]
fn objects_of_every_type_put_together_are_what_anndata_makes() {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = (0..4).map(|k| dir.path().join(format!("made{k}.h5ad"))).collect();
    for (k, path) in paths.iter().enumerate() {
        io::write_h5ad(&made(k), path).unwrap();
    }
    let mut cases = Cases::new();
    for (i, j) in (0..4).flat_map(|i| (0..4).map(move |j| (i, j))) {
        concat(&mut cases, &[paths[i].clone(), paths[j].clone()]);
    }
    // Three at a time, where pairs might agree by chance.
    for join in ["inner", "outer"] {
        for merge in [Merge::Same, Merge::Unique, Merge::First, Merge::Only] {
            let name = format!("{merge:?}").to_lowercase();
            let options = json!({"join": join, "merge": name, "uns_merge": name});
            let parts: Vec<AnnData> = paths[..3].iter().map(|p| read(p)).collect();
            let concat = Concat::default().merge(merge).uns_merge(merge);
            let concat = if join == "outer" { concat.outer() } else { concat };
            let ours = concat.run(&parts.iter().collect::<Vec<_>>());
            cases.add("concat", &paths[..3], options, ours);
        }
    }
    cases.compare("objects_of_every_type_put_together_are_what_anndata_makes");
}

#[test]
fn parts_and_turns_of_real_files_are_what_anndata_makes() {
    let test = "parts_and_turns_of_real_files_are_what_anndata_makes";
    let Some(data) = shared(test, "data") else { return };
    let mut cases = Cases::new();
    for path in H5AD.map(|f| data.join(f)) {
        if !path.is_file() {
            println!("SKIPPED: {test}: {} is not there", path.display());
            continue;
        }
        let a = read(&path);
        let (n, m) = a.shape();
        let one = std::slice::from_ref(&path);
        let mut subset = |obs: Json, vars: Json, ours: spatialkit::Result<AnnData>| {
            let ours = ours.map(|mut a| {
                a.remove_unused_categories();
                a
            });
            cases.add("subset", one, json!({"obs": obs, "vars": vars}), ours);
        };
        let rows: Vec<usize> = (0..n).rev().step_by(2).collect();
        let columns: Vec<usize> = (0..m.min(40)).map(|i| (i * 17) % m).collect();
        subset(json!(rows), Json::Null, a.select_obs(&rows));
        subset(Json::Null, json!(columns), a.select_vars(&columns));
        subset(json!(rows), json!(columns), a.select(&rows, &columns));
        let mask: Vec<bool> = (0..n).map(|i| i % 3 == 1).collect();
        subset(json!(mask), Json::Null, a.select(&mask, ..));
        let mut kept = a.clone();
        let rising: Vec<usize> = (0..m).filter(|j| j % 4 != 2).collect();
        let done = kept.keep_vars(&rising).and_then(|()| kept.keep_obs(Select::Mask(mask.clone())));
        subset(json!(mask), json!(rising), done.map(|()| kept));
        if a.var.names_are_unique() {
            let names: Vec<String> = columns.iter().map(|&i| a.var.names()[i].clone()).collect();
            subset(Json::Null, json!(names), a.select_vars(&names));
        }
        subset(json!([n]), Json::Null, a.select_obs([n]));
        subset(Json::Null, json!(["no such gene"]), a.select_vars("no such gene"));

        cases.add("transpose", one, json!({}), Ok(a.t()));
        if a.raw.is_some() {
            cases.add("raw_to_adata", one, json!({}), a.raw_to_adata());
        }
        let mut b = a.clone();
        b.strings_to_categoricals();
        cases.add("strings_to_categoricals", one, json!({}), Ok(b));
    }
    // A slide with repeated names: gene symbols of 10x.
    let twice = cases.dir.path().join("twice.h5ad");
    let name = |i: usize, of: [&str; 4]| of[i % 4].to_string();
    let mut a = made(1);
    a.set_var_names((0..a.n_vars()).map(|j| name(j, ["g", "g-1", "g", "h"])).collect()).unwrap();
    a.set_obs_names((0..a.n_obs()).map(|i| name(i, ["s", "s", "t", "s-1"])).collect()).unwrap();
    a.raw = None;
    io::write_h5ad(&a, &twice).unwrap();
    a.obs_names_make_unique();
    a.var_names_make_unique();
    cases.add("make_unique", &[twice], json!({}), Ok(a));
    cases.compare(test);
}
