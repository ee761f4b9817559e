//! What an object weighs in memory.

use crate::anndata::{AnnData, Column, Frame, Map, Matrix, Raw, Value};

impl AnnData {
    /// Bytes that all slots take, the bookkeeping of maps and tables aside.
    pub fn nbytes(&self) -> usize {
        let raw = |r: &Raw| {
            r.x.nbytes()
                + frame(&r.var)
                + matrices(&r.varm)
                + r.varm_frames.values().map(frame).sum::<usize>()
        };
        let maps = [&self.layers, &self.obsm, &self.varm, &self.obsp, &self.varp];
        let tables = self.obsm_frames.values().chain(self.varm_frames.values());
        self.x.as_ref().map_or(0, Matrix::nbytes)
            + maps.into_iter().map(matrices).sum::<usize>()
            + tables.chain([&self.obs, &self.var]).map(frame).sum::<usize>()
            + self.uns.values().map(value).sum::<usize>()
            + self.raw.as_deref().map_or(0, raw)
    }
}

fn matrices(m: &Map<Matrix>) -> usize {
    m.values().map(Matrix::nbytes).sum()
}

fn texts(v: &[String]) -> usize {
    v.iter().map(|t| t.capacity() + size_of::<String>()).sum()
}

fn frame(f: &Frame) -> usize {
    f.index_nbytes() + f.columns().map(|(_, c)| column(c)).sum::<usize>()
}

fn column(c: &Column) -> usize {
    match c {
        Column::Values(v) => v.nbytes(),
        Column::Nullable { values, missing } => values.nbytes() + missing.len(),
        Column::Str(v) => {
            let text = |t: &Option<String>| t.as_ref().map_or(0, String::capacity);
            v.iter().map(|t| text(t) + size_of::<Option<String>>()).sum()
        }
        Column::Categorical(c) => {
            4 * c.codes.len() + texts(&c.categories) + c.typed.as_ref().map_or(0, |t| t.nbytes())
        }
    }
}

fn value(v: &Value) -> usize {
    match v {
        Value::Null => 0,
        Value::Str(s) => s.capacity(),
        Value::Array { values, .. } => values.nbytes(),
        Value::StrArray { values, .. } => texts(values),
        Value::Matrix(m) => m.nbytes(),
        Value::Column(c) => column(c),
        Value::Frame(f) => frame(f),
        Value::Record(m) | Value::Map(m) => m.values().map(value).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weight_is_that_of_the_parts() {
        let x = Matrix::from(ndarray::Array2::<f32>::zeros((100, 10)));
        let mut a = AnnData::new(x, Frame::with_len(100), Frame::with_len(10)).unwrap();
        assert_eq!(a.nbytes(), 4000, "counted rows weigh nothing");
        a.obs.insert("n", vec![0i64; 100]).unwrap();
        a.uns.insert(
            "m".into(),
            Value::Map([("t".to_string(), Value::from("abcd"))].into_iter().collect()),
        );
        assert_eq!(a.nbytes(), 4804);
        a.set_raw().unwrap();
        assert_eq!(a.nbytes(), 8804);
    }
}
