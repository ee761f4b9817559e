//! Writing: one function for each encoding, in the versions that anndata 0.12 writes.

use crate::anndata::{AnnData, Categorical, Column, Frame, Map, Matrix, Sparse, Value, Values};
use crate::error::Result;
use crate::io::h5::{FieldValues, Writer};

pub(super) const ARRAY: Option<(&str, &str)> = Some(("array", "0.2.0"));
const TEXTS: Option<(&str, &str)> = Some(("string-array", "0.2.0"));

pub(super) fn anndata(root: &Writer, adata: &AnnData) -> Result<()> {
    root.encoding("anndata", "0.1.0")?;
    if let Some(x) = &adata.x {
        matrix(root, "X", x)?;
    }
    frame(root, "obs", &adata.obs)?;
    frame(root, "var", &adata.var)?;
    axis_entries(root, "obsm", &adata.obsm, &adata.obsm_frames)?;
    axis_entries(root, "varm", &adata.varm, &adata.varm_frames)?;
    axis_entries(root, "obsp", &adata.obsp, &Map::new())?;
    axis_entries(root, "varp", &adata.varp, &Map::new())?;
    axis_entries(root, "layers", &adata.layers, &Map::new())?;
    map(root, "uns", &adata.uns)?;
    if let Some(raw) = &adata.raw {
        let group = root.group("raw")?;
        group.encoding("raw", "0.1.0")?;
        matrix(&group, "X", &raw.x)?;
        frame(&group, "var", &raw.var)?;
        axis_entries(&group, "varm", &raw.varm, &raw.varm_frames)?;
    }
    Ok(())
}

pub(super) fn axis_entries(
    parent: &Writer,
    slot: &str,
    matrices: &Map<Matrix>,
    frames: &Map<Frame>,
) -> Result<()> {
    let group = parent.group(slot)?;
    group.encoding("dict", "0.1.0")?;
    for (name, m) in matrices {
        matrix(&group, name, m)?;
    }
    for (name, f) in frames {
        if matrices.contains_key(name) {
            return Err(group.error(name, "both a matrix and a table have this key"));
        }
        frame(&group, name, f)?;
    }
    Ok(())
}

fn matrix(parent: &Writer, name: &str, m: &Matrix) -> Result<()> {
    match m {
        Matrix::Dense(d) => parent.values(name, &[d.nrows, d.ncols], &d.values, ARRAY),
        Matrix::Csr(s) => sparse(parent, name, s, "csr_matrix", s.ncols),
        Matrix::Csc(s) => sparse(parent, name, s, "csc_matrix", s.nrows),
    }
}

fn sparse(parent: &Writer, name: &str, s: &Sparse, kind: &str, minor: usize) -> Result<()> {
    let group = parent.group(name)?;
    group.encoding(kind, "0.1.0")?;
    group.attr_ints("shape", &[s.nrows as i64, s.ncols as i64])?;
    group.values("data", &[s.values.len()], &s.values, None)?;
    // scipy uses one width for both and prefers the narrow one.
    let wide = s.nnz().max(minor) > i32::MAX as usize;
    let indptr = match wide {
        true => Values::I64(s.indptr.iter().map(|&p| p as i64).collect()),
        false => Values::I32(s.indptr.iter().map(|&p| p as i32).collect()),
    };
    group.indices("indices", &s.indices, wide)?;
    group.values("indptr", &[indptr.len()], &indptr, None)
}

pub(super) fn frame(parent: &Writer, name: &str, frame: &Frame) -> Result<()> {
    let group = parent.group(name)?;
    group.encoding("dataframe", "0.2.0")?;
    let names: Vec<String> = frame.columns().map(|(k, _)| k.to_string()).collect();
    if names.iter().any(|n| n == "_index") {
        return Err(group.error("_index", "this column name is reserved; rename the column"));
    }
    group.attr_texts("column-order", &names)?;
    // A column of the index's name is legal only when it holds the same.
    let index = match &frame.index_name {
        Some(name) if !frame.contains(name) => name.as_str(),
        _ => "_index",
    };
    group.attr_text("_index", index)?;
    match frame.numbers() {
        Some(numbers) => group.values(index, &[numbers.len()], numbers, ARRAY)?,
        None => group.strings(index, &[frame.len()], frame.names(), TEXTS)?,
    }
    frame.columns().try_for_each(|(name, c)| match c {
        Column::Str(texts) if frame.is_strings(name) => strings(&group, name, texts),
        _ => column(&group, name, c),
    })
}

