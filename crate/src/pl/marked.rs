//! [`Marked`]: genes × groups of cells with the options that all of their figures share (dot
//! plots, matrix plots, stacked violins, heat maps, tracks), and what comes of both.

use super::genes::Genes;
use super::grouping::Grouping;
use super::heat::{Bracket, Edge, Totals};
use super::keys::Key;
use super::norm::Norm;
use super::points::again;
use super::stored_tree::StoredTree;
use super::table::{GroupTable, StandardScale};
use super::tree::Tree;
use crate::anndata::{AnnData, Frame, Value};
use crate::error::{Error, Result};
use ndarray::Array2;
use std::borrow::Cow;
use std::sync::Arc;

/// What a figure keeps of the data, and its options.
#[derive(Debug, Clone)]
pub(super) struct Marked {
    source: Arc<Result<Source>>,
    pub options: Options,
}

#[derive(Debug)]
struct Source {
    genes: Vec<String>,
    brackets: Vec<Bracket>,
    /// Cells × different genes, and the column of each gene.
    values: Vec<f64>,
    slots: Vec<usize>,
    keys: Vec<Key>,
    /// The columns of `obs` that make the groups, and their colours and dendrograms.
    about: AnnData,
}

/// Which dendrogram a figure has.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Dendrogram {
    None,
    /// The usual one, if it is there.
    IfThere,
    /// The usual one.
    Usual,
    Key(String),
}

#[derive(Debug, Clone)]
pub(super) struct Options {
    pub categories_order: Option<Vec<String>>,
    pub num_categories: usize,
    pub log: bool,
    pub standard_scale: Result<StandardScale, String>,
    pub dendrogram: Dendrogram,
    pub totals: Option<Option<String>>,
    pub swap_axes: bool,
    pub cmap: String,
    pub norm: Norm,
    pub colorbar_title: Option<String>,
    pub legend: bool,
}

impl Marked {
    pub fn new(adata: &AnnData, genes: Genes, keys: Vec<Key>, cmap: &str) -> Marked {
        let source = Source::new(adata, &genes, keys);
        Marked {
            source: Arc::new(source),
            options: Options {
                categories_order: None,
                num_categories: 7,
                log: false,
                standard_scale: Ok(StandardScale::None),
                dendrogram: Dendrogram::None,
                totals: None,
                swap_axes: false,
                cmap: cmap.into(),
                norm: Norm::default(),
                colorbar_title: None,
                legend: true,
            },
        }
    }

    /// A figure that cannot be drawn for that reason.
    pub fn failed(error: Error, cmap: &str) -> Marked {
        let mut m = Marked::new(&AnnData::default(), Genes::default(), Vec::new(), cmap);
        m.source = Arc::new(Err(error));
        m
    }

    /// One line that says what is shown.
    pub fn describe(&self, what: &str) -> String {
        match self.source.as_ref() {
            Ok(s) => {
                let by = s.keys.iter().map(Key::name).collect::<Vec<_>>().join(", ");
                let by = if by.is_empty() { by } else { format!(" by {by}") };
                let left = Grouping::of(&s.about, &s.keys, self.options.num_categories)
                    .map_or(0, |g| g.without());
                let left = if left > 0 {
                    format!(" ({left} of {} cells have no label and are left out)", s.about.n_obs())
                } else {
                    String::new()
                };
                format!("{what} of {} genes{by}{left}", s.genes.len())
            }
            Err(e) => format!("figure that cannot be drawn: {e}"),
        }
    }

    /// The data with the options applied.
    pub fn view(&self) -> Result<View<'_>> {
        let s = self.source.as_ref().as_ref().map_err(again)?;
        let o = &self.options;
        let groups = Grouping::of(&s.about, &s.keys, o.num_categories)?;
        let mut order = match &o.categories_order {
            Some(wanted) => groups.order(wanted)?,
            None => (0..groups.len()).collect(),
        };
        let stored = match &o.dendrogram {
            Dendrogram::None => None,
            Dendrogram::Usual => Some(StoredTree::read(&s.about, None, &groups.columns)?),
            Dendrogram::Key(key) => Some(StoredTree::read(&s.about, Some(key), &groups.columns)?),
            Dendrogram::IfThere => StoredTree::read(&s.about, None, &groups.columns)
                .ok()
                .filter(|t| t.order(&groups.names, &groups.columns).is_ok()),
        };
        if let Some(tree) = &stored {
            order = tree.order(&groups.names, &groups.columns)?;
        }
        if let Some(Some(sort)) = &o.totals {
            let size = |&g: &usize| groups.sizes[g];
            match sort.as_str() {
                _ if matches!(o.dendrogram, Dendrogram::Usual | Dendrogram::Key(_)) => {
                    let reason =
                        "groups stand in the order of the dendrogram: leave one of them off";
                    return Err(Error::parameter("add_totals", sort, reason));
                }
                "ascending" => order.sort_by_key(size),
                "descending" => order.sort_by_key(|g| std::cmp::Reverse(size(g))),
                _ => {
                    let reason = "is neither ascending nor descending";
                    return Err(Error::parameter("add_totals", sort, reason));
                }
            }
        }
        let sorted = matches!(&o.totals, Some(Some(_)));
        let (columns, brackets) = s.arranged(&groups, &order, stored.is_some());
        let values = if o.log {
            Cow::Owned(s.values.iter().map(|v| v.ln_1p()).collect())
        } else {
            Cow::Borrowed(s.values.as_slice())
        };
        if o.log && s.values.iter().any(|&v| v < -1.0) {
            let reason = "there are values below -1, which have no logarithm of 1 + value";
            return Err(Error::parameter("log", true, reason));
        }
        let scale = o.standard_scale.clone().map_err(|name| {
            Error::parameter("standard_scale", name, "is neither var, group nor obs")
        })?;
        let slots: Vec<usize> = columns.iter().map(|&c| s.slots[c]).collect();
        Ok(View {
            width: s.slots.iter().max().map_or(0, |m| m + 1),
            genes: columns.iter().map(|&c| s.genes[c].clone()).collect(),
            brackets,
            values,
            slots,
            order,
            scale,
            tree: stored.map(|t| t.tree).filter(|_| !sorted),
            groups,
        })
    }
}

