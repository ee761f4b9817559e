//! The JSON beside the chunks: `zarr.json` of version 3, `.zgroup`, `.zarray` and `.zattrs` of
//! version 2.
//!
//! Consolidated metadata (`.zmetadata`, or inside the root's `zarr.json`) repeats what lies beside
//! each member, and is left aside: what lies there is never out of date.

use super::codecs::Pipeline;
use super::dtype::Dtype;
use super::storage::Storage;
use crate::error::{Error, Result};
use serde_json::{Map, Value as Json};
use std::sync::Arc;

/// Attributes as they are stored.
pub(super) type Attributes = Arc<Map<String, Json>>;

/// What lies under a key.
pub(super) enum Member {
    Group(Attributes),
    Array(Attributes, Array),
}

/// How an array is stored.
#[derive(Debug, Clone)]
pub(super) struct Array {
    pub shape: Vec<usize>,
    pub chunk: Vec<usize>,
    pub keys: ChunkKeys,
    pub dtype: Dtype,
    pub fill: Json,
    pub pipeline: Pipeline,
}

/// How the key of a chunk is made of its place in the grid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ChunkKeys {
    /// Whether keys are below `c`.
    pub below_c: bool,
    pub separator: char,
}

/// Reads the metadata of the member `key`, or `None` where there is no such member.
pub(super) fn read(storage: &Storage, key: &str) -> Result<Option<Member>> {
    let json = |file: &str| -> Result<Option<Json>> {
        let path = if key.is_empty() { file.into() } else { format!("{key}/{file}") };
        let Some(bytes) = storage.read(&path)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|e| {
            Error::format(&storage.path, format!("`{path}`: not JSON: {e}"))
                .with_hint("The store is damaged. Copy or download it again")
        })
    };
    let fail = |file: &str| {
        let at = if key.is_empty() { file.into() } else { format!("{key}/{file}") };
        move |reason: String| Error::format(&storage.path, format!("`{at}`: {reason}"))
    };
    if let Some(meta) = json("zarr.json")? {
        let attributes = attributes(meta.get("attributes"));
        let member = attributes.and_then(|attributes| match meta["node_type"].as_str() {
            _ if meta["zarr_format"] != 3 => {
                Err(format!("version {} of zarr is unknown", meta["zarr_format"]))
            }
            Some("group") => Ok(Member::Group(attributes)),
            Some("array") => Ok(Member::Array(attributes, Array::v3(&meta)?)),
            _ => Err("`node_type` is neither group nor array".into()),
        });
        return member.map(Some).map_err(fail("zarr.json"));
    }
    let attributes = || attributes(json(".zattrs")?.as_ref()).map_err(fail(".zattrs"));
    if let Some(meta) = json(".zarray")? {
        let array = Array::v2(&meta).map_err(fail(".zarray"))?;
        return Ok(Some(Member::Array(attributes()?, array)));
    }
    match json(".zgroup")? {
        Some(_) => Ok(Some(Member::Group(attributes()?))),
        None => Ok(None),
    }
}

fn attributes(json: Option<&Json>) -> Result<Attributes, String> {
    match json {
        None | Some(Json::Null) => Ok(Arc::default()),
        Some(Json::Object(map)) => Ok(Arc::new(map.clone())),
        Some(_) => Err("the attributes are not an object".into()),
    }
}

/// A list of lengths.
pub(super) fn lengths(json: &Json) -> Result<Vec<usize>, String> {
    let list = json.as_array().ok_or_else(|| format!("{json} is not a list of lengths"))?;
    let length = |n: &Json| {
        let n = n.as_u64().and_then(|n| usize::try_from(n).ok());
        n.ok_or_else(|| format!("{json} is not a list of lengths"))
    };
    list.iter().map(length).collect()
}

