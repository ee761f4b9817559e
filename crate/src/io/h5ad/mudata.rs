//! MuData: several AnnData objects in one file or store.
//!
//! ```text
//! /                  encoding-type: MuData; axis: what the modalities share
//! ├─ mod             mod-order: their names in order
//! │  ├─ rna          each laid out as an h5ad file
//! │  └─ …
//! ├─ obs, var        of all modalities together
//! ├─ obsmap, varmap  for each modality where those rows are in it
//! └─ obsm, varm, obsp, varp, uns
//! ```
//! An `.h5mu` file has 512 bytes before its HDF5 content, which start with `MuData`.

use super::read::{Reader, encoding, in_file};
use super::{ReadOptions, WriteOptions, write};
use crate::anndata::{Map, MuData};
use crate::error::{Error, Result};
use crate::io::store::{Attributes, Group, Node};
use crate::io::{h5, zarr};
use std::path::Path;

/// Bytes before the HDF5 content.
const HEAD: usize = 512;

/// Reads a MuData object from an `.h5mu` file or a zarr store (folder or `.zip`), with the element
/// types that it has. Matches mudata 0.3, files of mudata 0.1 to 0.4 included; what mudata pulls
/// into `obs` and `var` from the modalities when it reads is not added.
///
/// # Errors
/// As [`read_h5ad`](crate::io::read_h5ad).
pub fn read_mudata(path: impl AsRef<Path>) -> Result<MuData> {
    read_mudata_with(path, &ReadOptions::default())
}

/// Like [`read_mudata`], with options; keys start with the modality, e.g. `mod/rna/layers/counts`.
///
/// # Errors
/// As [`read_mudata`].
pub fn read_mudata_with(path: impl AsRef<Path>, options: &ReadOptions) -> Result<MuData> {
    fn inner(path: &Path, options: &ReadOptions) -> Result<MuData> {
        let root: Group = match zarr::is_store(path) {
            true => zarr::open(path)?.into(),
            false => h5::open(path)?.into(),
        };
        Reader { options, visited: Default::default() }.mudata(&root)
    }
    inner(path.as_ref(), options)
}

/// Whether `root` holds a MuData object.
pub(in crate::io) fn is_mudata(root: &Group) -> Result<bool> {
    Ok(root.contains("mod") || encoding(root)?.0 == "MuData")
}

/// The one modality of a MuData object, as an AnnData object of its own.
pub(in crate::io) fn only_modality(root: &Group) -> Result<Group> {
    let names = root.group("mod")?.names()?;
    match &names[..] {
        [name] => root.group("mod")?.group(name),
        [] => Err(root.error("a MuData object without modalities")),
        _ => Err(several(root, &names)),
    }
}

/// The error about several modalities where one object is asked for.
pub(super) fn several(root: &Group, names: &[String]) -> Error {
    let first = names.first().map_or("", String::as_str);
    root.error(format!("a MuData object with the modalities {}", names.join(", "))).with_hint(
        format!("`io::read_mudata(path)?` reads all of them; `.modality(\"{first}\")?` is one"),
    )
}

