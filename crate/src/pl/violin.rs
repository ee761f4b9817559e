//! [`violin`]: the distribution of quantities in groups, with tests between them.

use super::axis::Axis;
use super::canvas::Canvas;
use super::chart_items::{Item, LEVEL, Tint};
use super::charts::{Panel, Sheet};
use super::figure::{Figure, Frame, Plot};
use super::kde::{Density, Summary};
use super::keys::{Key, Keys, Paint};
use super::palette::{Color, Palette, default_colors};
use super::points::again;
use super::stacked_violin::DensityNorm;
use super::violin_tests::{Adjust, Comparison, Pairs, footnote, said, tested};
use crate::anndata::{AnnData, Categorical, Value};
use crate::error::{Error, Result};
use crate::rng;
use rayon::prelude::*;
use std::sync::Arc;

/// Distributions of quantities, by groups; see [`violin`].
#[derive(Debug, Clone)]
pub struct Violin {
    data: Result<Arc<Data>, Arc<Error>>,
    options: Options,
}

#[derive(Debug)]
struct Data {
    groupby: Option<String>,
    /// The group of each observation.
    groups: Categorical,
    stored: Option<Vec<String>>,
    keys: Vec<(String, Vec<f64>)>,
}

#[derive(Debug, Clone)]
struct Options {
    order: Option<Vec<String>>,
    palette: Palette,
    log: bool,
    strip: bool,
    jitter: f64,
    size: f64,
    inner: bool,
    cut: f64,
    adjust: f64,
    norm: DensityNorm,
    rotation: Option<f64>,
    multi_panel: bool,
    columns: Option<usize>,
    xlabel: Option<String>,
    ylabel: Option<String>,
    seed: u64,
    pairs: Option<Pairs>,
    correction: String,
    numbers: bool,
}

/// Violins of columns of `obs` or of genes, one for each category of `obs[groupby]`; with `None`
/// one for each key. scanpy's `pl.violin`, with the groups' boxes and, on request, tests between
/// groups ([`compare`](Figure::compare), [`compare_neighbours`](Figure::compare_neighbours)).
///
/// The shape is a Gaussian kernel estimate with Scott's bandwidth within the range of the values,
/// as seaborn's for scanpy; a group with one value or equal values is a line. Values that are not
/// finite, and observations without a group, are left out. Reads `obs`, for genes `raw` or `X`, and
/// `uns["<groupby>_colors"]`.
///
/// ```
/// use spatialkit::{datasets, pl};
/// let slide = datasets::synthetic(&datasets::Synthetic::default().n_genes(50))?;
/// let figure = pl::violin(&slide, "MBP", "layer").compare_neighbours().correction("bh");
/// assert_eq!(figure.pvalues()?.len(), 6);
/// assert!(figure.to_png().is_ok());
/// # Ok::<(), spatialkit::Error>(())
/// ```
pub fn violin<'a>(
    adata: &AnnData,
    keys: impl Keys,
    groupby: impl Into<Option<&'a str>>,
) -> Figure<Violin> {
    let data = read(adata, &keys.keys(), groupby.into());
    let options = Options {
        order: None,
        palette: Palette::Default,
        log: false,
        strip: true,
        jitter: 0.1,
        size: 1.5,
        inner: true,
        cut: 0.0,
        adjust: 1.0,
        norm: DensityNorm::Width,
        rotation: None,
        multi_panel: false,
        columns: None,
        xlabel: None,
        ylabel: None,
        seed: 0,
        pairs: None,
        correction: "bh".into(),
        numbers: false,
    };
    Figure::new(Violin { data: data.map(Arc::new).map_err(Arc::new), options })
}

fn read(adata: &AnnData, keys: &[Key], groupby: Option<&str>) -> Result<Data> {
    if keys.is_empty() {
        return Err(Error::parameter("keys", "()", "needs at least one column of obs or gene"));
    }
    let numbers = |key: &Key| match Paint::of(adata, key)? {
        Paint::Numbers(v) => Ok((key.name().to_string(), v)),
        Paint::Labels { .. } => {
            let what = format!("`{}`", key.name());
            Err(Error::data(what, "holds categories; a violin needs numbers"))
        }
    };
    let keys: Vec<(String, Vec<f64>)> = keys.iter().map(numbers).collect::<Result<_>>()?;
    let (groups, stored) = match groupby {
        Some(name) => {
            let stored = match adata.uns.get(&format!("{name}_colors")) {
                Some(Value::StrArray { values, .. }) => Some(values.clone()),
                _ => None,
            };
            (adata.obs_column(name)?.to_categorical(), stored)
        }
        None => (Categorical::from_numbers(&vec![0; adata.n_obs()]), None),
    };
    Ok(Data { groupby: groupby.map(String::from), groups, stored, keys })
}