impl Source {
    fn new(adata: &AnnData, genes: &Genes, keys: Vec<Key>) -> Result<Source> {
        let (values, slots) = genes.values(adata)?;
        let mut obs = Frame::with_len(adata.n_obs());
        for key in &keys {
            obs.insert(key.name(), key.obs_column(adata)?)?;
        }
        let wanted = |(name, value): &(&String, &Value)| {
            value.at(&["linkage"]).is_some()
                || keys.iter().any(|k| **name == format!("{}_colors", k.name()))
        };
        let uns = adata.uns.iter().filter(wanted).map(|(k, v)| (k.clone(), v.clone())).collect();
        let keys = keys.iter().map(|k| Key::new(k.name())).collect();
        Ok(Source {
            genes: genes.names().to_vec(),
            brackets: genes.brackets()?,
            values,
            slots,
            keys,
            about: AnnData { obs, uns, ..AnnData::default() },
        })
    }

    /// The genes' order and brackets: where there is a dendrogram and each group of cells has its
    /// genes, in the order of the tree.
    fn arranged(
        &self,
        groups: &Grouping,
        order: &[usize],
        tree: bool,
    ) -> (Vec<usize>, Vec<Bracket>) {
        let n = self.genes.len();
        let of = |name: &String| self.brackets.iter().find(|b| b.text == *name);
        let all = self.brackets.iter().all(|b| groups.names.contains(&b.text));
        if !tree || !all || self.brackets.is_empty() || groups.names.iter().any(|g| of(g).is_none())
        {
            return ((0..n).collect(), self.brackets.clone());
        }
        let (mut columns, mut brackets) = (Vec::new(), Vec::new());
        for &g in order {
            let Some(b) = of(&groups.names[g]) else { continue };
            let from = columns.len();
            columns.extend(b.from..=b.to);
            brackets.push(Bracket { from, to: columns.len() - 1, text: b.text.clone() });
        }
        (columns, brackets)
    }
}

/// What is to be drawn: genes and groups in their order.
pub(super) struct View<'a> {
    pub genes: Vec<String>,
    pub brackets: Vec<Bracket>,
    /// Cells × different genes.
    pub values: Cow<'a, [f64]>,
    pub width: usize,
    /// For each gene shown its column of `values`.
    pub slots: Vec<usize>,
    pub groups: Grouping,
    /// The groups in the order of drawing.
    pub order: Vec<usize>,
    pub scale: StandardScale,
    pub tree: Option<Tree>,
}

impl View<'_> {
    /// A table of all groups × different genes in the order of drawing.
    pub fn table(&self, numbers: &[f64]) -> GroupTable {
        let at = |(r, c): (usize, usize)| numbers[self.order[r] * self.width + self.slots[c]];
        GroupTable {
            groups: self.group_names(),
            genes: self.genes.clone(),
            values: Array2::from_shape_fn((self.order.len(), self.slots.len()), at),
        }
    }

    pub fn group_names(&self) -> Vec<String> {
        self.order.iter().map(|&g| self.groups.names[g].clone()).collect()
    }

    /// Rows and columns with groups in cells of one size; `cell` is width and height where the
    /// frame leaves them open.
    pub fn edges(&self, options: &Options, cell: (f64, f64)) -> (Edge, Edge) {
        let cells = if options.swap_axes { (cell.1, cell.0) } else { cell };
        let (group_cell, gene_cell) =
            if options.swap_axes { (cells.0, cells.1) } else { (cells.1, cells.0) };
        let mut groups = Edge::named(&self.group_names(), group_cell).with_tree(self.tree.clone());
        if options.totals.is_some() {
            groups.totals = Some(Totals {
                heights: self.order.iter().map(|&g| self.groups.sizes[g] as f64).collect(),
                colors: self.order.iter().map(|&g| self.groups.colors[g]).collect(),
            });
        }
        let mut genes = Edge::named(&self.genes, gene_cell);
        genes.brackets = self.brackets.clone();
        self.turned(options, groups, genes)
    }

    /// Groups as rows and genes as columns, or the other way.
    pub fn turned(&self, options: &Options, groups: Edge, genes: Edge) -> (Edge, Edge) {
        if options.swap_axes { (genes, groups) } else { (groups, genes) }
    }
}

