//! [`Shapes`]: circles, polygons and multipolygons in a parquet file.
//!
//! A geometry is well-known binary (WKB): the byte order, the kind (u32), then coordinates, or
//! counted parts.
//!
//! ```text
//! 01 01000000  x y                        a point
//! 01 03000000  rings (points (x y)…)…     a polygon: its outline, then its holes
//! 01 06000000  polygons (each with its own byte order and kind)
//! ```

use super::Transform;
use crate::anndata::{Column, Frame, Map};
use crate::error::{Error, Result};
use crate::io::table::Table;
use ndarray::Array2;
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::path::Path;

/// Geometries with what is known about each.
#[derive(Debug, Clone, PartialEq)]
pub struct Shapes {
    /// One geometry a row.
    pub geometry: Vec<Geometry>,
    /// The other columns, with the rows named as in the file: `radius` of circles, and whatever
    /// else there is.
    pub table: Frame,
    /// For each coordinate system how the shapes come to lie in it.
    pub transforms: Map<Transform>,
}

/// A geometry. Positions have the two or three coordinates (x, y, z) that they are stored with.
#[derive(Debug, Clone, PartialEq)]
pub enum Geometry {
    /// A point: the centre of a circle, whose radius is in the table.
    Point(Vec<f64>),
    /// Rings of positions, one a row: the outline, then the holes.
    Polygon(Vec<Array2<f64>>),
    /// Several polygons as one.
    MultiPolygon(Vec<Vec<Array2<f64>>>),
}

pub(super) fn read(path: &Path, transforms: Map<Transform>) -> Result<Shapes> {
    let table = Table::open(path)?;
    let parts = table.bytes("geometry")?;
    let mut geometry = Vec::with_capacity(parts.len());
    for (row, bytes) in parts.into_iter().enumerate() {
        let parsed = match bytes {
            Some(bytes) => parse(&bytes),
            None => Err("is missing".into()),
        };
        let fail = |reason| Error::format(path, format!("geometry in row {row} {reason}"));
        geometry.push(parsed.map_err(fail)?);
    }
    let index = index_column(path)?;
    let keep = |c: &&String| *c != "geometry" && Some(*c) != index.as_ref();
    let columns: Vec<&str> = table.columns().iter().filter(keep).map(String::as_str).collect();
    let values = match columns.is_empty() {
        true => Frame::with_len(geometry.len()),
        false => table.select(&columns)?,
    };
    let mut frame = match &index {
        Some(name) if table.columns().contains(name) => {
            let names = table.select(&[name])?;
            let names = names.get(name).map_or(vec![], names_of);
            let mut frame = Frame::new(names);
            frame.index_name = Some(name.clone()).filter(|n| !n.starts_with("__"));
            frame
        }
        _ => Frame::with_len(geometry.len()),
    };
    for (name, column) in values.columns() {
        frame.insert(name, column.clone()).map_err(|e| Error::format(path, e.to_string()))?;
    }
    if frame.len() != geometry.len() {
        return Err(Error::format(path, "the columns have different lengths"));
    }
    Ok(Shapes { geometry, table: frame, transforms })
}

fn names_of(column: &Column) -> Vec<String> {
    (0..column.len()).map(|i| column.text(i).unwrap_or_else(|| "nan".into())).collect()
}

/// The column that pandas had as the names of the rows, as it noted in the file.
fn index_column(path: &Path) -> Result<Option<String>> {
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    let reader = SerializedFileReader::new(file)
        .map_err(|e| Error::format(path, format!("damaged parquet file: {e}")))?;
    let notes = reader.metadata().file_metadata().key_value_metadata();
    let pandas = notes.into_iter().flatten().find(|note| note.key == "pandas");
    let Some(text) = pandas.and_then(|note| note.value.as_ref()) else { return Ok(None) };
    let note: serde_json::Value = serde_json::from_str(text)
        .map_err(|e| Error::format(path, format!("pandas' note in the file is not JSON: {e}")))?;
    Ok(note["index_columns"][0].as_str().map(String::from))
}

/// Well-known binary that is read from its start.
struct Wkb<'a> {
    bytes: &'a [u8],
    big: bool,
}

fn parse(bytes: &[u8]) -> Result<Geometry, String> {
    let mut wkb = Wkb { bytes, big: false };
    let geometry = match wkb.head()? {
        (1, axes) => Geometry::Point(wkb.numbers(axes)?),
        (3, axes) => Geometry::Polygon(wkb.rings(axes)?),
        (6, _) => {
            // A polygon has nine bytes at least.
            let n = wkb.count(9)?;
            let mut polygons = Vec::with_capacity(n);
            for _ in 0..n {
                match wkb.head()? {
                    (3, axes) => polygons.push(wkb.rings(axes)?),
                    (kind, _) => return Err(format!("is of kind {kind} inside a multipolygon")),
                }
            }
            Geometry::MultiPolygon(polygons)
        }
        (kind, _) => {
            let known = "points, polygons and multipolygons are read";
            return Err(format!("is of kind {kind} of WKB; {known}"));
        }
    };
    if !wkb.bytes.is_empty() {
        return Err(format!("has {} bytes too many", wkb.bytes.len()));
    }
    Ok(geometry)
}

