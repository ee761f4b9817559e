//! [`embedding_scores`]: how far apart annotated classes lie in an embedding.

use super::known_classes;
use crate::anndata::{AnnData, Categorical};
use crate::error::Result;
use crate::notebook::{Bundle, Rich, shows_itself};
use crate::tl::{calinski_harabasz, davies_bouldin, silhouette};
use std::fmt;

/// What [`embedding_scores`] found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EmbeddingScores {
    /// [`silhouette`]: from −1 to 1, higher is better.
    pub silhouette: f64,
    /// [`calinski_harabasz`]: higher is better.
    pub calinski_harabasz: f64,
    /// [`davies_bouldin`]: lower is better.
    pub davies_bouldin: f64,
    /// Observations with a label.
    pub n_used: usize,
    /// Observations without one.
    pub n_missing: usize,
}

/// Scores of the classes in the column `label` of `obs` in the embedding `obsm[use_rep]`, as
/// STimage-1K4M judges embeddings of one slide (Chen et al., 2024). Missing and empty
/// labels and those in `leave_out` do not count. Time grows with n²·d, memory does not.
///
/// Matches the scores of scikit-learn 1.9 within 1e-10.
///
/// # Errors
/// [`Error::MissingKey`](crate::Error::MissingKey) without the entry or the column;
/// [`Error::Data`](crate::Error::Data) with fewer than two classes, as many as observations, or an
/// element that is not finite.
pub fn embedding_scores(
    adata: &AnnData,
    label: &str,
    use_rep: &str,
    leave_out: &[&str],
) -> Result<EmbeddingScores> {
    let x = adata.obsm(use_rep)?.to_array_f64();
    let left_out: Vec<String> = leave_out.iter().map(|s| s.to_string()).collect();
    let labels = Categorical::from_labels(&known_classes(adata.obs_column(label)?, &left_out));
    let n_missing = labels.codes.iter().filter(|&&c| c < 0).count();
    Ok(EmbeddingScores {
        silhouette: silhouette(x.view(), &labels)?,
        calinski_harabasz: calinski_harabasz(x.view(), &labels)?,
        davies_bouldin: davies_bouldin(x.view(), &labels)?,
        n_used: labels.codes.len() - n_missing,
        n_missing,
    })
}

impl fmt::Display for EmbeddingScores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "silhouette {:.4}", self.silhouette)?;
        write!(f, ", Calinski–Harabasz {:.2}", self.calinski_harabasz)?;
        write!(f, ", Davies–Bouldin {:.4}", self.davies_bouldin)?;
        write!(f, " of {} observations ({} without a label)", self.n_used, self.n_missing)
    }
}

impl Rich for EmbeddingScores {
    fn bundle(&self) -> Result<Bundle> {
        Ok(Bundle::new().text(self.to_string()))
    }
}
shows_itself!(EmbeddingScores);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anndata::Frame;
    use ndarray::{Array2, array};

    #[test]
    fn labelled_rows_alone_are_scored() {
        let x = array![[0.0, 0.0], [1.0, 0.0], [9.0, 9.0], [8.0, 9.0], [50.0, 0.0], [0.0, 70.0]];
        let labels = [Some("a"), Some("a"), Some("b"), Some("b"), Some("Exclude"), None];
        let mut adata =
            AnnData::new(Array2::<f32>::zeros((6, 1)), Frame::with_len(6), Frame::with_len(1))
                .unwrap();
        adata.obs.insert("layer", Categorical::from_labels(&labels)).unwrap();
        adata.obsm.insert("z".into(), x.into());
        let s = embedding_scores(&adata, "layer", "z", &["Exclude"]).unwrap();
        assert_eq!((s.n_used, s.n_missing), (4, 2));
        // scikit-learn 1.9 on the first four rows.
        assert!((s.silhouette - 0.916971773289808).abs() < 1e-10, "{s}");
        assert!((s.calinski_harabasz - 290.0).abs() < 1e-9, "{s}");
        assert!((s.davies_bouldin - 0.08304547985373997).abs() < 1e-9, "{s}");
        let e = embedding_scores(&adata, "layer", "y", &[]).unwrap_err().to_string();
        assert!(e.contains("obsm has no entry `y`; it has: z"), "{e}");
    }
}