/// The violins of one panel: a name, a colour and the finite values of each.
struct Groups {
    names: Vec<String>,
    colors: Vec<Color>,
    values: Vec<Vec<f64>>,
}

impl Violin {
    fn data(&self) -> Result<&Data> {
        self.data.as_deref().map_err(|e| again(e))
    }

    /// The categories shown, in order.
    fn shown(&self, data: &Data) -> Result<Vec<usize>> {
        let names = &data.groups.categories;
        let Some(order) = &self.options.order else {
            let mut used = vec![false; names.len()];
            for &code in &data.groups.codes {
                if let Some(u) = usize::try_from(code).ok().and_then(|c| used.get_mut(c)) {
                    *u = true;
                }
            }
            return Ok((0..names.len()).filter(|&c| used[c]).collect());
        };
        if let Some(k) = (1..order.len()).find(|&k| order[..k].contains(&order[k])) {
            return Err(Error::parameter("order", &order[k], "is named twice"));
        }
        let find = |name: &String| {
            let absent = || Error::missing_key("order", "category", name, names);
            names.iter().position(|n| n == name).ok_or_else(absent)
        };
        order.iter().map(find).collect()
    }

    /// The panels' violins.
    fn groups(&self) -> Result<Vec<(String, Groups)>> {
        let data = self.data()?;
        let finite = |v: &&f64| v.is_finite();
        if data.groupby.is_none() {
            let n = data.keys.len();
            let colors = self
                .options
                .palette
                .resolve(&data.keys.iter().map(|k| k.0.clone()).collect::<Vec<_>>(), None)?;
            let color = |k: usize| colors[k].unwrap_or(default_colors(n)[k]);
            let one = |k: usize| Groups {
                names: vec![data.keys[k].0.clone()],
                colors: vec![color(k)],
                values: vec![data.keys[k].1.iter().filter(finite).copied().collect()],
            };
            if self.options.multi_panel {
                // The key is the panel's title.
                let unnamed = |k: usize| Groups { names: vec![String::new()], ..one(k) };
                return Ok((0..n).map(|k| (data.keys[k].0.clone(), unnamed(k))).collect());
            }
            let mut all = Groups { names: Vec::new(), colors: Vec::new(), values: Vec::new() };
            for group in (0..n).map(one) {
                all.names.extend(group.names);
                all.colors.extend(group.colors);
                all.values.extend(group.values);
            }
            return Ok(vec![("value".into(), all)]);
        }
        let shown = self.shown(data)?;
        if shown.is_empty() {
            let what = format!("obs[\"{}\"]", data.groupby.as_deref().unwrap_or_default());
            return Err(Error::data(what, "no observation belongs to a category"));
        }
        let names = &data.groups.categories;
        let palette = self.options.palette.resolve(names, data.stored.as_deref())?;
        let colors: Vec<Color> =
            shown.iter().map(|&c| palette[c].unwrap_or(Color::rgb(0xb0, 0xb0, 0xb0))).collect();
        let mut slot = vec![usize::MAX; names.len()];
        shown.iter().enumerate().for_each(|(k, &c)| slot[c] = k);
        let panel = |(key, numbers): &(String, Vec<f64>)| {
            let mut values = vec![Vec::new(); shown.len()];
            for (&code, &v) in data.groups.codes.iter().zip(numbers) {
                let k = usize::try_from(code).ok().and_then(|c| slot.get(c).copied());
                if let Some(group) = k.and_then(|k| values.get_mut(k)).filter(|_| v.is_finite()) {
                    group.push(v);
                }
            }
            let names = shown.iter().map(|&c| names[c].clone()).collect();
            (key.clone(), Groups { names, colors: colors.clone(), values })
        };
        Ok(data.keys.iter().map(panel).collect())
    }

    fn comparisons(&self, key: &str, groups: &Groups) -> Result<Vec<Comparison>> {
        let Some(pairs) = &self.options.pairs else { return Ok(Vec::new()) };
        let adjust = Adjust::named(&self.options.correction)?;
        tested(key, &groups.names, &groups.values, pairs, adjust)
    }

