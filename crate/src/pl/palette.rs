//! Colours: of categories by their order, and of numbers along a gradient.

mod gradients;
mod lists;

use crate::error::{Error, Result};
use colorous::Gradient;
use lists::{GODSNOT_102, MATPLOTLIB_10, OKABE_ITO, TOL_23, VEGA_20, ZEILEIS_28};

/// A colour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Color {
    /// Red.
    pub r: u8,
    /// Green.
    pub g: u8,
    /// Blue.
    pub b: u8,
    /// Opacity, from 0 to 1.
    pub alpha: f32,
}

impl Color {
    /// An opaque colour.
    pub const fn rgb(r: u8, g: u8, b: u8) -> Self {
        Color { r, g, b, alpha: 1.0 }
    }

    /// The same with another opacity.
    pub const fn with_alpha(self, alpha: f32) -> Self {
        Color { alpha, ..self }
    }

    /// From `#rgb`, `#rrggbb`, `#rrggbbaa`, or one of the common CSS names.
    pub fn parse(text: &str) -> Option<Self> {
        let Some(hex) = text.trim().strip_prefix('#') else {
            let name = text.trim().to_lowercase();
            return lists::NAMED.iter().find(|(n, _)| *n == name).map(|(_, c)| of(*c));
        };
        if !hex.is_ascii() {
            return None;
        }
        let digits: Vec<u8> =
            hex.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
        let byte = |i: usize| digits[2 * i] * 16 + digits[2 * i + 1];
        match digits.len() {
            3 => Some(Color::rgb(digits[0] * 17, digits[1] * 17, digits[2] * 17)),
            6 => Some(Color::rgb(byte(0), byte(1), byte(2))),
            8 => {
                let alpha = f32::from(byte(3)) / 255.0;
                Some(Color::rgb(byte(0), byte(1), byte(2)).with_alpha(alpha))
            }
            _ => None,
        }
    }

    /// As `#rrggbb`, without the opacity.
    pub fn hex(&self) -> String {
        format!("#{:02x}{:02x}{:02x}", self.r, self.g, self.b)
    }
}

/// The colour in the bits of `0xrrggbb`.
const fn of(rgb: u32) -> Color {
    Color::rgb((rgb >> 16) as u8, (rgb >> 8) as u8, rgb as u8)
}

impl From<colorous::Color> for Color {
    fn from(c: colorous::Color) -> Self {
        Color::rgb(c.r, c.g, c.b)
    }
}

/// Colours for categories.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Palette {
    /// `uns["<key>_colors"]` if it is there, else scanpy's default for the number of categories.
    #[default]
    Default,
    /// A palette of that name; [`palette_names`] lists them.
    Named(String),
    /// These colours in the order of the categories (as `#rrggbb` or CSS names).
    List(Vec<String>),
    /// A colour for each of these categories; others are drawn as missing.
    Map(Vec<(String, String)>),
}

impl From<&str> for Palette {
    fn from(name: &str) -> Self {
        Palette::Named(name.into())
    }
}

impl From<Vec<String>> for Palette {
    fn from(colors: Vec<String>) -> Self {
        Palette::List(colors)
    }
}

impl<const N: usize> From<[&str; N]> for Palette {
    fn from(colors: [&str; N]) -> Self {
        Palette::List(colors.iter().map(ToString::to_string).collect())
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Palette {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Palette::Map(pairs.iter().map(|(k, c)| (k.to_string(), c.to_string())).collect())
    }
}

/// scanpy's default colours for `n` categories, in their order: 20, 28 or 102 different ones,
/// repeated above.
pub fn default_colors(n: usize) -> Vec<Color> {
    let list: &[u32] = match n {
        0..=20 => &VEGA_20,
        21..=28 => &ZEILEIS_28,
        _ => &GODSNOT_102,
    };
    cycle(list, n)
}

/// Colours for `n` categories that stay apart for colour-blind readers: Okabe and Ito's up to 8,
/// Tol's discrete rainbow up to 23; repeated above.
pub fn colorblind_colors(n: usize) -> Vec<Color> {
    if n <= OKABE_ITO.len() { cycle(&OKABE_ITO, n) } else { cycle(&TOL_23, n) }
}

fn cycle(list: &[u32], n: usize) -> Vec<Color> {
    list.iter().cycle().take(n).map(|&c| of(c)).collect()
}

const COLOROUS: [(&str, &[colorous::Color]); 10] = [
    ("accent", &colorous::ACCENT),
    ("dark2", &colorous::DARK2),
    ("paired", &colorous::PAIRED),
    ("pastel1", &colorous::PASTEL1),
    ("pastel2", &colorous::PASTEL2),
    ("set1", &colorous::SET1),
    ("set2", &colorous::SET2),
    ("set3", &colorous::SET3),
    ("tableau10", &colorous::TABLEAU10),
    ("category10", &colorous::CATEGORY10),
];

/// The names that [`Palette::Named`] knows; those of gradients ([`cmap_names`]) also work.
pub fn palette_names() -> Vec<&'static str> {
    let own = ["default", "colorblind", "tab10", "tab20", "vega_20", "zeileis_28", "godsnot_102"];
    own.into_iter().chain(COLOROUS.iter().map(|p| p.0)).collect()
}

