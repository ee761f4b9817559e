//! [`compare_gene_maps`]: several methods side by side, over all spots and over the hidden ones.

use super::scores::{GeneMapScores, ScoreGeneMap, shown};
use super::{chosen, expression};
use crate::anndata::{AnnData, Frame, Select};
use crate::error::Result;
use crate::notebook::{Bundle, Rich, escape_html, shows_itself};
use std::fmt;

/// One method's scores.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparedMap {
    /// The name of the method.
    pub method: String,
    /// Over all spots, those that it was fitted to included.
    pub all: GeneMapScores,
    /// Over the spots that were hidden from it.
    pub hidden: GeneMapScores,
}

/// Scores of several methods. It shows itself as a table with one row a method.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GeneMapComparison {
    /// The methods, in the order in which they were added.
    pub methods: Vec<ComparedMap>,
}

/// Compares the predicted gene maps in several layers (`X` for the main matrix) with the measured
/// one, X or the layer that the options name: over all spots, as papers publish it, and over the
/// `hidden` spots alone, which none of the methods must have seen. The options' own choice of spots
/// does not matter here.
///
/// ```no_run
/// # use spatialkit::{anndata::AnnData, tl};
/// # let mut map = AnnData::default();
/// // A model's map in X, what was measured in a layer.
/// let hidden = map.obs.mask_by("training", |trained| trained == 0.0)?;
/// tl::interpolate_genes(&mut map, &hidden, tl::Interpolate::inverse_distance().layer("measured"))?;
/// let options = tl::ScoreGeneMap::default().layer("measured");
/// println!("{}", tl::compare_gene_maps(&map, ["X", "idw"], &hidden, options)?);
/// # Ok::<(), spatialkit::Error>(())
/// ```
///
/// # Errors
/// As [`score_gene_map`](super::score_gene_map).
pub fn compare_gene_maps<S: AsRef<str>>(
    adata: &AnnData,
    layers: impl IntoIterator<Item = S>,
    hidden: impl Into<Select>,
    options: ScoreGeneMap,
) -> Result<GeneMapComparison> {
    let hidden = chosen(adata, hidden.into())?;
    let all = options.spots(..).on(adata)?;
    let hidden = all.clone().spots(hidden);
    let measured = all.measured(adata)?.to_array_f64();
    let mut out = GeneMapComparison::default();
    for layer in layers {
        let layer = layer.as_ref();
        let predicted = expression(adata, Some(layer))?.to_array_f64();
        let (measured, predicted) = (measured.view(), predicted.view());
        out.add(layer, all.score(measured, predicted)?, hidden.score(measured, predicted)?);
    }
    Ok(out)
}

/// The columns of a table.
const SCORES: [&str; 5] = ["pearson", "spot_pearson", "mse", "mae", "ssim"];

/// Their values.
fn means(s: &GeneMapScores) -> [f64; 5] {
    [s.mean_pearson(), s.mean_spot_pearson(), s.mean_mse(), s.mean_mae(), s.mean_ssim()]
}

impl GeneMapComparison {
    /// Adds a method.
    pub fn add(&mut self, method: impl Into<String>, all: GeneMapScores, hidden: GeneMapScores) {
        self.methods.push(ComparedMap { method: method.into(), all, hidden });
    }

    /// One row a method; columns `pearson`, `spot_pearson`, `mse`, `mae`, `ssim` over all spots, then
    /// the same with `_hidden` at the end: means over genes (over spots for `spot_pearson`).
    pub fn to_frame(&self) -> Frame {
        let mut table = Frame::new(self.methods.iter().map(|m| m.method.clone()).collect());
        for (i, name) in SCORES.into_iter().enumerate() {
            let all: Vec<f64> = self.methods.iter().map(|m| means(&m.all)[i]).collect();
            table.insert(name, all).expect("one number a method");
        }
        for (i, name) in SCORES.into_iter().enumerate() {
            let hidden: Vec<f64> = self.methods.iter().map(|m| means(&m.hidden)[i]).collect();
            table.insert(format!("{name}_hidden"), hidden).expect("one number a method");
        }
        table
    }

    /// What stands above either side, and the table as text with a line of headings.
    fn cells(&self) -> ([String; 2], Vec<Vec<String>>) {
        let first = self.methods.first();
        let heading = [
            format!("all {} spots", first.map_or(0, |m| m.all.n_spots)),
            format!("{} hidden spots", first.map_or(0, |m| m.hidden.n_spots)),
        ];
        let names = ["r by gene", "r by spot", "MSE", "MAE", "SSIM"].map(String::from);
        let mut rows = vec![[&["method".into()][..], &names, &names].concat()];
        rows.extend(self.methods.iter().map(|m| {
            let scores = means(&m.all).into_iter().chain(means(&m.hidden)).map(shown);
            std::iter::once(m.method.clone()).chain(scores).collect()
        }));
        (heading, rows)
    }
}

