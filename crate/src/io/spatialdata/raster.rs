//! [`Raster`]: an image or labels in one of their sizes, as OME-NGFF stores them.
//!
//! The attributes of the group (inside `ome` from version 0.5 on) hold `multiscales`: the axes, for
//! each size (`datasets`) the array's name and its scale, and the transformations of the whole;
//! and `omero`: the names of the channels.

use super::transform::{self, Transform};
use crate::anndata::{Map, Values};
use crate::error::{Error, Result};
use crate::io::store::Elements;
use crate::io::zarr::{Data, Group};
use ndarray::{ArrayD, IxDyn};
use serde_json::Value as Json;

/// A picture: pixels with the names of their axes and channels.
#[derive(Debug, Clone, PartialEq)]
pub struct Raster {
    /// The name of each axis, e.g. `c`, `y`, `x`.
    pub axes: Vec<String>,
    /// The length of each axis.
    pub shape: Vec<usize>,
    /// The pixels in row-major order, in the type that they are stored in.
    pub values: Values,
    /// The names of the channels; empty without an axis `c`.
    pub channels: Vec<String>,
    /// For each coordinate system how the pixels of this size come to lie in it.
    pub transforms: Map<Transform>,
}

impl Raster {
    /// The pixels as `f32`.
    pub fn to_array_f32(&self) -> ArrayD<f32> {
        array(&self.shape, self.values.to_f32().into_owned())
    }

    /// The pixels as `f64`.
    pub fn to_array_f64(&self) -> ArrayD<f64> {
        array(&self.shape, self.values.to_f64().into_owned())
    }
}

fn array<T: Clone>(shape: &[usize], values: Vec<T>) -> ArrayD<T> {
    ArrayD::from_shape_vec(IxDyn(shape), values).expect("a raster has as many pixels as its shape")
}

/// What the attributes of a picture say.
struct Multiscale<'a> {
    group: &'a Group,
    ome: &'a Json,
    json: &'a Json,
}

impl<'a> Multiscale<'a> {
    fn of(group: &'a Group, attributes: &'a Json) -> Result<Self> {
        let ome = attributes.get("ome").unwrap_or(attributes);
        let json = &ome["multiscales"][0];
        match json["datasets"].as_array() {
            Some(sizes) if !sizes.is_empty() => Ok(Multiscale { group, ome, json }),
            _ => Err(group.error("not an OME-NGFF picture: `multiscales` names no array")),
        }
    }

    fn sizes(&self) -> &'a [Json] {
        self.json["datasets"].as_array().map_or(&[], Vec::as_slice)
    }

    fn data(&self, size: &Json) -> Result<Data> {
        let path =
            size["path"].as_str().ok_or_else(|| self.group.error("an array without path"))?;
        self.group.data(path)
    }

    /// The names of `n` channels.
    fn channels(&self, n: usize) -> Vec<String> {
        let labels = match self.ome["omero"]["channels"].as_array() {
            Some(list) => list,
            None => match self.ome["channels_metadata"]["channels"].as_array() {
                Some(list) => list,
                None => &vec![],
            },
        };
        let label = |i: usize| match labels.get(i).map(|c| &c["label"]) {
            Some(Json::String(text)) => text.clone(),
            Some(Json::Number(number)) => number.to_string(),
            _ => i.to_string(),
        };
        (0..n).map(label).collect()
    }
}

/// The picture in its size `scale`.
pub(super) fn read(group: &Group, scale: usize) -> Result<Raster> {
    let attributes = Json::Object((*group.attributes).clone());
    let picture = Multiscale::of(group, &attributes)?;
    let sizes = picture.sizes();
    let Some(size) = sizes.get(scale) else {
        let reason = format!("the picture has {} sizes, 0 is the largest", sizes.len());
        return Err(Error::parameter("scale", scale, reason));
    };
    let data = picture.data(size)?;
    let axes = transform::names(&picture.json["axes"]);
    if axes.len() != data.shape.len() {
        let reason = format!("{} axes for an array of shape {:?}", axes.len(), data.shape);
        return Err(group.error(reason));
    }
    let fail = |reason: String| group.error(reason);
    let own = transform::in_sequence(&size["coordinateTransformations"], &axes).map_err(fail)?;
    let systems = transform::by_system(&picture.json["coordinateTransformations"], &axes);
    let transforms = systems.map_err(fail)?.into_iter().map(|(k, t)| (k, own.then(&t))).collect();
    let channels = match axes.iter().position(|a| a == "c") {
        Some(c) => picture.channels(data.shape[c]),
        None => vec![],
    };
    let Elements::Values(values) = data.read()? else {
        return Err(data.error("expected numbers"));
    };
    Ok(Raster { axes, shape: data.shape.clone(), values, channels, transforms })
}

/// The sizes of a picture in words.
pub(super) fn sizes(group: &Group) -> Result<String> {
    let attributes = Json::Object((*group.attributes).clone());
    let picture = Multiscale::of(group, &attributes)?;
    let size = |size: &Json| -> Result<String> {
        let shape = picture.data(size)?.shape;
        Ok(shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" × "))
    };
    let axes = transform::names(&picture.json["axes"]).concat();
    let sizes = picture.sizes().iter().map(size).collect::<Result<Vec<_>>>()?;
    Ok(format!("{axes} {}", sizes.join(", ")))
}
