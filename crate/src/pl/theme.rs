//! The colours of everything in a figure that is not data.

use super::palette::Color;

/// Which background a figure is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Theme {
    /// No background, and text in a grey that reads on JupyterLab's light and dark themes alike.
    #[default]
    Auto,
    /// White background, dark text: for papers and slides.
    Light,
    /// JupyterLab's dark background, light text.
    Dark,
}

/// The colours that go with a [`Theme`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ink {
    /// The background; `None` is transparent.
    pub background: Option<Color>,
    /// Titles and labels.
    pub text: Color,
    /// Axes, frames and ticks.
    pub axis: Color,
    /// Grid lines.
    pub grid: Color,
    /// What has no value.
    pub missing: Color,
}

impl Theme {
    /// The colours of the theme.
    pub fn ink(self) -> Ink {
        let grey = |v: u8| Color::rgb(v, v, v);
        match self {
            Theme::Auto => Ink {
                background: None,
                text: grey(0x78),
                axis: grey(0x8c),
                grid: grey(0x8c).with_alpha(0.28),
                missing: grey(0xd3),
            },
            Theme::Light => Ink {
                background: Some(grey(0xff)),
                text: grey(0x22),
                axis: grey(0x55),
                grid: grey(0xe4),
                missing: grey(0xd3),
            },
            Theme::Dark => Ink {
                background: Some(grey(0x11)),
                text: grey(0xe0),
                axis: grey(0x9a),
                grid: grey(0x33),
                missing: grey(0x5a),
            },
        }
    }
}