impl Reader<'_> {
    fn mudata(&self, root: &Group) -> Result<MuData> {
        if !root.contains("mod") {
            let names = root.names()?.join(", ");
            let reason = format!("not a MuData object: there is no `mod`, but: {names}");
            return Err(root.error(reason).with_hint("`io::read` finds out what it is"));
        }
        let mods = root.group("mod")?;
        let mut names = mods.attr_texts("mod-order")?.unwrap_or_default();
        names.retain(|name| mods.contains(name));
        for name in mods.names()? {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let mut out = MuData::default();
        for name in names {
            let group = mods.group(&name)?;
            if !self.skips(group.key()) {
                out.modalities.insert(name, self.anndata(&group)?);
            }
        }
        (out.obs, out.var) = (self.table(&root.get("obs")?)?, self.table(&root.get("var")?)?);
        let (n, m) = out.shape();
        (out.obsm, out.obsm_frames) = self.axis_entries(root, "obsm", n)?;
        (out.varm, out.varm_frames) = self.axis_entries(root, "varm", m)?;
        for (slot, pairs) in [("obsp", &mut out.obsp), ("varp", &mut out.varp)] {
            for (name, node) in self.slot(root, slot)? {
                pairs.insert(name, self.matrix(&node)?);
            }
        }
        for (slot, maps) in [("obsmap", &mut out.obsmap), ("varmap", &mut out.varmap)] {
            for (name, node) in self.slot(root, slot)? {
                let Node::Data(data) = node else { return Err(node.error("expected positions")) };
                maps.insert(name, data.indices()?);
            }
        }
        for (name, node) in self.slot(root, "uns")? {
            out.uns.insert(name, self.value(&node, 0)?);
        }
        let axis = root.attr_numbers("axis")?.and_then(|v| v.first().copied());
        out.axis = match axis.unwrap_or(0.0) {
            x @ (-1.0 | 0.0 | 1.0) => x as i64,
            other => return Err(root.error(format!("axis {other}: it is 0, 1 or -1"))),
        };
        out.check().map_err(|e| in_file(root, e))?;
        Ok(out)
    }
}

/// Writes an `.h5mu` file as mudata 0.3 does. The file is written beside and renamed.
///
/// # Errors
/// As [`write_h5ad`](crate::io::write_h5ad).
pub fn write_h5mu(mdata: &MuData, path: impl AsRef<Path>) -> Result<()> {
    write_h5mu_with(mdata, path, &WriteOptions::default())
}

/// Like [`write_h5mu`], with options.
///
/// # Errors
/// As [`write_h5mu`].
pub fn write_h5mu_with(
    mdata: &MuData,
    path: impl AsRef<Path>,
    options: &WriteOptions,
) -> Result<()> {
    fn inner(mdata: &MuData, path: &Path, options: &WriteOptions) -> Result<()> {
        mdata.check()?;
        let version = env!("CARGO_PKG_VERSION");
        let mut head =
            format!("MuData (format-version=0.1.0;creator=spatialkit;creator-version={version})")
                .into_bytes();
        head.resize(HEAD, 0);
        h5::create_after(&head, path, options, |root| write_mudata(root, mdata))
    }
    inner(mdata, path.as_ref(), options)
}

fn write_mudata(root: &h5::Writer, mdata: &MuData) -> Result<()> {
    root.encoding("MuData", "0.1.0")?;
    root.attr_text("encoder", "spatialkit")?;
    root.attr_text("encoder-version", env!("CARGO_PKG_VERSION"))?;
    root.attr_int("axis", mdata.axis)?;
    write::frame(root, "obs", &mdata.obs)?;
    write::frame(root, "var", &mdata.var)?;
    write::axis_entries(root, "obsm", &mdata.obsm, &mdata.obsm_frames)?;
    write::axis_entries(root, "varm", &mdata.varm, &mdata.varm_frames)?;
    write::axis_entries(root, "obsp", &mdata.obsp, &Map::new())?;
    write::axis_entries(root, "varp", &mdata.varp, &Map::new())?;
    write::map(root, "uns", &mdata.uns)?;
    for (slot, maps) in [("obsmap", &mdata.obsmap), ("varmap", &mdata.varmap)] {
        let group = root.group(slot)?;
        group.encoding("dict", "0.1.0")?;
        for (name, map) in maps {
            group.values(name, &[map.len()], &map.clone().into(), write::ARRAY)?;
        }
    }
    let mods = root.group("mod")?;
    let names: Vec<String> = mdata.modalities.keys().cloned().collect();
    mods.attr_texts("mod-order", &names)?;
    for (name, adata) in &mdata.modalities {
        write::anndata(&mods.group(name)?, adata)?;
    }
    Ok(())
}
