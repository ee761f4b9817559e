//! The other way round, and to and from `raw`.

use super::{AnnData, Matrix, Raw, Sparse};
use crate::error::Result;

impl Matrix {
    /// Rows as columns. A sparse matrix keeps its numbers where they are: CSR becomes CSC and CSC
    /// becomes CSR, as in scipy.
    pub fn transpose(&self) -> Matrix {
        let turned = |m: &Sparse| Sparse { nrows: m.ncols, ncols: m.nrows, ..m.clone() };
        match self {
            Matrix::Dense(m) => Matrix::Dense(m.transpose()),
            Matrix::Csr(m) => Matrix::Csc(turned(m)),
            Matrix::Csc(m) => Matrix::Csr(turned(m)),
        }
    }
}

impl AnnData {
    /// Observations as variables and variables as observations; a copy. `uns` stays, `raw` is left
    /// out. Matches `adata.T` of anndata 0.12.
    pub fn transpose(&self) -> AnnData {
        AnnData {
            x: self.x.as_ref().map(Matrix::transpose),
            obs: self.var.clone(),
            var: self.obs.clone(),
            layers: self.layers.iter().map(|(k, m)| (k.clone(), m.transpose())).collect(),
            obsm: self.varm.clone(),
            varm: self.obsm.clone(),
            obsm_frames: self.varm_frames.clone(),
            varm_frames: self.obsm_frames.clone(),
            obsp: self.varp.clone(),
            varp: self.obsp.clone(),
            uns: self.uns.clone(),
            raw: None,
        }
    }

    /// [`transpose`](AnnData::transpose), for short.
    pub fn t(&self) -> AnnData {
        self.transpose()
    }

    /// Keeps a copy of `X` and of what is known about the variables as `raw`, before variables are
    /// dropped or numbers changed. Matches `adata.raw = adata`.
    ///
    /// # Errors
    /// [`Error::MissingKey`](crate::Error::MissingKey) without `X`.
    pub fn set_raw(&mut self) -> Result<()> {
        let x = self.x()?.clone();
        let (varm, varm_frames) = (self.varm.clone(), self.varm_frames.clone());
        self.raw = Some(Box::new(Raw { x, var: self.var.clone(), varm, varm_frames }));
        Ok(())
    }

    /// An object of `raw`'s matrix and variables with these observations: `obs`, `obsm`, `obsp` and
    /// `uns` are copied, layers and `raw` itself are not. Matches `adata.raw.to_adata()`.
    ///
    /// # Errors
    /// [`Error::MissingKey`](crate::Error::MissingKey) without `raw`.
    pub fn raw_to_adata(&self) -> Result<AnnData> {
        let Some(raw) = &self.raw else {
            let none: [&str; 0] = [];
            return Err(crate::Error::missing_key("AnnData", "slot", "raw", none));
        };
        Ok(AnnData {
            x: Some(raw.x.clone()),
            obs: self.obs.clone(),
            var: raw.var.clone(),
            obsm: self.obsm.clone(),
            obsm_frames: self.obsm_frames.clone(),
            varm: raw.varm.clone(),
            varm_frames: raw.varm_frames.clone(),
            obsp: self.obsp.clone(),
            uns: self.uns.clone(),
            ..AnnData::default()
        })
    }

    /// Makes a copy of the layer `key` the main matrix: `adata.X = adata.layers[key].copy()`.
    ///
    /// # Errors
    /// [`Error::MissingKey`](crate::Error::MissingKey) listing the layers there are.
    pub fn set_x_from_layer(&mut self, key: &str) -> Result<()> {
        self.x = Some(self.layer(key)?.clone());
        Ok(())
    }

    /// Keeps a copy of the main matrix as the layer `key`: `adata.layers[key] = adata.X.copy()`.
    ///
    /// # Errors
    /// [`Error::MissingKey`](crate::Error::MissingKey) without `X`.
    pub fn set_layer_from_x(&mut self, key: impl Into<String>) -> Result<()> {
        let x = self.x()?.clone();
        self.layers.insert(key.into(), x);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anndata::Frame;
    use ndarray::array;

    fn slide() -> AnnData {
        let x = Matrix::from(array![[1f32, 0., 2.], [0., 3., 0.]]);
        let mut a = AnnData::new(x.clone(), Frame::with_len(2), Frame::with_len(3)).unwrap();
        a.layers.insert("csr".into(), Matrix::Csr(x.to_csr()));
        a.layers.insert("csc".into(), Matrix::Csc(x.to_csc()));
        a.obsm.insert("spatial".into(), array![[0f64, 1.], [2., 3.]].into());
        a.varp.insert("corr".into(), Matrix::from(ndarray::Array2::<f64>::eye(3)));
        a
    }

    #[test]
    fn transposing_turns_every_slot() {
        let a = slide();
        let t = a.t();
        t.check().unwrap();
        let expected = array![[1f32, 0.], [0., 3.], [2., 0.]];
        assert_eq!(t.x().unwrap().to_array_f32(), expected);
        assert!(t.layers.values().all(|m| m.to_array_f32() == expected));
        assert!(matches!(t.layers["csr"], Matrix::Csc(_)));
        assert!(t.varm.contains_key("spatial") && t.obsp.contains_key("corr"));
        assert_eq!(t.t(), a);
    }

    #[test]
    fn raw_holds_what_was_before() {
        let mut a = slide();
        assert!(a.raw_to_adata().is_err());
        a.set_layer_from_x("counts").unwrap();
        a.set_raw().unwrap();
        a.keep_vars([1]).unwrap();
        a.x_mut().unwrap().values_mut().make_float();
        let all = a.raw_to_adata().unwrap();
        all.check().unwrap();
        assert_eq!(all.x().unwrap(), slide().x().unwrap());
        assert!(all.layers.is_empty() && all.obsm.contains_key("spatial"));
        a.x = None;
        assert!(a.set_raw().is_err() && a.set_layer_from_x("x").is_err());
        a.set_x_from_layer("counts").unwrap();
        assert_eq!(a.x().unwrap().to_array_f32(), array![[0f32], [3.]]);
    }
}
