//! Tests between the groups of a [`violin`](super::violin): which pairs, which numbers, and how
//! they are said.

use crate::error::{Error, Result};
use crate::stats::{benjamini_hochberg, bonferroni, mann_whitney};

/// A test between two groups.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The quantity that was compared.
    pub key: String,
    /// The one group.
    pub first: String,
    /// The other group.
    pub second: String,
    /// The two-sided p-value of the Mann–Whitney test; NaN where a group is empty or nothing
    /// varies.
    pub p: f64,
    /// The p-value corrected for the number of pairs.
    pub adjusted: f64,
    /// Where the groups stand, the left one first.
    pub(super) places: (usize, usize),
    /// The level of the bracket.
    pub(super) level: usize,
}

/// Which pairs are tested.
#[derive(Debug, Clone)]
pub(super) enum Pairs {
    Neighbours,
    These(Vec<(String, String)>),
}

/// A correction for the number of tests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Adjust {
    BenjaminiHochberg,
    Bonferroni,
    Nothing,
}

impl Adjust {
    pub fn named(name: &str) -> Result<Self> {
        match name.to_lowercase().as_str() {
            "bh" | "benjamini-hochberg" | "fdr_bh" => Ok(Adjust::BenjaminiHochberg),
            "bonferroni" => Ok(Adjust::Bonferroni),
            "none" => Ok(Adjust::Nothing),
            _ => {
                let reason = "must be \"bh\", \"bonferroni\" or \"none\"";
                Err(Error::parameter("correction", name, reason))
            }
        }
    }
}

/// Tests the pairs among `names` and gives each a level so that no two brackets cross.
pub(super) fn tested(
    key: &str,
    names: &[String],
    values: &[Vec<f64>],
    pairs: &Pairs,
    adjust: Adjust,
) -> Result<Vec<Comparison>> {
    let find = |name: &String| {
        let absent = || Error::missing_key("pairs", "category", name, names);
        names.iter().position(|n| n == name).ok_or_else(absent)
    };
    let places: Vec<(usize, usize)> = match pairs {
        Pairs::Neighbours => (1..names.len()).map(|k| (k - 1, k)).collect(),
        Pairs::These(list) => {
            let place = |(a, b): &(String, String)| {
                let (i, j) = (find(a)?, find(b)?);
                if i == j {
                    let reason = "a group is not compared with itself";
                    return Err(Error::parameter("pairs", format!("({a}, {b})"), reason));
                }
                Ok((i.min(j), i.max(j)))
            };
            list.iter().map(place).collect::<Result<_>>()?
        }
    };
    let p: Vec<f64> = places.iter().map(|&(i, j)| mann_whitney(&values[i], &values[j])).collect();
    let adjusted = match adjust {
        Adjust::BenjaminiHochberg => benjamini_hochberg(&p),
        Adjust::Bonferroni => bonferroni(&p),
        Adjust::Nothing => p.clone(),
    };
    // Narrow brackets below wide ones; brackets that only meet at a group may share a level.
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by_key(|&k| (places[k].1 - places[k].0, places[k].0));
    let mut levels = vec![0; places.len()];
    let mut rows: Vec<Vec<(usize, usize)>> = Vec::new();
    for k in order {
        let (a, b) = places[k];
        let free = |row: &Vec<(usize, usize)>| row.iter().all(|&(c, d)| b <= c || d <= a);
        let level = rows.iter().position(free).unwrap_or(rows.len());
        if level == rows.len() {
            rows.push(Vec::new());
        }
        rows[level].push((a, b));
        levels[k] = level;
    }
    let comparison = |k: usize| {
        let (i, j) = places[k];
        Comparison {
            key: key.into(),
            first: names[i].clone(),
            second: names[j].clone(),
            p: p[k],
            adjusted: adjusted[k],
            places: (i, j),
            level: levels[k],
        }
    };
    Ok((0..places.len()).map(comparison).collect())
}

/// A comparison's result in a word.
pub(super) fn said(c: &Comparison, numbers: bool) -> String {
    let p = c.adjusted;
    if p.is_nan() {
        return "n/a".into();
    }
    if numbers {
        return match p {
            p if p < 1e-300 => "p < 1e−300".into(),
            p if p < 1e-3 => format!("p = {p:.1e}").replace("e-", "e−"),
            p => format!("p = {p:.3}"),
        };
    }
    let stars = [1e-4, 1e-3, 1e-2, 0.05].iter().position(|limit| p <= *limit);
    stars.map_or("ns".into(), |k| "*".repeat(4 - k))
}

/// Which test it was.
pub(super) fn footnote(adjust: &Adjust, numbers: bool) -> String {
    let corrected = match adjust {
        Adjust::BenjaminiHochberg => "Benjamini–Hochberg",
        Adjust::Bonferroni => "Bonferroni",
        Adjust::Nothing => "uncorrected",
    };
    let stars = if numbers { "" } else { "; * p ≤ 0.05, ** 0.01, *** 0.001, **** 0.0001" };
    format!("Mann–Whitney test, two-sided, {corrected}{stars}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_that_cross_have_levels_of_their_own() {
        let names: Vec<String> = ["a", "b", "c", "d"].map(String::from).into();
        let values: Vec<Vec<f64>> =
            (0..4).map(|g| (0..30).map(|i| f64::from(i * 7 % 30 + g * 5)).collect()).collect();
        let pair = |a: &str, b: &str| (a.to_string(), b.to_string());
        let pairs =
            Pairs::These(vec![pair("d", "a"), pair("a", "b"), pair("b", "c"), pair("a", "c")]);
        let got = tested("k", &names, &values, &pairs, Adjust::Bonferroni).unwrap();
        assert_eq!(got.iter().map(|c| c.level).collect::<Vec<_>>(), [2, 0, 0, 1]);
        assert_eq!((got[0].first.as_str(), got[0].second.as_str()), ("a", "d"));
        for c in &got {
            assert!((c.adjusted - (4.0 * c.p).min(1.0)).abs() < 1e-15);
        }
        // scipy.stats.mannwhitneyu(a, b, method="asymptotic") of groups a and b.
        assert!((got[1].p - AB).abs() < 1e-9 * AB, "{}", got[1].p);
        let e = tested("k", &names, &values, &Pairs::These(vec![pair("a", "z")]), Adjust::Nothing);
        assert!(e.unwrap_err().to_string().contains("a, b, c, d"));
        let e = tested("k", &names, &values, &Pairs::These(vec![pair("a", "a")]), Adjust::Nothing);
        assert!(e.unwrap_err().to_string().contains("itself"));
    }

    const AB: f64 = 0.04274735330571392;

    #[test]
    fn results_are_said_in_stars_or_numbers() {
        let of = |adjusted: f64, numbers| {
            let (key, first, second) = (String::new(), String::new(), String::new());
            let c = Comparison { key, first, second, p: 0.0, adjusted, places: (0, 1), level: 0 };
            said(&c, numbers)
        };
        assert_eq!(
            [0.051, 0.05, 0.01, 0.0005, 0.0].map(|p| of(p, false)),
            ["ns", "*", "**", "***", "****"]
        );
        assert_eq!(
            [0.0516, 2.4e-7, 0.0].map(|p| of(p, true)),
            ["p = 0.052", "p = 2.4e−7", "p < 1e−300"]
        );
        assert_eq!(of(f64::NAN, true), "n/a");
    }
}