impl Palette {
    /// A colour for each of `categories`; `None` where a map has none for it. `stored` is what
    /// `uns` holds, used by [`Palette::Default`] if there is a valid colour for each category.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a name or a colour that does not exist.
    pub fn resolve(
        &self,
        categories: &[String],
        stored: Option<&[String]>,
    ) -> Result<Vec<Option<Color>>> {
        let n = categories.len();
        let parse = |c: &String| {
            Color::parse(c).ok_or_else(|| {
                let reason = "is no colour; write it as #rrggbb or a CSS name";
                Error::parameter("palette", c, reason)
            })
        };
        match self {
            Palette::Default => {
                let stored: Option<Vec<Option<Color>>> = stored
                    .filter(|s| s.len() >= n)
                    .and_then(|s| s[..n].iter().map(|c| Color::parse(c).map(Some)).collect());
                Ok(stored.unwrap_or_else(|| default_colors(n).into_iter().map(Some).collect()))
            }
            Palette::Named(name) => Ok(named(name, n)?.into_iter().map(Some).collect()),
            Palette::List(colors) if colors.is_empty() => {
                Err(Error::parameter("palette", "[]", "needs at least one colour"))
            }
            Palette::List(colors) => {
                let colors: Vec<Color> = colors.iter().map(parse).collect::<Result<_>>()?;
                Ok(colors.iter().cycle().take(n).map(|&c| Some(c)).collect())
            }
            Palette::Map(pairs) => {
                let of = |k: &String| pairs.iter().find(|p| p.0 == *k).map(|p| parse(&p.1));
                categories.iter().map(|k| of(k).transpose()).collect()
            }
        }
    }
}

fn named(name: &str, n: usize) -> Result<Vec<Color>> {
    let key = name.to_lowercase();
    Ok(match key.as_str() {
        "default" => default_colors(n),
        "colorblind" | "colourblind" | "okabe_ito" => colorblind_colors(n),
        "tab10" => cycle(&MATPLOTLIB_10, n),
        "tab20" | "vega_20" | "vega_20_scanpy" | "default_20" => cycle(&VEGA_20, n),
        "zeileis_28" | "default_28" => cycle(&ZEILEIS_28, n),
        "godsnot_102" | "default_102" => cycle(&GODSNOT_102, n),
        key => {
            if let Some((_, list)) = COLOROUS.iter().find(|p| p.0 == key) {
                return Ok(list.iter().cycle().take(n).map(|&c| c.into()).collect());
            }
            let unknown = |_| {
                let reason = format!("unknown palette; there are {}", palette_names().join(", "));
                Error::parameter("palette", name, reason)
            };
            let cmap = Cmap::named(name).map_err(unknown)?;
            let at = |i: usize| cmap.at((i as f64 + 0.5) / n.max(1) as f64);
            (0..n).map(at).collect()
        }
    })
}

/// A gradient of colours for numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Cmap {
    table: Vec<Color>,
}

const GRADIENTS: [(&str, Gradient); 7] = [
    ("viridis", colorous::VIRIDIS),
    ("magma", colorous::MAGMA),
    ("inferno", colorous::INFERNO),
    ("plasma", colorous::PLASMA),
    ("cividis", colorous::CIVIDIS),
    ("turbo", colorous::TURBO),
    ("cubehelix", colorous::CUBEHELIX),
];

/// The names that [`Cmap::named`] knows (matplotlib's, in any case); `_r` after a name reverses it.
pub fn cmap_names() -> Vec<&'static str> {
    GRADIENTS.iter().map(|g| g.0).chain(gradients::SAMPLED.iter().map(|g| g.0)).collect()
}

impl Cmap {
    /// The gradient of that name, e.g. `viridis` or `RdBu_r`.
    ///
    /// # Errors
    /// [`Error::Parameter`] listing the names there are.
    pub fn named(name: &str) -> Result<Self> {
        let key = name.to_lowercase();
        let (base, reversed) = key.strip_suffix("_r").map_or((key.as_str(), false), |b| (b, true));
        let base = if matches!(base, "gray" | "grey") { "greys" } else { base };
        // matplotlib's `gray` runs from black to white, its `Greys` the other way.
        let reversed = reversed != matches!(key.trim_end_matches("_r"), "gray" | "grey");
        let continuous = GRADIENTS.iter().find(|g| g.0 == base).map(|g| g.1);
        let sampled = gradients::SAMPLED.iter().find(|g| g.0 == base).map(|g| g.1);
        let at = |i: u32| f64::from(i) / 255.0;
        let mut table: Vec<Color> = match (continuous, sampled) {
            (Some(gradient), _) => {
                (0..256).map(|i| gradient.eval_continuous(at(i)).into()).collect()
            }
            (None, Some(stops)) => (0..256).map(|i| between(stops, at(i))).collect(),
            (None, None) => {
                let reason = format!("unknown colour map; there are {}", cmap_names().join(", "));
                return Err(Error::parameter("cmap", name, reason));
            }
        };
        if reversed {
            table.reverse();
        }
        Ok(Cmap { table })
    }