fn column(parent: &Writer, name: &str, column: &Column) -> Result<()> {
    match column {
        Column::Values(v) => parent.values(name, &[v.len()], v, ARRAY),
        Column::Nullable { values, missing } => {
            let kind = match values {
                Values::Bool(_) => "nullable-boolean",
                v if v.is_float() => {
                    // anndata has no such encoding; NaN says the same.
                    let numbers = column.to_f64().unwrap_or_default();
                    let numbers = match v {
                        Values::F32(_) => Values::F32(numbers.iter().map(|&x| x as f32).collect()),
                        _ => Values::F64(numbers),
                    };
                    return parent.values(name, &[numbers.len()], &numbers, ARRAY);
                }
                _ => "nullable-integer",
            };
            let group = masked(parent, name, kind, missing)?;
            group.values("values", &[values.len()], values, ARRAY)
        }
        Column::Str(texts) if texts.iter().all(Option::is_some) => {
            let texts: Vec<&str> = texts.iter().flatten().map(String::as_str).collect();
            parent.strings(name, &[texts.len()], &texts, TEXTS)
        }
        Column::Str(texts) => strings(parent, name, texts),
        Column::Categorical(c) => categorical(parent, name, c),
    }
}

/// Texts as pandas' own type for them.
fn strings(parent: &Writer, name: &str, texts: &[Option<String>]) -> Result<()> {
    let missing: Vec<bool> = texts.iter().map(Option::is_none).collect();
    let group = masked(parent, name, "nullable-string-array", &missing)?;
    let texts: Vec<&str> = texts.iter().map(|t| t.as_deref().unwrap_or("")).collect();
    group.strings("values", &[texts.len()], &texts, TEXTS)
}

fn masked<'a>(parent: &Writer<'a>, name: &str, kind: &str, mask: &[bool]) -> Result<Writer<'a>> {
    let group = parent.group(name)?;
    group.encoding(kind, "0.1.0")?;
    group.values("mask", &[mask.len()], &Values::Bool(mask.to_vec()), ARRAY)?;
    Ok(group)
}

fn categorical(parent: &Writer, name: &str, c: &Categorical) -> Result<()> {
    let group = parent.group(name)?;
    group.encoding("categorical", "0.2.0")?;
    group.attr_bool("ordered", c.ordered)?;
    // pandas takes the narrowest type that holds the codes.
    let n = c.categories.len();
    let codes = if n <= i8::MAX as usize {
        Values::I8(c.codes.iter().map(|&x| x as i8).collect())
    } else if n <= i16::MAX as usize {
        Values::I16(c.codes.iter().map(|&x| x as i16).collect())
    } else {
        Values::I32(c.codes.clone())
    };
    group.values("codes", &[codes.len()], &codes, ARRAY)?;
    match &c.typed {
        Some(values) => group.values("categories", &[values.len()], values, ARRAY),
        None => group.strings("categories", &[n], &c.categories, TEXTS),
    }
}

pub(super) fn map(parent: &Writer, name: &str, entries: &Map<Value>) -> Result<()> {
    let group = parent.group(name)?;
    group.encoding("dict", "0.1.0")?;
    entries.iter().try_for_each(|(name, v)| value(&group, name, v))
}

fn value(parent: &Writer, name: &str, v: &Value) -> Result<()> {
    match v {
        Value::Null => parent.null(name),
        Value::Str(s) => parent.strings(name, &[], &[s], Some(("string", "0.2.0"))),
        Value::Array { shape, values } => {
            let n: usize = shape.iter().product();
            if n != values.len() {
                let reason = format!("{} values for shape {shape:?}", values.len());
                return Err(parent.error(name, reason));
            }
            let scalar = Some(("numeric-scalar", "0.2.0"));
            parent.values(name, shape, values, if shape.is_empty() { scalar } else { ARRAY })
        }
        Value::StrArray { shape, values } => {
            let n: usize = shape.iter().product();
            if n != values.len() {
                let reason = format!("{} texts for shape {shape:?}", values.len());
                return Err(parent.error(name, reason));
            }
            parent.strings(name, shape, values, TEXTS)
        }
        Value::Matrix(m) => matrix(parent, name, m),
        Value::Column(Column::Values(values)) => {
            parent.values(name, &[values.len()], values, ARRAY)
        }
        // As an array of texts it would be a `StrArray`.
        Value::Column(Column::Str(texts)) => strings(parent, name, texts),
        Value::Column(c) => column(parent, name, c),
        Value::Frame(f) => frame(parent, name, f),
        Value::Map(entries) => map(parent, name, entries),
        Value::Record(fields) => record(parent, name, fields),
    }
}

fn record(parent: &Writer, name: &str, fields: &Map<Value>) -> Result<()> {
    let mut columns = Vec::new();
    let mut n = 0;
    for (field, v) in fields {
        let (shape, values) = match v {
            Value::Array { shape, values } => (shape, FieldValues::Values(values)),
            Value::StrArray { shape, values } => (shape, FieldValues::Strings(values)),
            _ => return Err(parent.error(name, format!("field `{field}` is not a list"))),
        };
        let &[len] = shape.as_slice() else {
            let reason = format!("field `{field}` of a record has shape {shape:?}, not one axis");
            return Err(parent.error(name, reason));
        };
        n = len;
        columns.push((field.as_str(), values));
    }
    parent.records(name, n, &columns)
}
