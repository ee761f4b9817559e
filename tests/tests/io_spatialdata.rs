//! SpatialData stores: every element holds what spatialdata reads.

use spatialkit::anndata::{Dense, Map, Matrix, Value, Values};
use spatialkit::io::{self, Geometry, Raster, Shapes, SpatialData, Transform};
use spatialkit_tests::{python, script, shared};

fn ints(values: impl IntoIterator<Item = usize>) -> Value {
    let values: Vec<i64> = values.into_iter().map(|x| x as i64).collect();
    Value::Array { shape: vec![values.len()], values: values.into() }
}

fn map(entries: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    Value::Map(entries.into_iter().map(|(k, v)| (k.to_string(), v)).collect())
}

fn transforms(transforms: &Map<Transform>) -> Value {
    let matrix = |t: &Transform| Value::Array {
        shape: vec![4, 4],
        values: Values::F64(t.matrix.iter().flatten().copied().collect()),
    };
    Value::Map(transforms.iter().map(|(k, t)| (k.clone(), matrix(t))).collect())
}

fn raster(r: &Raster) -> Value {
    map([
        ("values", Value::Array { shape: r.shape.clone(), values: r.values.clone() }),
        ("axes", Value::strings(r.axes.clone())),
        ("channels", Value::strings(r.channels.clone())),
        ("transforms", transforms(&r.transforms)),
    ])
}

fn shapes(s: &Shapes) -> Value {
    let (mut kinds, mut lengths, mut coordinates) = (vec![], vec![], Vec::<f64>::new());
    for geometry in &s.geometry {
        let (kind, rings) = match geometry {
            Geometry::Point(p) => {
                coordinates.extend(p);
                lengths.push(1);
                (1, vec![])
            }
            Geometry::Polygon(rings) => (3, rings.iter().collect()),
            Geometry::MultiPolygon(parts) => (6, parts.iter().flatten().collect::<Vec<_>>()),
        };
        kinds.push(kind);
        for ring in rings {
            lengths.push(ring.nrows());
            coordinates.extend(ring.iter());
        }
    }
    let matrix = Dense::new(coordinates.len() / 2, 2, coordinates).unwrap();
    let shape = vec![matrix.nrows, 2];
    map([
        ("kinds", ints(kinds)),
        ("lengths", ints(lengths)),
        ("coordinates", Value::Array { shape, values: Matrix::Dense(matrix).values().clone() }),
        ("table", Value::Frame(s.table.clone())),
        ("transforms", transforms(&s.transforms)),
    ])
}

fn pictures(names: &[String], read: impl Fn(&str, usize) -> spatialkit::Result<Raster>) -> Value {
    let mut out = Map::new();
    for name in names {
        let scales: Vec<Raster> = (0..).map_while(|i| read(name, i).ok()).collect();
        let scales = scales.iter().enumerate().map(|(i, r)| (i.to_string(), raster(r)));
        out.insert(name.clone(), Value::Map(scales.collect()));
    }
    Value::Map(out)
}

#[test]
fn every_element_holds_what_spatialdata_reads() {
    let test = "every_element_holds_what_spatialdata_reads";
    let Some(path) = shared(test, "data/fixtures/spatialdata_blobs_v3.zarr") else { return };
    let sample = SpatialData::open(&path).unwrap_or_else(|e| panic!("{e}"));
    println!("{sample}");
    let mut adata = sample.table("table").unwrap();
    assert_eq!(io::read(&path).unwrap(), adata);
    let e = sample.image("blobs_image", 1).unwrap_err().to_string();
    assert!(e.contains("1 sizes"), "{e}");
    let e = sample.shapes("cells").unwrap_err().to_string();
    assert!(e.contains("blobs_circles"), "{e}");

    let uns = &mut adata.uns;
    uns.insert("images".into(), pictures(sample.image_names(), |n, i| sample.image(n, i)));
    uns.insert("labels".into(), pictures(sample.label_names(), |n, i| sample.labels(n, i)));
    let all = sample.shape_names().iter().map(|n| (n.clone(), shapes(&sample.shapes(n).unwrap())));
    uns.insert("shapes".into(), Value::Map(all.collect()));
    let mut points = Map::new();
    for name in sample.point_names() {
        let table = sample.points(name).unwrap().read().unwrap();
        let value = map([
            ("table", Value::Frame(table)),
            ("transforms", transforms(&sample.points_transforms(name).unwrap())),
        ]);
        points.insert(name.clone(), value);
    }
    uns.insert("points".into(), Value::Map(points));

    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("ours.h5ad");
    io::write_h5ad(&adata, &out).unwrap();
    let Some(python) = python(test) else { return };
    script(&python, "io_spatialdata.py", &[path, out]);
}
