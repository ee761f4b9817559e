//! [`Histology`]: a slide's image with the encoder that looks at it, and the features kept on disk.

use super::Encoder;
use crate::anndata::AnnData;
use crate::error::{Error, Result};
use crate::image::{Border, Channels, Image, Resolution, SlideImage, Tissue, libraries, tissue};
use crate::models::kept::Kept;
use ndarray::{Array2, ArrayView2};
use sha2::{Digest, Sha256};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// A slide's image with the encoder that looks at it.
///
/// ```no_run
/// use spatialkit::image::SlideImage;
/// use spatialkit::models::encoder::{Histology, TextureEncoder};
/// let histology = Histology::new(SlideImage::open("he.tif")?, TextureEncoder::default());
/// # Ok::<(), spatialkit::Error>(())
/// ```
///
/// Without such a file: [`Histology::of`] takes the image that the slide carries.
///
/// Features are kept on disk, in `SPATIALKIT_CACHE` or the platform's folder for such things, by the
/// pixels of the patch and the encoder's fingerprint: what was computed once, for whatever slide, size or
/// model, is read. A run that was interrupted goes on where it was.
#[derive(Clone)]
pub struct Histology {
    slide: SlideImage,
    encoder: Arc<dyn Encoder>,
    scale: f64,
    border: Border,
    cache: Option<PathBuf>,
}

impl fmt::Debug for Histology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Histology({:?}, {}, scale {})", self.slide, self.encoder.name(), self.scale)
    }
}

impl Histology {
    /// An image whose pixels are those of the coordinates in `obsm["spatial"]`, with an encoder.
    pub fn new(slide: SlideImage, encoder: impl Encoder + 'static) -> Self {
        Histology {
            slide,
            encoder: Arc::new(encoder),
            scale: 1.0,
            border: Border::default(),
            cache: Some(crate::io::cache_folder().join("features")),
        }
    }

    /// The image that the slide carries, in `uns["spatial"][library]`, with an encoder: `hires`, else
    /// `lowres`, at its scale. No file of the image is needed, but these images are small (2,000 pixels
    /// a side, of Visium slides): a spot is some ten pixels wide, and nuclei cannot be told apart.
    ///
    /// Of several libraries, or for another of their images: [`of_tissue`](Self::of_tissue).
    ///
    /// ```
    /// use spatialkit::datasets::{Synthetic, synthetic};
    /// use spatialkit::image::Channels;
    /// use spatialkit::models::encoder::{Histology, TextureEncoder};
    /// let slide = synthetic(&Synthetic::default().n_genes(20))?;
    /// let histology = Histology::of(&slide, TextureEncoder::default())?.without_cache();
    /// // The first three spots, 224 × 224 pixels of the coordinates around each.
    /// let spots = slide.take_obs(&[0, 1, 2]).spatial()?;
    /// assert_eq!(histology.features(spots.view(), 224, Channels::Rgb)?.dim(), (3, 1024));
    /// # Ok::<(), spatialkit::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::MissingKey`] without an image or its scale factor; [`Error::Data`] when there are several
    /// libraries; [`Error::Shape`] when the entry is no picture.
    pub fn of(adata: &AnnData, encoder: impl Encoder + 'static) -> Result<Self> {
        let names = libraries(adata);
        if names.len() > 1 {
            let reason = format!(
                "holds several libraries ({}); choose one: `Histology::of_tissue(image::tissue(&adata, \
                 Some(\"{}\"), &Resolution::Best)?, encoder)`",
                names.join(", "),
                names[0]
            );
            return Err(Error::data("uns[\"spatial\"]", reason));
        }
        Ok(Self::of_tissue(tissue(adata, None, &Resolution::Best)?, encoder))
    }

    /// A tissue image that [`tissue`] has found, at its scale, with an encoder.
    pub fn of_tissue(tissue: Tissue, encoder: impl Encoder + 'static) -> Self {
        Histology::new(SlideImage::from_image(tissue.image), encoder).scale(tissue.scale)
    }

