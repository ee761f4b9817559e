//! Which spots lie on the tissue of their image, to look at.

use super::figure::Figure;
use super::keys::labels;
use super::options::Options;
use super::points::PointMap;
use super::spatial::{spacing, spatial};
use crate::anndata::{AnnData, Categorical, Value};
use crate::error::{Error, Result};
use crate::image::{Resolution, ScaleCheck, check_scale, tissue};
use std::sync::Arc;

/// Colours that are told apart on stained tissue, on glass, and by colour-blind readers.
const COLORS: [(&str, &str); 2] = [("on tissue", "#009e73"), ("off tissue", "#d55e00")];

/// Spots over the image of the only slide, in one colour where they lie on its tissue and in
/// another where they do not; the title says how many do, or which scale would fit better. See
/// [`check_scale`](crate::image::check_scale).
///
/// Reads `obsm["spatial"]` and `uns["spatial"]`: the image `hires`, else `lowres`, and all scale
/// factors. Writes nothing.
///
/// An object without an image or its scale is the error [`Error::MissingKey`] when the figure is
/// drawn.
///
/// ```
/// use spatialkit::{datasets, pl};
/// let slide = datasets::synthetic(&datasets::Synthetic::default().n_genes(20))?;
/// assert!(pl::spots_on_tissue(&slide).to_png().is_ok());
/// # Ok::<(), spatialkit::Error>(())
/// ```
pub fn spots_on_tissue(adata: &AnnData) -> Figure<PointMap> {
    match check(adata) {
        Ok((image, check)) => {
            let spots = 0..adata.n_obs();
            let on = |i: usize| Some(COLORS[usize::from(!check.on_tissue.on_tissue(i))].0.into());
            let on: Vec<Option<String>> = spots.map(on).collect();
            let key = labels("spots", Categorical::from_labels(&on));
            spatial(adata, key).palette(COLORS).img_res_key(image).title(title(&check))
        }
        Err(e) => Figure::new(PointMap { data: Err(Arc::new(e)), options: Options::default() }),
    }
}

/// The name of the image and how spots lie on it.
fn check(adata: &AnnData) -> Result<(String, ScaleCheck)> {
    let slide = tissue(adata, None, &Resolution::Best)?;
    let positions = adata.spatial()?;
    let points: Vec<[f64; 2]> = positions.rows().into_iter().map(|r| [r[0], r[1]]).collect();
    // Without a diameter the half of the distance between spots, as on arrays of 10x Genomics.
    let diameter = slide.spot_diameter.unwrap_or_else(|| spacing(&points) / 2.0);
    if diameter <= 0.0 {
        let reason = "one spot, and no `spot_diameter_fullres`: its size is not known";
        return Err(Error::data("obsm[\"spatial\"]", reason));
    }
    let others = scales(adata, &slide.library);
    let others: Vec<(&str, f64)> = others.iter().map(|(n, s)| (n.as_str(), *s)).collect();
    let check = check_scale(&slide.image, positions.view(), diameter, slide.scale, &others)?;
    Ok((slide.name, check))
}

/// The scale factors of a library, by the name of their image.
fn scales(adata: &AnnData, library: &str) -> Vec<(String, f64)> {
    let factors = adata.uns.get("spatial").and_then(|s| s.at(&[library, "scalefactors"]));
    let Some(factors) = factors.and_then(Value::as_map) else { return Vec::new() };
    let scale = |(key, value): (&String, &Value)| {
        let name = key.strip_prefix("tissue_")?.strip_suffix("_scalef")?;
        Some((name.to_string(), value.as_f64()?))
    };
    factors.iter().filter_map(scale).collect()
}

fn title(check: &ScaleCheck) -> String {
    match &check.better {
        Some(better) => {
            let on = |part: f64| format!("{:.0} %", 100.0 * part);
            let (now, then) = (check.on_tissue.fraction_on_tissue, better.fraction_on_tissue);
            let how = if better.swapped { "x and y exchanged" } else { "a scale" };
            let scale = format!("{how} of {:.4} ({})", better.scale, better.name);
            format!("Wrong scale? {} on tissue, with {scale} {}", on(now), on(then))
        }
        None => check.on_tissue.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets::{Synthetic, synthetic};
    use crate::image::Verdict;

    fn slide() -> AnnData {
        synthetic(&Synthetic::default().n_genes(20)).unwrap()
    }

    /// The scale factor of the image that figures show.
    fn scale(adata: &mut AnnData) -> &mut Value {
        let Some(Value::Map(spatial)) = adata.uns.get_mut("spatial") else { panic!("a map") };
        let Some(Value::Map(library)) = spatial.values_mut().next() else { panic!("a library") };
        let Some(Value::Map(factors)) = library.get_mut("scalefactors") else { panic!("factors") };
        factors.get_mut("tissue_hires_scalef").expect("the synthetic slide has one")
    }

    #[test]
    fn a_slide_whose_scale_is_right_has_its_spots_on_tissue() {
        let adata = slide();
        let (_, found) = check(&adata).unwrap();
        assert_eq!((found.on_tissue.verdict, &found.better), (Verdict::Good, &None), "{found}");
        let figure = spots_on_tissue(&adata);
        assert!(figure.describe().contains("spots on tissue"), "{}", figure.describe());
        figure.check().unwrap();
    }

    #[test]
    fn a_wrong_scale_is_in_the_title() {
        let mut adata = slide();
        let right = scale(&mut adata).as_f64().unwrap();
        *scale(&mut adata) = Value::float(0.3 * right);
        let figure = spots_on_tissue(&adata);
        assert!(figure.describe().starts_with("Wrong scale?"), "{}", figure.describe());
        figure.check().unwrap();
    }

    #[test]
    fn a_slide_without_an_image_is_an_error_that_says_so() {
        let mut adata = slide();
        adata.uns.shift_remove("spatial");
        let e = spots_on_tissue(&adata).check().unwrap_err().to_string();
        assert!(e.contains("uns") && e.contains("spatial"), "{e}");
    }
}
