//! [`Grouping`]: the groups of cells that a figure compares, from one or several columns of
//! `obs`; a column of numbers is cut into intervals as `pandas.cut` does.

use super::keys::{Key, alike};
use super::palette::{Color, Palette};
use crate::anndata::{AnnData, Categorical, Column, Value, Values};
use crate::error::{Error, Result};

/// Cells in groups. Groups without a cell are left out; cells without a label are in no group.
#[derive(Debug, Clone)]
pub(super) struct Grouping {
    /// The names of the columns joined by `_`, or nothing where all cells are one group.
    pub key: String,
    pub columns: Vec<String>,
    pub names: Vec<String>,
    /// The group of each cell, −1 for none.
    pub codes: Vec<i32>,
    pub sizes: Vec<usize>,
    pub colors: Vec<Color>,
}

impl Grouping {
    /// The groups of `keys`; several columns are joined by `_`.
    pub fn of(adata: &AnnData, keys: &[Key], num_categories: usize) -> Result<Grouping> {
        let n = adata.n_obs();
        let columns: Vec<String> = keys.iter().map(|k| k.name().to_string()).collect();
        let key = columns.join("_");
        let labels = match keys {
            [] => Categorical { categories: vec![String::new()], codes: vec![0; n], ..none() },
            [one] => categories(one, column(adata, one)?, num_categories)?,
            several => {
                let parts: Vec<Categorical> = several
                    .iter()
                    .map(|k| Ok(column(adata, k)?.to_categorical()))
                    .collect::<Result<_>>()?;
                joined(&parts, n)
            }
        };
        let k = labels.categories.len();
        let mut sizes = vec![0usize; k];
        for &c in &labels.codes {
            if let Some(s) = usize::try_from(c).ok().and_then(|c| sizes.get_mut(c)) {
                *s += 1;
            }
        }
        if sizes.iter().all(|&s| s == 0) {
            let reason = if n == 0 { "there are no cells" } else { "no cell has a label" };
            let what = if key.is_empty() { "obs".into() } else { format!("obs[\"{key}\"]") };
            return Err(Error::data(what, reason));
        }
        let stored = match adata.uns.get(&format!("{key}_colors")) {
            Some(Value::StrArray { values, .. }) if keys.len() == 1 => Some(values.as_slice()),
            _ => None,
        };
        // Colours go by the place among all categories, as everywhere else.
        let all = Palette::Default.resolve(&labels.categories, stored)?;
        let kept: Vec<usize> = (0..k).filter(|&c| sizes[c] > 0).collect();
        let mut new = vec![-1i32; k];
        for (to, &from) in kept.iter().enumerate() {
            new[from] = to as i32;
        }
        let code = |&c: &i32| usize::try_from(c).ok().and_then(|c| new.get(c)).map_or(-1, |c| *c);
        Ok(Grouping {
            key,
            columns,
            names: kept.iter().map(|&c| labels.categories[c].clone()).collect(),
            codes: labels.codes.iter().map(code).collect(),
            sizes: kept.iter().map(|&c| sizes[c]).collect(),
            colors: kept.iter().map(|&c| all[c].unwrap_or(Color::rgb(0x80, 0x80, 0x80))).collect(),
        })
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Cells without a group.
    pub fn without(&self) -> usize {
        self.codes.len() - self.sizes.iter().sum::<usize>()
    }

    /// The groups in that order of names, which must be all of them.
    pub fn order(&self, wanted: &[String]) -> Result<Vec<usize>> {
        let mut order = Vec::with_capacity(wanted.len());
        for name in wanted {
            let Some(at) = self.names.iter().position(|n| n == name) else {
                let near = alike(&self.names, name);
                let near: Vec<&str> = if near.is_empty() {
                    self.names.iter().map(String::as_str).collect()
                } else {
                    near
                };
                return Err(Error::missing_key("categories_order", "group", name, near));
            };
            if order.contains(&at) {
                let reason = "is named twice";
                return Err(Error::parameter("categories_order", name, reason));
            }
            order.push(at);
        }
        if let Some(left) = (0..self.len()).find(|g| !order.contains(g)) {
            let reason = format!("must name every group; `{}` is absent", self.names[left]);
            return Err(Error::parameter("categories_order", wanted.join(", "), reason));
        }
        Ok(order)
    }

    /// The cells of all groups, group after group in that order, each in the order of the data.
    pub fn cells(&self, order: &[usize]) -> Vec<usize> {
        let mut start = vec![0; self.len()];
        let mut total = 0;
        for &g in order {
            start[g] = total;
            total += self.sizes[g];
        }
        let mut cells = vec![0; total];
        for (i, &c) in self.codes.iter().enumerate() {
            if let Ok(g) = usize::try_from(c) {
                cells[start[g]] = i;
                start[g] += 1;
            }
        }
        cells
    }
}

fn none() -> Categorical {
    Categorical::from_labels::<&str>(&[])
}

fn column(adata: &AnnData, key: &Key) -> Result<Column> {
    key.obs_column(adata)
}

fn categories(key: &Key, column: Column, bins: usize) -> Result<Categorical> {
    let is_bool = matches!(
        &column,
        Column::Values(Values::Bool(_)) | Column::Nullable { values: Values::Bool(_), .. }
    );
    match column.to_f64() {
        // pandas takes booleans for numbers; two groups are what one wants to see.
        Some(numbers) if !is_bool => cut(key.name(), &numbers, bins),
        _ => Ok(column.to_categorical()),
    }
}

/// `pandas.cut(numbers, bins)`.
fn cut(name: &str, numbers: &[f64], bins: usize) -> Result<Categorical> {
    if bins == 0 {
        return Err(Error::parameter("num_categories", bins, "must be at least 1"));
    }
    let finite = numbers.iter().copied().filter(|v| v.is_finite());
    let (low, high) =
        finite.fold((f64::INFINITY, f64::NEG_INFINITY), |m, v| (m.0.min(v), m.1.max(v)));
    if low > high {
        return Err(Error::data(format!("obs[\"{name}\"]"), "has no finite numbers to cut"));
    }
    if let Some(v) = numbers.iter().find(|v| v.is_infinite()) {
        return Err(Error::data(
            format!("obs[\"{name}\"]"),
            format!("cannot be cut: it holds {v}"),
        ));
    }
    // Equal numbers get a range around them.
    let around = |v: f64| if v == 0.0 { 0.001 } else { 0.001 * v.abs() };
    let flat = low == high;
    let (from, to) = if flat { (low - around(low), high + around(high)) } else { (low, high) };
    let step = (to - from) / bins as f64;
    let mut edges: Vec<f64> = (0..=bins).map(|i| from + i as f64 * step).collect();
    edges[bins] = to;
    if !flat {
        edges[0] -= 0.001 * (high - low);
    }
    let code = |&v: &f64| {
        if v.is_nan() { -1 } else { edges.partition_point(|e| *e < v) as i32 - 1 }
    };
    let codes = numbers.iter().map(|v| code(v).clamp(-1, bins as i32 - 1)).collect();
    let shown = (3..20)
        .map(|digits| edges.iter().map(|&e| rounded(e, digits)).collect::<Vec<_>>())
        .find(|shown| shown.windows(2).all(|w| w[0] < w[1]))
        .unwrap_or_else(|| edges.clone());
    let text = |v: f64| {
        if v.fract() == 0.0 && v.abs() < 1e16 { format!("{v:.1}") } else { format!("{v}") }
    };
    let categories =
        shown.windows(2).map(|w| format!("({}, {}]", text(w[0]), text(w[1]))).collect();
    Ok(Categorical { categories, codes, ..none() })
}

/// To that many digits after the point, or of the fraction where there is nothing before it.
fn rounded(v: f64, digits: i32) -> f64 {
    if !v.is_finite() || v == 0.0 || v.fract() == 0.0 {
        return v;
    }
    let places =
        if v.trunc() == 0.0 { -v.abs().log10().floor() as i32 - 1 + digits } else { digits };
    let unit = 10f64.powi(places);
    let r = (v * unit).round_ties_even() / unit;
    if r.is_finite() { r } else { v }
}

/// The combinations that occur, in the order of the first column's categories, then the second's.
fn joined(parts: &[Categorical], n: usize) -> Categorical {
    let mut found: std::collections::BTreeMap<Vec<i32>, i32> = std::collections::BTreeMap::new();
    let tuple = |i: usize| -> Option<Vec<i32>> {
        let codes: Vec<i32> = parts.iter().map(|p| p.codes[i]).collect();
        codes.iter().all(|&c| c >= 0).then_some(codes)
    };
    for i in 0..n {
        if let Some(t) = tuple(i) {
            found.insert(t, 0);
        }
    }
    for (k, code) in found.values_mut().enumerate() {
        *code = k as i32;
    }
    let name = |t: &Vec<i32>| {
        let part = |(p, &c): (&Categorical, &i32)| {
            p.categories.get(c as usize).cloned().unwrap_or_default()
        };
        parts.iter().zip(t).map(part).collect::<Vec<_>>().join("_")
    };
    let codes = (0..n).map(|i| tuple(i).map_or(-1, |t| found[&t])).collect();
    Categorical { categories: found.keys().map(name).collect(), codes, ..none() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anndata::Frame;
    use crate::pl::keys::Keys;
    use ndarray::Array2;

    fn data() -> AnnData {
        let x = Array2::<f32>::zeros((6, 1));
        let mut a = AnnData::new(x, Frame::with_len(6), Frame::with_len(1)).unwrap();
        let labels = [Some("b"), Some("a"), None, Some("b"), Some("a"), Some("b")];
        let mut c = Categorical::from_labels(&labels);
        c.add(&["empty"]).unwrap();
        a.obs.insert("kind", c).unwrap();
        let side = ["x", "y", "x", "y", "y", "x"].map(Some);
        a.obs.insert("side", Categorical::from_labels(&side)).unwrap();
        a.obs.insert("age", vec![0.0, 1.0, 2.0, 3.0, 4.0, 7.5]).unwrap();
        a
    }

    fn of(a: &AnnData, keys: impl Keys) -> Grouping {
        Grouping::of(a, &keys.keys(), 3).unwrap()
    }

    #[test]
    fn cells_without_a_label_and_groups_without_a_cell_are_left_out() {
        let g = of(&data(), "kind");
        assert_eq!(g.names, ["a", "b"]);
        assert_eq!(g.codes, [1, 0, -1, 1, 0, 1]);
        assert_eq!((g.sizes.as_slice(), g.without()), ([2, 3].as_slice(), 1));
        assert_eq!(g.cells(&[1, 0]), [0, 3, 5, 1, 4]);
    }

    #[test]
    fn numbers_are_cut_as_pandas_cuts_them() {
        let g = of(&data(), "age");
        // pandas.cut([0, 1, 2, 3, 4, 7.5], 3)
        assert_eq!(g.names, ["(-0.0075, 2.5]", "(2.5, 5.0]", "(5.0, 7.5]"]);
        assert_eq!(g.codes, [0, 0, 0, 1, 1, 2]);
        // pandas.cut([2.0] * 3 + [nan], 2)
        let c = cut("x", &[2.0, 2.0, 2.0, f64::NAN], 2).unwrap();
        assert_eq!(c.categories, ["(1.998, 2.0]", "(2.0, 2.002]"]);
        assert_eq!(c.codes, [0, 0, 0, -1]);
        assert!(cut("x", &[f64::NAN], 2).unwrap_err().to_string().contains("finite"));
        assert!(cut("x", &[1.0, f64::INFINITY], 2).is_err());
        assert!(cut("x", &[1.0], 0).is_err());
    }

    #[test]
    fn several_columns_are_joined_in_the_order_of_their_categories() {
        let g = of(&data(), ["kind", "side"]);
        assert_eq!((g.key.as_str(), g.names.join(" ")), ("kind_side", "a_y b_x b_y".into()));
        assert_eq!(g.codes, [1, 0, -1, 2, 0, 1]);
    }

    #[test]
    fn an_order_names_every_group_once() {
        let g = of(&data(), "kind");
        let order =
            |names: &[&str]| g.order(&names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(order(&["b", "a"]).unwrap(), [1, 0]);
        for (names, part) in
            [(vec!["b"], "`a` is absent"), (vec!["b", "b"], "twice"), (vec!["c", "a"], "`c`")]
        {
            let e = order(&names).unwrap_err().to_string();
            assert!(e.contains(part), "{e}");
        }
    }

    #[test]
    fn groups_that_cannot_be_made_are_named() {
        let mut a = data();
        let e = |a: &AnnData, key: &str| Grouping::of(a, &key.keys(), 3).unwrap_err().to_string();
        assert!(e(&a, "kin").contains("kind"));
        a.obs.insert("void", Categorical::from_labels::<&str>(&[None; 6])).unwrap();
        assert!(e(&a, "void").contains("no cell has a label"));
        assert!(e(&a.take_obs(&[]), "kind").contains("no cells"));
    }
}