impl fmt::Display for GeneMapComparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (heading, rows) = self.cells();
        let first = rows.iter().map(|r| r[0].chars().count()).max().unwrap_or(0);
        // Five columns of nine characters and a space on either side.
        write!(f, "{:first$} │ {:<49} │ {}", "", heading[0], heading[1])?;
        for row in rows {
            write!(f, "\n{:<first$}", row[0])?;
            for side in row[1..].chunks(SCORES.len()) {
                write!(f, " │")?;
                side.iter().try_for_each(|cell| write!(f, " {cell:>9}"))?;
            }
        }
        Ok(())
    }
}

impl Rich for GeneMapComparison {
    fn bundle(&self) -> Result<Bundle> {
        let (heading, rows) = self.cells();
        let heads: String = heading
            .iter()
            .map(|h| {
                format!("<th colspan=\"{}\" style=\"text-align:center\">{h}</th>", SCORES.len())
            })
            .collect();
        let mut html = format!("<table><tr><th></th>{heads}</tr>");
        for (i, row) in rows.iter().enumerate() {
            let cell = |(c, text): (usize, &String)| {
                let tag = if i == 0 || c == 0 { "th" } else { "td" };
                format!("<{tag}>{}</{tag}>", escape_html(text))
            };
            let cells: String = row.iter().enumerate().map(cell).collect();
            html.push_str(&format!("<tr>{cells}</tr>"));
        }
        html.push_str("</table>");
        Ok(Bundle::new().text(self.to_string()).html(html))
    }
}
shows_itself!(GeneMapComparison);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tl::score_gene_map;
    use ndarray::Array2;

    fn slide() -> AnnData {
        let map = |shift: f64| {
            Array2::from_shape_fn((100, 3), |(i, j)| {
                ((i / 10 + i % 10 * (j + 1)) as f64 + shift).sin()
            })
        };
        let names = ["a", "b", "c"].map(String::from).to_vec();
        let mut adata = AnnData::new(map(0.0), Frame::with_len(100), Frame::new(names)).unwrap();
        let whole = |of: fn(i64) -> i64| (0..100).map(of).collect::<Vec<i64>>();
        adata.obs.insert("array_row", whole(|i| i / 10)).unwrap();
        adata.obs.insert("array_col", whole(|i| i % 10)).unwrap();
        adata.layers.insert("near".into(), map(0.1).into());
        adata.layers.insert("<far>".into(), map(1.0).into());
        adata
    }

    #[test]
    fn methods_stand_side_by_side_over_all_and_hidden_spots() {
        let adata = slide();
        let score = ScoreGeneMap::default;
        let table = compare_gene_maps(&adata, ["near", "<far>"], 10..90, score()).unwrap();
        let hidden = score_gene_map(&adata, "near", score().spots(10..90)).unwrap();
        let all = score_gene_map(&adata, "near", score()).unwrap();
        assert_eq!(means(&table.methods[0].hidden), means(&hidden));
        assert_eq!(means(&table.methods[0].all), means(&all));
        assert_eq!((table.methods[1].all.n_spots, table.methods[1].hidden.n_spots), (100, 80));
        let frame = table.to_frame();
        let column = |name: &str| frame.get(name).unwrap().to_f64().unwrap();
        assert_eq!(column("pearson_hidden")[0], hidden.mean_pearson());
        assert!(column("ssim")[0] > column("ssim")[1] && column("mse")[0] < column("mse")[1]);
        let text = table.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(
            lines[0].contains("all 100 spots") && lines[0].contains("80 hidden spots"),
            "{text}"
        );
        let bars = |line: &str| line.char_indices().filter(|c| c.1 == '│').count();
        assert!(lines.iter().all(|l| bars(l) == 2), "{text}");
        // X against a layer is the layer against X.
        let turned = score_gene_map(&adata, "X", score().layer("near")).unwrap();
        assert_eq!(turned.mse, all.mse);
        let html = table.bundle().unwrap().get("text/html").unwrap().to_string();
        assert!(html.contains("&lt;far&gt;") && !html.contains("<far>"));
    }

    #[test]
    fn without_coordinates_the_rest_is_scored() {
        let mut adata = slide();
        adata.obs.remove("array_row");
        let none: [&str; 0] = [];
        let e = compare_gene_maps(&adata, ["near"], 0..50, ScoreGeneMap::default());
        assert!(e.unwrap_err().to_string().contains("spatial"));
        let score = ScoreGeneMap::default().ssim(false);
        let table = compare_gene_maps(&adata, ["near"], 0..50, score.clone()).unwrap();
        assert!(table.to_string().contains('–'));
        let e = compare_gene_maps(&adata, ["no"], 0..50, score.clone()).unwrap_err().to_string();
        assert!(e.contains("layers has no entry `no`; it has: near, <far>"), "{e}");
        assert!(compare_gene_maps(&adata, none, 0..50, score).unwrap().methods.is_empty());
    }
}