    fn sheet(&self) -> Result<Sheet> {
        let o = &self.options;
        for (name, value) in [("cut", o.cut), ("jitter", o.jitter)] {
            if !(0.0..=10.0).contains(&value) {
                return Err(Error::parameter(name, value, "must be between 0 and 10"));
            }
        }
        for (name, value) in [("bw_adjust", o.adjust), ("point_size", o.size)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::parameter(name, value, "must be a positive number"));
            }
        }
        if let Some(angle) = o.rotation.filter(|a| *a != 0.0 && *a != 90.0) {
            return Err(Error::parameter("rotation", angle, "must be 0 or 90"));
        }
        let data = self.data()?;
        let mut hidden = 0;
        let mut panels = Vec::new();
        let mut any = false;
        for (k, (key, groups)) in self.groups()?.iter().enumerate() {
            let comparisons = self.comparisons(key, groups)?;
            any |= !comparisons.is_empty();
            let mut panel = self.panel(k, key, groups, &comparisons)?;
            if o.log {
                hidden += groups.values.iter().flatten().filter(|v| **v <= 0.0).count();
            }
            let several = data.keys.len() > 1 && (data.groupby.is_some() || o.multi_panel);
            let title = o.ylabel.clone().unwrap_or_else(|| key.clone());
            panel.title = several.then(|| key.clone());
            panel.ylabel = match (&o.ylabel, several) {
                (None, true) => String::new(),
                _ => title,
            };
            panel.xlabel = match &o.xlabel {
                Some(label) => label.clone(),
                None => data.groupby.clone().unwrap_or_default().replace('_', " "),
            };
            panels.push(panel);
        }
        let mut sheet = Sheet::new(panels);
        sheet.columns = o.columns;
        sheet.upright = o.rotation.map(|a| a == 90.0);
        let mut notes = Vec::new();
        if any {
            notes.push(footnote(&Adjust::named(&o.correction)?, o.numbers));
        }
        if hidden > 0 {
            notes.push(format!("{hidden} values at or below 0 are not on the logarithmic axis"));
        }
        sheet.note = (!notes.is_empty()).then(|| notes.join("; "));
        Ok(sheet)
    }

    fn panel(
        &self,
        k: usize,
        key: &str,
        groups: &Groups,
        comparisons: &[Comparison],
    ) -> Result<Panel> {
        let o = &self.options;
        let usable = |v: &f64| !o.log || *v > 0.0;
        if !groups.values.iter().flatten().any(usable) {
            let positive = if o.log { " above 0" } else { "" };
            return Err(Error::data(format!("`{key}`"), format!("has no finite value{positive}")));
        }
        let density = |v: &Vec<f64>| Density::of(v, o.adjust, o.cut);
        let densities: Vec<Option<Density>> = groups.values.par_iter().map(density).collect();
        let widths = self.widths(groups, &densities);
        let ends = densities
            .iter()
            .flatten()
            .flat_map(|d| [d.points[0].0, d.points[d.points.len() - 1].0]);
        let all: Vec<f64> = groups.values.iter().flatten().copied().chain(ends).collect();
        let y = Axis::new("ylim", all.into_iter().filter(usable), None, o.log, 0.04)?;
        let mut panel = Panel::new(Axis::of_names(&groups.names), y);
        let levels = comparisons.iter().map(|c| c.level + 1).max().unwrap_or(0);
        panel.head = if levels > 0 { levels as f64 * LEVEL + 8.0 } else { 0.0 };
        for (g, values) in groups.values.iter().enumerate() {
            let at = g as f64;
            if let Some(density) = &densities[g] {
                let points = density.points.iter().filter(|p| usable(&p.0));
                let half = |p: &(f64, f64)| 0.4 * widths[g] * p.1 / density.highest;
                let left = points.clone().map(|p| (at - half(p), p.0));
                let right = points.clone().rev().map(|p| (at + half(p), p.0));
                panel.items.push(Item::Shape {
                    at: left.chain(right).collect(),
                    tint: Tint::Is(groups.colors[g].with_alpha(0.8)),
                    rim: Some((1.0, Tint::Faint(0.65))),
                });
            } else if let Some(&v) = values.first().filter(|v| usable(v)) {
                let at = vec![(at - 0.3, v), (at + 0.3, v)];
                let tint = Tint::Is(groups.colors[g]);
                panel.items.push(Item::Curve { at, width: 2.5, tint, dash: None });
            }
            if o.strip {
                let seed = rng::hash(&format!("{} {k} {g}", o.seed));
                let place = |(i, &v): (usize, &f64)| {
                    let u = rng::unit(rng::at(seed, i as u64));
                    (at + (2.0 * u - 1.0) * o.jitter, v)
                };
                let at = values.iter().enumerate().map(place).filter(|p| usable(&p.1)).collect();
                let tint = Tint::Faint(if values.len() > 2000 { 0.35 } else { 0.6 });
                panel.items.push(Item::Points { at, radius: o.size / 2.0, tint });
            }
            if let (true, Some(summary)) = (o.inner, Summary::of(values)) {
                let half = 0.035 * (groups.names.len() as f64 / 5.0).min(1.0);
                boxed(&mut panel, at, half, &summary, o.log);
            }
        }
        for c in comparisons {
            let (from, to) = (c.places.0 as f64, c.places.1 as f64);
            // A hair apart, so that neighbouring brackets are two.
            let (from, to) = (from + 0.06, to - 0.06);
            let text = said(c, o.numbers);
            panel.items.push(Item::Bracket { from, to, level: c.level, text });
        }
        Ok(panel)
    }

    /// How wide each violin is, as a part of the widest there can be.
    fn widths(&self, groups: &Groups, densities: &[Option<Density>]) -> Vec<f64> {
        let highest = densities.iter().flatten().map(|d| d.highest).fold(0.0, f64::max);
        let most = groups.values.iter().map(Vec::len).max().unwrap_or(1).max(1) as f64;
        let width = |(d, v): (&Option<Density>, &Vec<f64>)| match self.options.norm {
            DensityNorm::Width => 1.0,
            DensityNorm::Area => d.as_ref().map_or(1.0, |d| d.highest / highest),
            DensityNorm::Count => v.len() as f64 / most,
        };
        densities.iter().zip(&groups.values).map(width).collect()
    }
}