    /// The colour at `t` in 0..1; beyond it the first or last one.
    pub fn at(&self, t: f64) -> Color {
        self.table[(t.clamp(0.0, 1.0) * 255.0).round() as usize]
    }
}

/// The colour at `t` in 0..1 between colours at equal steps.
fn between(stops: &[u32], t: f64) -> Color {
    let at = t * (stops.len() - 1) as f64;
    let i = (at as usize).min(stops.len() - 2);
    let f = at - i as f64;
    let (a, b) = (of(stops[i]), of(stops[i + 1]));
    let mix = |a: u8, b: u8| (f64::from(a) * (1.0 - f) + f64::from(b) * f).round() as u8;
    Color::rgb(mix(a.r, b.r), mix(a.g, b.g), mix(a.b, b.b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("c{i}")).collect()
    }

    #[test]
    fn defaults_are_scanpys() {
        let hex = |n: usize| default_colors(n)[0].hex();
        assert_eq!([hex(7), hex(28), hex(30)], ["#1f77b4", "#023fa5", "#ffff00"]);
        assert_eq!(default_colors(20)[19].hex(), "#8c6d31");
        assert_eq!(default_colors(150).len(), 150);
        let all: std::collections::HashSet<String> =
            default_colors(102).iter().map(Color::hex).collect();
        assert_eq!(all.len(), 102);
    }

    #[test]
    fn stored_colours_win_unless_they_are_no_colours() {
        let stored: Vec<String> = ["#ff0000", "navy"].map(String::from).into();
        let got = Palette::Default.resolve(&names(2), Some(&stored)).unwrap();
        assert_eq!(got[0].unwrap().hex(), "#ff0000");
        assert_eq!(got[1].unwrap().hex(), "#000080");
        for bad in [vec!["#ff0000".to_string()], vec!["#12".into(), "#é00000".into()]] {
            let got = Palette::Default.resolve(&names(2), Some(&bad)).unwrap();
            assert_eq!(got[0].unwrap().hex(), "#1f77b4");
        }
    }

    #[test]
    fn a_map_colours_by_name() {
        let palette = Palette::from([("c1", "red")]);
        let got = palette.resolve(&names(2), None).unwrap();
        assert_eq!((got[0], got[1].unwrap().hex()), (None, "#ff0000".into()));
    }

    #[test]
    fn unknown_names_list_the_known() {
        let e = Cmap::named("virids").unwrap_err().to_string();
        assert!(e.contains("virids") && e.contains("viridis"), "{e}");
        let e = Palette::from("nope").resolve(&names(1), None).unwrap_err().to_string();
        assert!(e.contains("colorblind"), "{e}");
        assert!(Palette::from(["#zzz"]).resolve(&names(1), None).is_err());
    }

    #[test]
    fn diverging_maps_are_matplotlibs_and_seaborns() {
        // matplotlib.colormaps[name](i) for i = 0, 100, 255.
        for (name, expected) in [
            ("coolwarm", ["#3b4cc0", "#bed2f6", "#b40426"]),
            ("bwr", ["#0000ff", "#c8c8ff", "#ff0000"]),
            ("vlag", ["#2369bd", "#d5d9e3", "#a9373b"]),
            ("RdBu_r", ["#053061", "#cce2ef", "#67001f"]),
        ] {
            let map = Cmap::named(name).unwrap();
            for (i, hex) in [0.0, 100.0, 255.0].into_iter().zip(expected) {
                let (got, want) = (map.at(i / 255.0), Color::parse(hex).unwrap());
                let off = [(got.r, want.r), (got.g, want.g), (got.b, want.b)];
                assert!(off.iter().all(|(a, b)| a.abs_diff(*b) <= 6), "{name} {i}: {}", got.hex());
            }
        }
        assert_eq!(Cmap::named("gray").unwrap().at(0.0).hex(), "#000000");
        assert_eq!(Cmap::named("Greys").unwrap().at(1.0).hex(), "#000000");
    }

    #[test]
    fn gradients_run_from_end_to_end() {
        let viridis = Cmap::named("viridis").unwrap();
        assert_eq!(viridis.at(-1.0).hex(), "#440154");
        assert_eq!(viridis.at(2.0).hex(), "#fde725");
        assert_eq!(Cmap::named("Viridis_r").unwrap().at(0.0).hex(), "#fde725");
    }
}