impl Wkb<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (head, rest) = self.bytes.split_first_chunk().ok_or("is cut short")?;
        self.bytes = rest;
        Ok(*head)
    }

    fn u32(&mut self) -> Result<u32, String> {
        let bytes = self.take()?;
        Ok(if self.big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    /// A number of parts of at least `size` bytes each.
    fn count(&mut self, size: usize) -> Result<usize, String> {
        let n = self.u32()? as usize;
        if n > self.bytes.len() / size { Err("is cut short".into()) } else { Ok(n) }
    }

    /// Byte order and kind; the kind without, and with the number of coordinates.
    fn head(&mut self) -> Result<(u32, usize), String> {
        const Z: u32 = 1 << 31;
        const M: u32 = 1 << 30;
        const SYSTEM: u32 = 1 << 29;
        self.big = match self.take::<1>()? {
            [0] => true,
            [1] => false,
            [other] => return Err(format!("has byte order {other}")),
        };
        let kind = self.u32()?;
        if kind & SYSTEM != 0 {
            self.u32()?;
        }
        // A third coordinate is noted by a bit or, in ISO's way, by 1000; a measure by 2000.
        let (plain, iso) = ((kind & !(Z | M | SYSTEM)) % 1000, (kind & !(Z | M | SYSTEM)) / 1000);
        match (kind & M != 0, iso) {
            (false, 0 | 1) => Ok((plain, if kind & Z != 0 || iso == 1 { 3 } else { 2 })),
            _ => Err("has measures, which cannot be held".into()),
        }
    }

    fn numbers(&mut self, n: usize) -> Result<Vec<f64>, String> {
        let mut out = Vec::with_capacity(n);
        for _ in 0..n {
            let bytes = self.take()?;
            out.push(if self.big { f64::from_be_bytes(bytes) } else { f64::from_le_bytes(bytes) });
        }
        Ok(out)
    }

    fn rings(&mut self, axes: usize) -> Result<Vec<Array2<f64>>, String> {
        let n = self.count(4)?;
        let mut rings = Vec::with_capacity(n);
        for _ in 0..n {
            let points = self.count(8 * axes)?;
            let numbers = self.numbers(points * axes)?;
            let ring = Array2::from_shape_vec((points, axes), numbers);
            rings.push(ring.map_err(|e| e.to_string())?);
        }
        Ok(rings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(kind: u32, numbers: &[f64]) -> Vec<u8> {
        let mut out = vec![1];
        out.extend(kind.to_le_bytes());
        numbers.iter().for_each(|x| out.extend(x.to_le_bytes()));
        out
    }

    #[test]
    fn geometries_are_read_in_both_byte_orders_and_with_three_coordinates() {
        assert_eq!(parse(&point(1, &[1., 2.])).unwrap(), Geometry::Point(vec![1., 2.]));
        let deep = Geometry::Point(vec![1., 2., 3.]);
        assert_eq!(parse(&point(1001, &[1., 2., 3.])).unwrap(), deep);
        assert_eq!(parse(&point(0x8000_0001, &[1., 2., 3.])).unwrap(), deep);
        let mut big = vec![0];
        big.extend(3u32.to_be_bytes());
        big.extend(1u32.to_be_bytes());
        big.extend(2u32.to_be_bytes());
        [1f64, 2., 3., 4.].iter().for_each(|x| big.extend(x.to_be_bytes()));
        let ring = ndarray::array![[1., 2.], [3., 4.]];
        assert_eq!(parse(&big).unwrap(), Geometry::Polygon(vec![ring]));
    }

    #[test]
    fn damaged_geometries_are_refused_and_claim_no_memory() {
        let whole = point(1, &[1., 2.]);
        for n in 0..whole.len() {
            assert!(parse(&whole[..n]).unwrap_err().contains("cut short"), "{n}");
        }
        let mut claims = point(3, &[]);
        claims.extend(u32::MAX.to_le_bytes());
        assert!(parse(&claims).unwrap_err().contains("cut short"));
        assert!(parse(&point(7, &[])).unwrap_err().contains("kind 7"));
        assert!(parse(&point(1, &[1., 2., 3.])).unwrap_err().contains("too many"));
        assert!(parse(&point(2001, &[1., 2., 3.])).unwrap_err().contains("measures"));
    }
}