impl Array {
    fn v2(meta: &Json) -> Result<Array, String> {
        let shape = lengths(&meta["shape"])?;
        let dtype = Dtype::v2(&meta["dtype"])?;
        let pipeline = Pipeline::v2(meta, shape.len(), dtype == Dtype::Text)?;
        let separator = meta.get("dimension_separator").and_then(Json::as_str).unwrap_or(".");
        let keys = ChunkKeys { below_c: false, separator: separator_of(separator)? };
        Array { shape, chunk: lengths(&meta["chunks"])?, keys, dtype, fill: Json::Null, pipeline }
            .checked(&meta["fill_value"])
    }

    fn v3(meta: &Json) -> Result<Array, String> {
        let shape = lengths(&meta["shape"])?;
        let grid = &meta["chunk_grid"];
        if grid["name"] != "regular" {
            return Err(format!("chunk grid {} is unknown", grid["name"]));
        }
        let chunk = lengths(&grid["configuration"]["chunk_shape"])?;
        if meta["storage_transformers"].as_array().is_some_and(|list| !list.is_empty()) {
            return Err("storage transformers are not supported".into());
        }
        let encoding = &meta["chunk_key_encoding"];
        let separator = encoding["configuration"]["separator"].as_str();
        let keys = match encoding["name"].as_str().or(encoding.as_str()) {
            Some("default") => {
                ChunkKeys { below_c: true, separator: separator_of(separator.unwrap_or("/"))? }
            }
            Some("v2") => {
                ChunkKeys { below_c: false, separator: separator_of(separator.unwrap_or("."))? }
            }
            _ => return Err(format!("chunk key encoding {encoding} is unknown")),
        };
        let pipeline = Pipeline::v3(&meta["codecs"], shape.len())?;
        let dtype = Dtype::v3(&meta["data_type"], pipeline.is_big_endian())?;
        Array { shape, chunk, keys, dtype, fill: Json::Null, pipeline }.checked(&meta["fill_value"])
    }

    /// The array with its fill value, once its parts agree.
    fn checked(mut self, fill: &Json) -> Result<Array, String> {
        if self.shape.len() > 32 {
            return Err(format!("{} axes", self.shape.len()));
        }
        if self.chunk.len() != self.shape.len() || self.chunk.contains(&0) && self.size() != Some(0)
        {
            return Err(format!("chunks of shape {:?} for shape {:?}", self.chunk, self.shape));
        }
        if self.size().is_none() {
            return Err(format!("absurd shape {:?}", self.shape));
        }
        if self.pipeline.is_texts() != (self.dtype == Dtype::Text) {
            return Err("the codecs do not belong to the type of the elements".into());
        }
        self.dtype.fill(fill)?;
        self.fill = fill.clone();
        Ok(self)
    }

    /// Number of elements, where they can be counted.
    pub fn size(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
    }
}

fn separator_of(text: &str) -> Result<char, String> {
    match text {
        "/" => Ok('/'),
        "." => Ok('.'),
        other => Err(format!("separator `{other}` between the parts of a chunk's key")),
    }
}

impl ChunkKeys {
    /// The folder below the array's in which its chunks lie.
    pub fn folder(self) -> &'static str {
        if self.below_c && self.separator == '/' { "/c" } else { "" }
    }

    /// The place in the grid of the chunk whose key, below [`folder`](Self::folder), is `key`, or
    /// `None` where this is not the key of a chunk. Every chunk has exactly one key.
    pub fn parse(self, key: &str, axes: usize) -> Option<Vec<usize>> {
        let key = match (self.below_c, self.separator) {
            (true, '.') => key.strip_prefix("c.")?,
            _ => key,
        };
        let parts: Vec<usize> = key
            .split(self.separator)
            .map(|part| {
                let canonical = part == "0" || !part.starts_with('0');
                let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
                part.parse().ok().filter(|_| canonical && digits)
            })
            .collect::<Option<_>>()?;
        (parts.len() == axes).then_some(parts)
    }
}