/// Width of a gene's column (or height of its row): less where there are many.
pub(super) fn gene_cell(n: usize, most: f64) -> f64 {
    (620.0 / n.max(1) as f64).clamp(12.5, most)
}

/// The options that figures of groups share, for one type of figure whose field `marked` is a
/// [`Marked`].
macro_rules! group_options {
    ($plot:ty) => {
        impl crate::pl::Figure<$plot> {
            fn set(mut self, change: impl FnOnce(&mut crate::pl::marked::Options)) -> Self {
                change(&mut self.plot.marked.options);
                self
            }

            /// The groups from first to last; every group must be named.
            pub fn categories_order<S: ToString>(self, order: impl IntoIterator<Item = S>) -> Self {
                let order = order.into_iter().map(|g| g.to_string()).collect();
                self.set(|o| o.categories_order = Some(order))
            }

            /// Into how many intervals a `groupby` column of numbers is cut (7 by default).
            pub fn num_categories(self, n: usize) -> Self {
                self.set(|o| o.num_categories = n)
            }

            /// Shows the logarithm of 1 + value.
            pub fn log(self, on: bool) -> Self {
                self.set(|o| o.log = on)
            }

            /// Whether there is the dendrogram of `uns["dendrogram_<groupby>"]`, which
            /// `tl::dendrogram` writes; groups stand in its order, and so do the genes where each
            /// group has its own.
            pub fn dendrogram(self, on: bool) -> Self {
                use crate::pl::marked::Dendrogram;
                self.set(|o| o.dendrogram = if on { Dendrogram::Usual } else { Dendrogram::None })
            }

            /// Shows the dendrogram of that key of `uns`.
            pub fn dendrogram_key(self, key: impl Into<String>) -> Self {
                self.set(|o| o.dendrogram = crate::pl::marked::Dendrogram::Key(key.into()))
            }

            /// Whether there are keys of colours and sizes (on by default).
            pub fn legend(self, on: bool) -> Self {
                self.set(|o| o.legend = on)
            }
        }
    };
}

/// The options of colour scales; see [`group_options`].
macro_rules! scale_options {
    ($plot:ty) => {
        impl crate::pl::Figure<$plot> {
            /// Stretches numbers to the range from 0 to 1: by gene (`"var"`) or by group
            /// (`"group"`; where single cells are shown, by cell, `"obs"`). What does not vary
            /// becomes 0.
            pub fn standard_scale(self, by: &str) -> Self {
                let scale = crate::pl::table::StandardScale::try_from(by);
                self.set(|o| o.standard_scale = scale.map_err(|_| by.to_string()))
            }

            /// Colour map: a name of [`cmap_names`](crate::pl::cmap_names), `_r` reverses it.
            pub fn cmap(self, name: impl Into<String>) -> Self {
                self.set(|o| o.cmap = name.into())
            }

            /// Low end of the colour scale: a number, or a percentile such as `"p1"`.
            pub fn vmin(self, limit: impl Into<crate::pl::Limit>) -> Self {
                self.set(|o| o.norm.vmin = Some(limit.into()))
            }

            /// High end of the colour scale: a number, or a percentile such as `"p99"`.
            pub fn vmax(self, limit: impl Into<crate::pl::Limit>) -> Self {
                self.set(|o| o.norm.vmax = Some(limit.into()))
            }

            /// The number at the middle of the colour map.
            pub fn vcenter(self, center: impl Into<f64>) -> Self {
                self.set(|o| o.norm.vcenter = Some(center.into()))
            }

            /// Whether the scale reaches as far below its centre (0 without one) as above it.
            pub fn symmetric(self, on: bool) -> Self {
                self.set(|o| o.norm.symmetric = on)
            }

            /// Title of the colour bar; `\n` breaks the line.
            pub fn colorbar_title(self, title: impl Into<String>) -> Self {
                self.set(|o| o.colorbar_title = Some(title.into()))
            }

            /// Whether genes are rows and groups are columns.
            pub fn swap_axes(self, on: bool) -> Self {
                self.set(|o| o.swap_axes = on)
            }
        }
    };
}

/// Bars of the groups' sizes; see [`group_options`].
macro_rules! totals_option {
    ($plot:ty) => {
        impl crate::pl::Figure<$plot> {
            /// Adds a bar with the number of cells of each group; `"ascending"` or
            /// `"descending"` sorts the groups by it, `None` leaves them where they are.
            pub fn add_totals<'a>(self, sort: impl Into<Option<&'a str>>) -> Self {
                let sort = sort.into().map(str::to_string);
                self.set(|o| o.totals = Some(sort))
            }
        }
    };
}

pub(super) use {group_options, scale_options, totals_option};
