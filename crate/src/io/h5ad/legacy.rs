//! Files of anndata before 0.7: tables and `obsm` are record arrays, categories are in `uns`.

use crate::anndata::{AnnData, Categorical, Column, Dense, Frame, Map, Matrix, Value, Values};
use crate::error::Result;
use crate::io::store::{Data, Elements};

type Field = (String, Vec<usize>, Elements);

fn records(data: &Data) -> Result<Vec<Field>> {
    match data.read()? {
        Elements::Record(fields) if data.shape.len() == 1 => Ok(fields),
        _ => Err(data.error("expected a list of records")),
    }
}

/// A table of records; the first field is the index.
pub(super) fn frame(data: &Data) -> Result<Frame> {
    let mut fields = records(data)?.into_iter();
    let (index, _, names) = fields.next().ok_or_else(|| data.error("a table without columns"))?;
    let mut frame = match names {
        Elements::Strings(names) => Frame::new(names),
        Elements::Values(numbers) => Frame::with_numbers(numbers),
        Elements::Record(_) => return Err(data.error("the index is made of records")),
    };
    frame.index_name = Some(index);
    for (name, axes, elements) in fields {
        let column = match elements {
            _ if !axes.is_empty() => {
                return Err(data.error(format!("column `{name}` has more than one axis")));
            }
            Elements::Values(v) => Column::Values(v),
            Elements::Strings(v) => Column::Str(v.into_iter().map(Some).collect()),
            Elements::Record(_) => {
                return Err(data.error(format!("column `{name}` is made of records")));
            }
        };
        frame.insert(name, column).map_err(|e| data.error(e.to_string()))?;
    }
    Ok(frame)
}

/// The fields of a record array as matrices: a field of `k` numbers is a matrix of `k` columns.
pub(super) fn matrices(data: &Data) -> Result<Map<Matrix>> {
    let n = data.len()?;
    let mut out = Map::new();
    for (name, axes, elements) in records(data)? {
        let Elements::Values(values) = elements else {
            return Err(data.error(format!("field `{name}` is not made of numbers")));
        };
        let width = match axes[..] {
            [] => 1,
            [k] => k,
            _ => return Err(data.error(format!("field `{name}` has more than two axes"))),
        };
        let dense = Dense::new(n, width, values).map_err(|e| data.error(e.to_string()))?;
        out.insert(name, Matrix::Dense(dense));
    }
    Ok(out)
}

/// The fields of a record array of `shape` as arrays.
pub(super) fn fields(shape: &[usize], fields: Vec<Field>) -> Map<Value> {
    let field = |(name, axes, elements): Field| {
        let shape = [shape, &axes].concat();
        let value = match elements {
            Elements::Values(values) => Value::Array { shape, values },
            Elements::Strings(values) => Value::StrArray { shape, values },
            Elements::Record(inner) => Value::Record(self::fields(&shape, inner)),
        };
        (name, value)
    };
    fields.into_iter().map(field).collect()
}

/// Turns columns of codes into categories where `uns` has `<column>_categories`.
pub(super) fn categories_from_uns(adata: &mut AnnData) {
    let keys: Vec<String> =
        adata.uns.keys().filter(|k| k.ends_with("_categories")).cloned().collect();
    for key in keys {
        let name = key.replace("_categories", "");
        let (categories, typed) = match &adata.uns[&key] {
            Value::Str(s) => (vec![s.clone()], None),
            Value::StrArray { values, .. } => (values.clone(), None),
            Value::Array { values, .. } => {
                let column = Column::Values(values.clone());
                let texts = (0..values.len()).map(|i| column.text(i).unwrap_or("nan".into()));
                (texts.collect(), Some(values.clone()))
            }
            _ => continue,
        };
        let mut used = false;
        for frame in [&mut adata.obs, &mut adata.var] {
            let Some(Column::Values(codes)) = frame.get(&name) else { continue };
            let fits = |&c: &f64| c.fract() == 0.0 && c >= -1.0 && c < categories.len() as f64;
            let values = codes.to_f64();
            if matches!(codes, Values::Bool(_)) || !values.iter().all(fits) {
                continue;
            }
            let codes = values.iter().map(|&c| c as i32).collect();
            let (categories, typed) = (categories.clone(), typed.clone());
            let column = Categorical { codes, categories, typed, ordered: false };
            used |= frame.insert(name.clone(), column).is_ok();
        }
        if used {
            adata.uns.shift_remove(&key);
        }
    }
}

/// Moves the neighbour graphs that scanpy kept in `uns["neighbors"]` before 1.5 to `obsp`, as
/// anndata does.
pub(super) fn graphs_from_uns(adata: &mut AnnData) {
    let Some(neighbors) = adata.uns.get_mut("neighbors").and_then(Value::as_map_mut) else {
        return;
    };
    for key in ["distances", "connectivities"] {
        if adata.obsp.contains_key(key) || !matches!(neighbors.get(key), Some(Value::Matrix(_))) {
            continue;
        }
        if let Some(Value::Matrix(graph)) = neighbors.shift_remove(key) {
            adata.obsp.insert(key.into(), graph);
        }
    }
}
