//! The tissue image of a slide: `uns["spatial"][library]`, the layout of Visium readers.

use super::Image;
use crate::anndata::{AnnData, Map, Value};
use crate::error::{Error, Result};

/// Which of a slide's images.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Resolution {
    /// `hires` if it is there, else `lowres`, else the first.
    #[default]
    Best,
    /// The image of that name, e.g. `lowres`.
    Named(String),
}

impl From<&str> for Resolution {
    fn from(name: &str) -> Self {
        Resolution::Named(name.into())
    }
}

/// A tissue image with what places spots on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tissue {
    /// The library (slide) that it belongs to.
    pub library: String,
    /// Its name among the library's images, e.g. `hires`.
    pub name: String,
    /// The picture.
    pub image: Image,
    /// Pixels of the picture per pixel of the full-resolution image: coordinates in
    /// `obsm["spatial"]` times this are positions on the picture.
    pub scale: f64,
    /// Diameter of a spot in pixels of the full-resolution image.
    pub spot_diameter: Option<f64>,
}

/// The names of the libraries (slides) whose images `adata` holds.
pub fn libraries(adata: &AnnData) -> Vec<String> {
    spatial(adata).map(|m| m.keys().cloned().collect()).unwrap_or_default()
}

/// The tissue image of `library`, or of the only library when that is `None`.
///
/// # Errors
/// [`Error::MissingKey`] without such a library, image or scale factor, [`Error::Data`] when there
/// are several libraries and none was named, or when the entry is no picture.
pub fn tissue(adata: &AnnData, library: Option<&str>, which: &Resolution) -> Result<Tissue> {
    let all = spatial(adata)
        .ok_or_else(|| Error::missing_key("uns", "map", "spatial", adata.uns.keys()))?;
    let (library, entry) = match library {
        Some(name) => all
            .get_key_value(name)
            .ok_or_else(|| Error::missing_key("uns[\"spatial\"]", "library", name, all.keys()))?,
        None if all.len() > 1 => {
            let names: Vec<&str> = all.keys().map(String::as_str).collect();
            let reason = format!("holds several libraries; name one of {}", names.join(", "));
            return Err(Error::data("uns[\"spatial\"]", reason));
        }
        None => all.first().ok_or_else(|| {
            Error::missing_key("uns[\"spatial\"]", "library", "(any)", all.keys())
        })?,
    };
    let none = Map::new();
    let images = entry.at(&["images"]).and_then(Value::as_map).unwrap_or(&none);
    let name = match which {
        Resolution::Named(name) => name.as_str(),
        Resolution::Best => ["hires", "lowres"]
            .into_iter()
            .find(|k| images.contains_key(*k))
            .or_else(|| images.keys().next().map(String::as_str))
            .unwrap_or("hires"),
    };
    let value = images.get(name).ok_or_else(|| {
        Error::missing_key("images of uns[\"spatial\"]", "image", name, images.keys())
    })?;
    let factors = entry.at(&["scalefactors"]).and_then(Value::as_map).unwrap_or(&none);
    let factor =
        |key: &str| factors.get(key).and_then(Value::as_f64).filter(|x| x.is_finite() && *x > 0.0);
    let key = format!("tissue_{name}_scalef");
    let scale = factor(&key).ok_or_else(|| {
        Error::missing_key(
            "scalefactors of uns[\"spatial\"]",
            "positive number",
            &key,
            factors.keys(),
        )
    })?;
    let image = Image::from_value(value, &format!("image `{name}` of library `{library}`"))?;
    Ok(Tissue {
        library: library.clone(),
        name: name.into(),
        image,
        scale,
        spot_diameter: factor("spot_diameter_fullres"),
    })
}

/// Diameter of a spot of `library` (or of the only library) in pixels of the full-resolution image.
pub(crate) fn spot_diameter(adata: &AnnData, library: Option<&str>) -> Option<f64> {
    let all = spatial(adata)?;
    let entry = match library {
        Some(name) => all.get(name)?,
        None => all.values().next()?,
    };
    let value = entry.at(&["scalefactors", "spot_diameter_fullres"])?.as_f64()?;
    (value.is_finite() && value > 0.0).then_some(value)
}

fn spatial(adata: &AnnData) -> Option<&Map<Value>> {
    adata.uns.get("spatial").and_then(Value::as_map)
}