    /// Pixels of the image per pixel of the coordinates, for an image that is not at full resolution.
    /// Default: 1. Sizes of patches are in pixels of the coordinates too.
    pub fn scale(mut self, scale: f64) -> Self {
        self.scale = scale;
        self
    }

    /// What patches have where they stick out of the image. Default: white.
    pub fn border(mut self, border: Border) -> Self {
        self.border = border;
        self
    }

    /// Keeps features in another folder.
    pub fn cache_in(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache = Some(folder.into());
        self
    }

    /// Computes features anew each time.
    pub fn without_cache(mut self) -> Self {
        self.cache = None;
        self
    }

    /// The encoder.
    pub fn encoder(&self) -> &dyn Encoder {
        &*self.encoder
    }

    /// The image.
    pub fn slide(&self) -> &SlideImage {
        &self.slide
    }

    /// The features of patches of `size` × `size` pixels around positions (x, y), both in pixels of the
    /// coordinates: positions × [`width`](Encoder::width).
    ///
    /// # Errors
    /// [`Error::Parameter`] for a scale that is no number above 0; [`Error::Data`] for positions off the
    /// image; [`Error::Io`] when the cache cannot be used; [`Error::Interrupted`]; those of the encoder.
    pub fn features(
        &self,
        positions: ArrayView2<f64>,
        size: usize,
        channels: Channels,
    ) -> Result<Array2<f32>> {
        if !(self.scale.is_finite() && self.scale > 0.0) {
            let reason = "must be above 0: pixels of the image per pixel of the coordinates";
            return Err(Error::parameter("scale", self.scale, reason));
        }
        let side = ((size as f64 * self.scale).round() as usize).max(1);
        let centers = positions.mapv(|v| v * self.scale);
        let patches = self.slide.patches(centers.view(), side, self.border)?;
        let width = self.encoder.width();
        let fingerprint = self.encoder.fingerprint();
        let mut kept = match &self.cache {
            Some(folder) => Some(Kept::open(folder, self.encoder.name(), &fingerprint, width)?),
            None => None,
        };
        let mut features = Array2::zeros((patches.len(), width));
        patches.for_each_batch(self.encoder.batch_size().max(1), |rows, images| {
            let images: Vec<Image> = images.iter().map(|image| ordered(image, channels)).collect();
            let keys: Vec<[u8; 32]> = images.iter().map(key).collect();
            let mut missing = Vec::new();
            for (i, (&row, key)) in rows.iter().zip(&keys).enumerate() {
                match kept.as_ref().map(|k| k.get(key)).transpose()?.flatten() {
                    Some(values) => features.row_mut(row).assign(&ndarray::aview1(&values)),
                    None => missing.push(i),
                }
            }
            if missing.is_empty() {
                return Ok(());
            }
            let fresh: Vec<Image> = missing.iter().map(|&i| images[i].clone()).collect();
            let encoded = self.encoder.encode(&fresh)?;
            if encoded.dim() != (missing.len(), width) {
                let expected = format!("{} × {width}", missing.len());
                return Err(Error::shape("features", expected, format!("{:?}", encoded.dim())));
            }
            for (&i, values) in missing.iter().zip(encoded.rows()) {
                features.row_mut(rows[i]).assign(&values);
                if let Some(kept) = &mut kept {
                    kept.add(keys[i], &values.to_vec());
                }
            }
            kept.as_mut().map_or(Ok(()), Kept::flush)
        })?;
        Ok(features)
    }
}

/// A picture whose red is what comes first in this order.
fn ordered(image: &Image, channels: Channels) -> Image {
    let mut image = image.clone();
    if channels == Channels::Bgr {
        image.pixels.as_chunks_mut::<3>().0.iter_mut().for_each(|p| p.swap(0, 2));
    }
    image
}