/// A narrow box with whiskers and a light median.
fn boxed(panel: &mut Panel, at: f64, half: f64, summary: &Summary, log: bool) {
    let [low, median, high] = summary.quartiles;
    let [bottom, top] = summary.whiskers;
    if log && bottom <= 0.0 {
        return;
    }
    let curve = |a: f64, b: f64, width: f64, tint: Tint| Item::Curve {
        at: vec![(at, a), (at, b)],
        width,
        tint,
        dash: None,
    };
    let dark = Tint::Is(Color::rgb(0x26, 0x26, 0x26));
    panel.items.push(curve(bottom, top, 1.2, dark));
    panel.items.push(Item::Box {
        from: (at - half, low),
        to: (at + half, high),
        tint: dark,
        rim: Some((1.0, dark)),
    });
    let white = Tint::Is(Color::rgb(255, 255, 255));
    panel.items.push(Item::Points { at: vec![(at, median)], radius: 2.2, tint: white });
}

impl Figure<Violin> {
    fn set(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.plot.options);
        self
    }

    /// Shows these categories, in this order; each may be named once.
    pub fn order<S: ToString>(self, names: impl IntoIterator<Item = S>) -> Self {
        let names = names.into_iter().map(|n| n.to_string()).collect();
        self.set(|o| o.order = Some(names))
    }

    /// Colours of the categories; see [`Palette`].
    pub fn palette(self, palette: impl Into<Palette>) -> Self {
        self.set(|o| o.palette = palette.into())
    }

    /// Whether the axis of the values is logarithmic. The shapes stay those of the values; what is
    /// not above 0 is not shown, and a note says how many values that are.
    pub fn log(self, on: bool) -> Self {
        self.set(|o| o.log = on)
    }

    /// Whether every value is drawn as a point (on by default).
    pub fn stripplot(self, on: bool) -> Self {
        self.set(|o| o.strip = on)
    }

    /// How far points are moved aside at most, in the distance of neighbouring violins (0.1 by
    /// default).
    pub fn jitter(self, width: f64) -> Self {
        self.set(|o| o.jitter = width)
    }

    /// Diameter of the points in CSS pixels (scanpy's `size`).
    pub fn point_size(self, diameter: f64) -> Self {
        self.set(|o| o.size = diameter)
    }

    /// Seed of the points' places.
    pub fn seed(self, seed: u64) -> Self {
        self.set(|o| o.seed = seed)
    }

    /// Whether there is a box with the quartiles in each violin (on by default).
    pub fn inner_box(self, on: bool) -> Self {
        self.set(|o| o.inner = on)
    }

    /// How many bandwidths the shapes reach beyond the values (0 by default, as scanpy's).
    pub fn cut(self, bandwidths: f64) -> Self {
        self.set(|o| o.cut = bandwidths)
    }

    /// Makes the bandwidth that many times Scott's.
    pub fn bw_adjust(self, factor: f64) -> Self {
        self.set(|o| o.adjust = factor)
    }

    /// What the width of a violin stands for (by default nothing: all are equally wide, as
    /// scanpy's).
    pub fn density_norm(self, norm: DensityNorm) -> Self {
        self.set(|o| o.norm = norm)
    }

    /// Whether names stand upright: 90 or 0 (by default where they would touch).
    pub fn rotation(self, degrees: impl Into<f64>) -> Self {
        let degrees = degrees.into();
        self.set(|o| o.rotation = Some(degrees))
    }

    /// Without groups: a panel with an axis of its own for each key.
    pub fn multi_panel(self, on: bool) -> Self {
        self.set(|o| o.multi_panel = on)
    }

    /// Panels in a row.
    pub fn ncols(self, columns: usize) -> Self {
        self.set(|o| o.columns = Some(columns))
    }

    /// Label below the groups.
    pub fn xlabel(self, label: impl Into<String>) -> Self {
        self.set(|o| o.xlabel = Some(label.into()))
    }

    /// Label of the values.
    pub fn ylabel(self, label: impl Into<String>) -> Self {
        self.set(|o| o.ylabel = Some(label.into()))
    }

    /// Tests these pairs of groups and draws a bracket over each: two-sided Mann–Whitney tests
    /// (normal approximation with ties and continuity correction, as scipy's
    /// `mannwhitneyu(method="asymptotic")`), corrected over the pairs of a panel. `ns` is a p-value
    /// above 0.05, `*` one at most 0.05, `**` 0.01, `***` 0.001, `****` 0.0001; `n/a` stands where
    /// a group is empty or nothing varies. The figure's last line names test and correction.
    pub fn compare<A: ToString, B: ToString>(
        self,
        pairs: impl IntoIterator<Item = (A, B)>,
    ) -> Self {
        let pairs = pairs.into_iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
        self.set(|o| o.pairs = Some(Pairs::These(pairs)))
    }

    /// [`compare`](Self::compare) for every pair of neighbouring groups.
    pub fn compare_neighbours(self) -> Self {
        self.set(|o| o.pairs = Some(Pairs::Neighbours))
    }

    /// How p-values are corrected for the number of pairs: `"bh"` (Benjamini–Hochberg, the
    /// default), `"bonferroni"` or `"none"`.
    pub fn correction(self, name: impl Into<String>) -> Self {
        self.set(|o| o.correction = name.into())
    }

    /// Whether brackets carry p-values instead of stars.
    pub fn pvalue_numbers(self, on: bool) -> Self {
        self.set(|o| o.numbers = on)
    }

    /// The tests that the figure shows.
    ///
    /// # Errors
    /// The reason why the figure cannot be drawn.
    pub fn pvalues(&self) -> Result<Vec<Comparison>> {
        let mut all = Vec::new();
        for (key, groups) in self.plot.groups()? {
            all.extend(self.plot.comparisons(&key, &groups)?);
        }
        Ok(all)
    }
}

impl Plot for Violin {
    fn describe(&self) -> String {
        match self.data() {
            Ok(data) => {
                let names: Vec<&str> = data.keys.iter().map(|k| k.0.as_str()).collect();
                let by = data.groupby.as_ref().map_or(String::new(), |g| format!(" by {g}"));
                format!("violins of {}{by}", names.join(", "))
            }
            Err(e) => format!("figure that cannot be drawn: {e}"),
        }
    }

    fn size(&self, frame: &Frame) -> Result<(f64, f64)> {
        self.sheet()?.size(frame)
    }

    fn draw(&self, canvas: &mut Canvas, frame: &Frame) -> Result<()> {
        self.sheet()?.draw(canvas, frame)
    }
}
