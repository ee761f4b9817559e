//! The metadata of OME-TIFF files: XML in the description of the first page, of which a few
//! attributes are taken.
//!
//! ```text
//! <Image><Pixels SizeX="…" SizeC="2" SizeZ="1" SizeT="1" PhysicalSizeX="0.2125"
//!                PhysicalSizeXUnit="µm" …>
//!   <Channel Name="DAPI"/> …
//! ```

/// What is known from the metadata about the first picture of a file.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Ome {
    /// Width and height of a pixel in micrometres.
    pub pixel_size: Option<(f64, f64)>,
    /// One name a channel, as far as they have names.
    pub channel_names: Vec<String>,
    /// Channels, sections and times.
    pub sizes: (usize, usize, usize),
}

impl Ome {
    /// From the description of a page, if it is OME metadata.
    pub fn parse(description: &str) -> Option<Ome> {
        let mut elements = elements(description).skip_while(|e| e.name() != "OME").skip(1);
        let pixels = elements.find(|e| e.name() == "Pixels")?;
        let channel_names = elements
            .take_while(|e| e.name() != "/Pixels")
            .filter(|e| e.name() == "Channel")
            .filter_map(|e| e.attribute("Name"))
            .collect();
        let size = |axis| pixels.attribute(axis).and_then(|s| s.parse().ok()).unwrap_or(1);
        let length = |axis: &str| {
            let number: f64 = pixels.attribute(axis)?.parse().ok()?;
            let unit = pixels.attribute(&format!("{axis}Unit"));
            // U+00B5 and U+03BC look the same; without a unit it is micrometres.
            let factor = match unit.as_deref() {
                None | Some("µm" | "μm") => 1.0,
                Some("nm") => 1e-3,
                Some("mm") => 1e3,
                Some("cm") => 1e4,
                Some("m") => 1e6,
                Some(_) => return None,
            };
            (number > 0.0 && number.is_finite()).then_some(number * factor)
        };
        Some(Ome {
            pixel_size: length("PhysicalSizeX").zip(length("PhysicalSizeY")),
            channel_names,
            sizes: (size("SizeC"), size("SizeZ"), size("SizeT")),
        })
    }
}

/// A start or end tag without its brackets.
struct Element<'a>(&'a str);

/// The tags of a document in their order; comments are passed over.
fn elements(mut rest: &str) -> impl Iterator<Item = Element<'_>> {
    std::iter::from_fn(move || {
        loop {
            rest = &rest[rest.find('<')? + 1..];
            if rest.starts_with("!--") {
                rest = &rest[rest.find("-->")?..];
                continue;
            }
            // A `>` inside quotes does not end the tag.
            let mut quote = None;
            let end = rest.char_indices().find(|&(_, c)| match quote {
                Some(q) => {
                    if c == q {
                        quote = None;
                    }
                    false
                }
                None => {
                    if c == '"' || c == '\'' {
                        quote = Some(c);
                    }
                    c == '>'
                }
            })?;
            let tag = &rest[..end.0];
            rest = &rest[end.0..];
            return Some(Element(tag));
        }
    })
}

impl Element<'_> {
    /// The name without its namespace; of an end tag with the slash.
    fn name(&self) -> String {
        let end = self.0.find(|c: char| c.is_whitespace()).unwrap_or(self.0.len());
        let name = self.0[..end].trim_end_matches('/');
        let local = name.rsplit([':', '/']).next().unwrap_or(name);
        if name.starts_with('/') { format!("/{local}") } else { local.to_string() }
    }

    fn attribute(&self, name: &str) -> Option<String> {
        let mut rest = self.0;
        loop {
            rest = &rest[rest.find(char::is_whitespace)?..];
            rest = rest.trim_start();
            let (key, tail) = rest.split_once('=')?;
            let quote = tail.trim_start().chars().next().filter(|c| matches!(c, '"' | '\''))?;
            let (value, tail) = tail.trim_start()[1..].split_once(quote)?;
            if key.trim() == name {
                let plain = value.replace("&lt;", "<").replace("&gt;", ">");
                return Some(plain.replace("&quot;", "\"").replace("&amp;", "&"));
            }
            rest = tail;
            if !rest.starts_with(char::is_whitespace) {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixel_size_and_channels_are_found() {
        let xml = r#"<?xml version="1.0"?><!-- <Pixels SizeC="9"/> --><ome:OME xmlns:ome="x">
            <ome:Image Name="a > b"><ome:Pixels SizeC = "2" SizeZ='3' PhysicalSizeX="212.5"
            PhysicalSizeXUnit="nm" PhysicalSizeY="0.25" PhysicalSizeYUnit="µm">
            <ome:Channel ID="0" Name="DAPI &amp; more"/><ome:Channel Name="18S"><L/></ome:Channel>
            </ome:Pixels></ome:Image><ome:Image><ome:Pixels><ome:Channel Name="no"/></ome:Pixels>
            </ome:Image></ome:OME>"#;
        let ome = Ome::parse(xml).unwrap();
        let (x, y) = ome.pixel_size.unwrap();
        assert!((x - 0.2125).abs() < 1e-12 && y == 0.25);
        assert_eq!(ome.channel_names, ["DAPI & more", "18S"]);
        assert_eq!(ome.sizes, (2, 3, 1));
    }

    #[test]
    fn other_descriptions_are_none() {
        for text in ["", "ImageJ=1.53", "<OME", "<OME>", "<OME><Pixels", "<a><Pixels SizeC='2'/>"] {
            assert_eq!(Ome::parse(text), None, "{text}");
        }
        let ome = Ome::parse("<OME><Pixels PhysicalSizeX=\"1\" PhysicalSizeY=\"x").is_none();
        assert!(ome);
        let odd = Ome::parse("<OME><Pixels a b=c PhysicalSizeX=\"1\"/></OME>").unwrap();
        assert_eq!(odd, Ome { sizes: (1, 1, 1), ..Ome::default() });
    }
}