/// What stands for a patch: its size and its pixels.
fn key(image: &Image) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update((image.width as u64).to_le_bytes());
    hash.update((image.height as u64).to_le_bytes());
    hash.update(&image.pixels);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anndata::{Map, Value};
    use ndarray::array;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// The mean of each channel; counts what it was asked.
    struct Means(Arc<AtomicUsize>);

    impl Encoder for Means {
        fn name(&self) -> &str {
            "means"
        }
        fn width(&self) -> usize {
            3
        }
        fn fingerprint(&self) -> String {
            "means 1".into()
        }
        fn encode(&self, patches: &[Image]) -> Result<Array2<f32>> {
            self.0.fetch_add(patches.len(), Ordering::SeqCst);
            let mut out = Array2::zeros((patches.len(), 3));
            for (patch, mut row) in patches.iter().zip(out.rows_mut()) {
                let n = (patch.pixels.len() / 3) as f32;
                for (i, &p) in patch.pixels.iter().enumerate() {
                    row[i % 3] += f32::from(p) / n;
                }
            }
            Ok(out)
        }
        fn batch_size(&self) -> usize {
            2
        }
    }

    fn slide() -> SlideImage {
        let pixel = |i: usize| [(i % 20 * 10) as u8, (i / 20 * 10) as u8, 7];
        SlideImage::from_image(Image::new(20, 20, (0..400).flat_map(pixel).collect()).unwrap())
    }

    #[test]
    fn features_are_computed_once_and_survive_a_cut_file() {
        let folder = tempfile::tempdir().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let histology = Histology::new(slide(), Means(asked.clone())).cache_in(folder.path());
        let positions = array![[5.0, 5.0], [10.0, 12.0], [5.0, 5.0], [14.0, 6.0]];
        let first = histology.features(positions.view(), 4, Channels::Rgb).unwrap();
        assert_eq!(first.row(0).to_vec(), [45.0, 45.0, 7.0]);
        assert_eq!(first.row(0), first.row(2));
        let once = asked.load(Ordering::SeqCst);
        assert!((3..=4).contains(&once));
        assert_eq!(histology.features(positions.view(), 4, Channels::Rgb).unwrap(), first);
        assert_eq!(asked.load(Ordering::SeqCst), once);
        // Other colours, another size: other patches.
        let bgr = histology.features(positions.view(), 4, Channels::Bgr).unwrap();
        assert_eq!(bgr.row(0).to_vec(), [7.0, 45.0, 45.0]);
        assert!(asked.load(Ordering::SeqCst) > once);

        // A file that a crash cut short in its last record is read up to there.
        let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&file, &bytes[..bytes.len() - 5]).unwrap();
        assert_eq!(histology.features(positions.view(), 4, Channels::Rgb).unwrap(), first);
        assert_eq!(histology.features(positions.view(), 4, Channels::Bgr).unwrap(), bgr);
        // And so is one in which something was written over: what cannot be trusted is made anew.
        std::fs::write(&file, b"something else").unwrap();
        assert_eq!(histology.features(positions.view(), 4, Channels::Rgb).unwrap(), first);
    }

    #[test]
    fn an_image_at_another_scale_has_the_same_patches() {
        let asked = Arc::new(AtomicUsize::new(0));
        let at = |scale: f64, x: f64, size| {
            let histology = Histology::new(slide(), Means(asked.clone())).without_cache();
            histology.scale(scale).features(array![[x, x]].view(), size, Channels::Rgb)
        };
        assert_eq!(at(1.0, 8.0, 4).unwrap(), at(0.25, 32.0, 16).unwrap());
        assert!(at(1.0, 80.0, 4).unwrap_err().to_string().contains("scale"));
        assert!(at(0.0, 8.0, 4).unwrap_err().to_string().contains("scale = 0"));
    }

    fn map(entries: Vec<(&str, Value)>) -> Value {
        entries.into_iter().map(|(k, v)| (k.to_string(), v)).collect::<Map<Value>>().into()
    }

    /// A library with these images, and scale factors for these.
    fn library(images: &[(&str, &Image)], scales: &[(&str, f64)]) -> Value {
        let images = images.iter().map(|&(name, image)| (name, image.to_value())).collect();
        let scales: Vec<(String, f64)> =
            scales.iter().map(|&(name, s)| (format!("tissue_{name}_scalef"), s)).collect();
        let factors = scales.iter().map(|(key, s)| (key.as_str(), Value::float(*s))).collect();
        map(vec![("images", map(images)), ("scalefactors", map(factors))])
    }

    fn with(libraries: Vec<(&str, Value)>) -> AnnData {
        let uns = Map::from([("spatial".to_string(), map(libraries))]);
        AnnData { uns, ..AnnData::default() }
    }

    fn means() -> Means {
        Means(Arc::default())
    }

    #[test]
    fn the_image_of_the_slide_is_an_image_at_its_scale() {
        let whole = slide().window(0, 0, 20, 20, Border::Error).unwrap();
        let small = whole.thumbnail(10);
        let images = [("lowres", &small), ("hires", &whole)];
        let adata = with(vec![("A", library(&images, &[("hires", 0.25), ("lowres", 0.125)]))]);
        let positions = array![[32.0, 32.0], [20.5, 47.0], [61.0, 9.9]];
        let features = |histology: Histology| {
            histology.without_cache().features(positions.view(), 16, Channels::Rgb).unwrap()
        };
        let given = |image: &Image, scale| {
            features(Histology::new(SlideImage::from_image(image.clone()), means()).scale(scale))
        };
        assert_eq!(features(Histology::of(&adata, means()).unwrap()), given(&whole, 0.25));
        let lowres = tissue(&adata, Some("A"), &"lowres".into()).unwrap();
        assert_eq!(features(Histology::of_tissue(lowres, means())), given(&small, 0.125));
        assert_ne!(given(&whole, 0.25), given(&small, 0.125));
        // Without the larger image the smaller one.
        let adata = with(vec![("A", library(&images[..1], &[("lowres", 0.125)]))]);
        assert_eq!(features(Histology::of(&adata, means()).unwrap()), given(&small, 0.125));
    }

    #[test]
    fn a_slide_without_one_image_and_its_scale_is_refused() {
        let image = Image::new(2, 2, vec![9; 12]).unwrap();
        let refused = |adata: &AnnData| Histology::of(adata, means()).unwrap_err();
        let images = [("hires", &image)];
        let missing = [
            (AnnData::default(), "spatial"),
            (with(vec![]), "library"),
            (with(vec![("A", library(&[], &[("hires", 0.5)]))]), "hires"),
            (with(vec![("A", library(&images, &[("lowres", 0.5)]))]), "tissue_hires_scalef"),
            (with(vec![("A", library(&images, &[("hires", 0.0)]))]), "tissue_hires_scalef"),
        ];
        for (adata, words) in missing {
            let e = refused(&adata);
            assert!(matches!(e, Error::MissingKey { .. }) && e.to_string().contains(words), "{e}");
        }
        let one = || library(&images, &[("hires", 0.5)]);
        let e = refused(&with(vec![("A", one()), ("B", one())]));
        let text = e.to_string();
        assert!(matches!(e, Error::Data { .. }) && text.contains("A, B"), "{text}");
        assert!(text.contains("image::tissue(&adata, Some(\"A\")"), "{text}");
        let no_picture = map(vec![
            ("images", map(vec![("hires", Value::float(1.0))])),
            ("scalefactors", map(vec![("tissue_hires_scalef", Value::float(0.5))])),
        ]);
        let e = refused(&with(vec![("A", no_picture)]));
        assert!(matches!(e, Error::Shape { .. }) && e.to_string().contains("hires"), "{e}");
    }
}
