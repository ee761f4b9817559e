//! [`Transform`]: from an element's own coordinates to those of a coordinate system.

use crate::anndata::Map;
use crate::error::{Error, Result};
use crate::io::zarr;
use ndarray::Array2;
use serde_json::Value as Json;

/// An affine transformation of x, y and z; what is flat leaves z as it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transform {
    /// Rows give the new x, y and z from the old x, y, z and 1; the last row is 0, 0, 0, 1.
    pub matrix: [[f64; 4]; 4],
}

/// Sequences nested deeper than this are refused.
const DEEPEST: usize = 16;

impl Transform {
    /// The transformation that changes nothing.
    pub fn identity() -> Transform {
        let mut matrix = [[0.0; 4]; 4];
        (0..4).for_each(|i| matrix[i][i] = 1.0);
        Transform { matrix }
    }

    /// First this, then `next`.
    pub fn then(&self, next: &Transform) -> Transform {
        let mut matrix = [[0.0; 4]; 4];
        for i in 0..4 {
            for j in 0..4 {
                matrix[i][j] = (0..4).map(|k| next.matrix[i][k] * self.matrix[k][j]).sum();
            }
        }
        Transform { matrix }
    }

    /// The points `n × 2` (x, y) or `n × 3` (x, y, z) where they come to lie.
    ///
    /// # Errors
    /// [`Error::Shape`] for points of another number of coordinates.
    pub fn apply(&self, points: &Array2<f64>) -> Result<Array2<f64>> {
        let axes = points.ncols();
        if !(2..=3).contains(&axes) {
            return Err(Error::shape("columns of points", "2 or 3", axes));
        }
        let coordinate = |(i, j): (usize, usize)| {
            let row = &self.matrix[j];
            row[3] + (0..axes).map(|k| row[k] * points[[i, k]]).sum::<f64>()
        };
        Ok(Array2::from_shape_fn(points.dim(), coordinate))
    }
}

/// Where an axis is in [`Transform::matrix`]; channels and time are not transformed.
fn place(axis: &str) -> Option<usize> {
    match axis {
        "x" => Some(0),
        "y" => Some(1),
        "z" => Some(2),
        _ => None,
    }
}

/// The transformations of an element of points or shapes, by coordinate system.
pub(super) fn of(group: &zarr::Group) -> Result<Map<Transform>> {
    let axes = names(group.attributes.get("axes").unwrap_or(&Json::Null));
    let list = group.attributes.get("coordinateTransformations").unwrap_or(&Json::Null);
    by_system(list, &axes).map_err(|reason| group.error(reason))
}

/// The names in a list of axes, plain or with a type.
pub(super) fn names(axes: &Json) -> Vec<String> {
    let name = |axis: &Json| axis.as_str().or(axis["name"].as_str()).map(String::from);
    axes.as_array().into_iter().flatten().filter_map(name).collect()
}

/// A list of transformations, each to a coordinate system of its own.
pub(super) fn by_system(list: &Json, axes: &[String]) -> Result<Map<Transform>, String> {
    let mut out = Map::new();
    for json in list.as_array().into_iter().flatten() {
        let output = &json["output"];
        let system = output.as_str().or(output["name"].as_str()).unwrap_or("global");
        out.insert(system.to_string(), parse(json, axes, 0)?);
    }
    if out.is_empty() {
        out.insert("global".into(), Transform::identity());
    }
    Ok(out)
}

/// A list of transformations, one after the other.
pub(super) fn in_sequence(list: &Json, axes: &[String]) -> Result<Transform, String> {
    sequence(list, axes, 0)
}

fn sequence(list: &Json, axes: &[String], depth: usize) -> Result<Transform, String> {
    let mut all = Transform::identity();
    for json in list.as_array().into_iter().flatten() {
        all = all.then(&parse(json, axes, depth + 1)?);
    }
    Ok(all)
}

fn parse(json: &Json, axes: &[String], depth: usize) -> Result<Transform, String> {
    if depth > DEEPEST {
        return Err("transformations nested too deep".into());
    }
    let kind = json["type"].as_str().unwrap_or_default();
    let bad = || format!("transformation {json} does not fit the axes {}", axes.join(", "));
    let side = |key: &str| match names(&json[key]["axes"]) {
        own if own.is_empty() => axes.to_vec(),
        own => own,
    };
    let (inputs, outputs) = (side("input"), side("output"));
    let numbers = |json: &Json| -> Result<Vec<f64>, String> {
        let list = json.as_array().ok_or_else(bad)?;
        list.iter().map(|x| x.as_f64().ok_or_else(bad)).collect()
    };
    let mut out = Transform::identity();
    match kind {
        "identity" => {}
        "scale" | "translation" => {
            let values = numbers(&json[kind])?;
            if values.len() != inputs.len() {
                return Err(bad());
            }
            for (axis, value) in inputs.iter().zip(values) {
                if let Some(i) = place(axis) {
                    out.matrix[i][if kind == "scale" { i } else { 3 }] = value;
                }
            }
        }
        "affine" => {
            let rows = json["affine"].as_array().ok_or_else(bad)?;
            // A last row of 0, …, 1 may or may not be written down.
            if rows.len() != outputs.len() && rows.len() != outputs.len() + 1 {
                return Err(bad());
            }
            for (output, row) in outputs.iter().zip(rows) {
                let row = numbers(row)?;
                let Some(i) = place(output) else { continue };
                let [coefficients @ .., shift] = &row[..] else { return Err(bad()) };
                if coefficients.len() != inputs.len() {
                    return Err(bad());
                }
                out.matrix[i] = [0.0, 0.0, 0.0, *shift];
                for (input, &x) in inputs.iter().zip(coefficients) {
                    if let Some(j) = place(input) {
                        out.matrix[i][j] = x;
                    }
                }
            }
        }
        "sequence" => return sequence(&json["transformations"], &inputs, depth),
        "mapAxis" => {
            let map = json["mapAxis"].as_object().ok_or_else(bad)?;
            for (output, input) in map {
                if let (Some(i), Some(j)) = (place(output), input.as_str().and_then(place)) {
                    out.matrix[i] = [0.0; 4];
                    out.matrix[i][j] = 1.0;
                }
            }
        }
        other => return Err(format!("transformations of type `{other}` are not supported")),
    }
    Ok(out)
}
