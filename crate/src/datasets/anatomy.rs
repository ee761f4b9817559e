//! The shape of the tissue: a piece of cortex with its layers, and the array of spots below it.

use super::noise;
use crate::rng;

/// Side of the full-resolution image in its pixels (0.73 µm each).
pub(crate) const SIDE: f64 = 10_000.0;
/// Distance of neighbouring spots: 100 µm.
const PITCH: f64 = 137.0;
/// Diameter of a spot and of a fiducial.
pub(crate) const SPOT: f64 = 89.0;
pub(crate) const FIDUCIAL: f64 = 144.0;
const ROWS: usize = 78;
const COLUMNS: usize = 128;

/// A layer: its name, its part of the cortex' depth, and how it looks when stained.
pub(crate) struct Layer {
    pub name: &'static str,
    /// Depth at which it ends, from 0 at the surface to 1.
    pub end: f64,
    /// Counts of a spot, relative to the other layers.
    pub depth: f64,
    /// Background of eosin and of hematoxylin.
    pub eosin: f64,
    pub hematoxylin: f64,
    /// How many small nuclei (of neurons and glia) and large cells there are.
    pub nuclei: f64,
    pub large: f64,
}

/// From the surface inwards.
pub(crate) const LAYERS: [Layer; 7] = [
    layer("L1", 0.10, 0.70, [0.20, 0.12, 0.10, 0.00]),
    layer("L2", 0.19, 1.00, [0.24, 0.18, 0.46, 0.10]),
    layer("L3", 0.40, 1.10, [0.23, 0.16, 0.30, 0.34]),
    layer("L4", 0.50, 1.00, [0.24, 0.20, 0.55, 0.06]),
    layer("L5", 0.66, 1.20, [0.24, 0.17, 0.28, 0.50]),
    layer("L6", 0.82, 0.95, [0.26, 0.20, 0.38, 0.18]),
    layer("WM", 1.00, 0.65, [0.36, 0.36, 0.34, 0.00]),
];

const fn layer(name: &'static str, end: f64, depth: f64, look: [f64; 4]) -> Layer {
    let [eosin, hematoxylin, nuclei, large] = look;
    Layer { name, end, depth, eosin, hematoxylin, nuclei, large }
}

/// What is at a place of the section.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// Position of the layer in [`LAYERS`].
    pub layer: usize,
    /// From 0 at the surface to 1 at the lower end of the white matter.
    pub depth: f64,
    /// From 0 at the left end of the section to 1 at the right, along the layers.
    pub along: f64,
    /// Distance to the edge of the tissue in full-resolution pixels.
    pub edge: f64,
}

/// A spot in tissue.
pub(crate) struct Spot {
    pub row: usize,
    pub column: usize,
    pub x: f64,
    pub y: f64,
    pub place: Place,
}

/// A fan of cortex around a centre below the image, wavy at the surface.
pub(crate) struct Cortex {
    seed: u64,
    /// Phases of the waves of the surface.
    phases: [f64; 3],
}

/// Centre of the layers' curvature, in sides of the image.
const CENTER: (f64, f64) = (0.5, 1.36);
const OUTER: f64 = 1.12;
const INNER: f64 = 0.60;
/// Half the fan's opening, in radians.
const OPENING: f64 = 0.335;

impl Cortex {
    pub fn new(seed: u64) -> Self {
        let mut rng = rng::Rng::stream(seed, "anatomy");
        let mut phase = || rng.uniform_in(-0.9, 0.9);
        Cortex { seed: rng::hash("anatomy") ^ seed, phases: [phase(), phase(), phase()] }
    }

    /// What is at (x, y), in pixels of the full-resolution image; `None` beside the tissue.
    pub fn at(&self, x: f64, y: f64) -> Option<Place> {
        let shape = self.shape(x, y);
        (shape.edge > 0.0).then(|| Place { layer: layer_at(shape.depth), ..shape })
    }

    /// The same without the layer, and with a distance to the edge that is negative beside the
    /// tissue.
    pub fn shape(&self, x: f64, y: f64) -> Place {
        let (dx, dy) = (x / SIDE - CENTER.0, CENTER.1 - y / SIDE);
        let radius = dx.hypot(dy);
        let angle = dx.atan2(dy);
        if !(INNER - 0.05..OUTER + 0.06).contains(&radius) || angle.abs() > OPENING + 0.05 {
            return Place { layer: 0, depth: 0.0, along: 0.0, edge: -0.01 * SIDE };
        }
        let [a, b, c] = self.phases;
        // A gyrus' crown beside a shallow sulcus.
        let wave = 0.022 * (8.0 * angle + a).sin() - 0.018 * (13.0 * angle + b).cos();
        let rough =
            |scale: f64, k: u64| noise::fractal(self.seed.wrapping_add(k), x / scale, y / scale, 3);
        let outer = OUTER + wave + 0.004 * rough(260.0, 1);
        let inner = INNER + 0.022 * (9.0 * angle + c).sin() + 0.012 * rough(420.0, 2);
        let opening = OPENING + 0.016 * (radius * 12.0 + b).sin() + 0.010 * rough(380.0, 3);
        let sides = (opening - angle.abs()) * radius;
        let edge = (outer - radius).min(radius - inner).min(sides) * SIDE;
        let depth = ((outer - radius) / (outer - inner)).clamp(0.0, 1.0);
        // Borders between layers wander a little.
        let wander = 0.018 * noise::fractal(self.seed.wrapping_add(4), x / 1500.0, y / 1500.0, 2);
        let depth = (depth + wander * (1.0 - (2.0 * depth - 1.0).powi(2))).clamp(0.0, 1.0);
        let along = ((angle / OPENING + 1.0) / 2.0).clamp(0.0, 1.0);
        Place { layer: 0, depth, along, edge }
    }

    /// The spots of the array that lie in tissue.
    pub fn spots(&self) -> Vec<Spot> {
        let mut spots = Vec::new();
        for row in 0..ROWS {
            // Rows are shifted by half a spot in turn: even rows have even columns.
            for column in (row % 2..COLUMNS).step_by(2) {
                let (x, y) = position(row, column);
                if let Some(place) = self.at(x, y).filter(|p| p.edge > 0.25 * SPOT) {
                    spots.push(Spot { row, column, x, y, place });
                }
            }
        }
        spots
    }
}

/// The layer at a depth.
pub(crate) fn layer_at(depth: f64) -> usize {
    LAYERS.iter().position(|l| depth <= l.end).unwrap_or(LAYERS.len() - 1)
}

/// Where a place of the array is on the full-resolution image.
pub(crate) fn position(row: usize, column: usize) -> (f64, f64) {
    let width = (COLUMNS - 1) as f64 * PITCH / 2.0;
    let step = PITCH * 3f64.sqrt() / 2.0;
    let height = (ROWS - 1) as f64 * step;
    let x = (SIDE - width) / 2.0 + column as f64 * PITCH / 2.0;
    let y = (SIDE - height) / 2.0 + row as f64 * step;
    (x.round(), y.round())
}

/// Centres of the printed frame around the array.
pub(crate) fn fiducials() -> Vec<(f64, f64)> {
    let ((left, top), (right, bottom)) = (position(0, 0), position(ROWS - 1, COLUMNS - 1));
    let (left, right) = (left - 260.0, right + 260.0);
    let (top, bottom) = (top - 230.0, bottom + 230.0);
    let step = 2.0 * FIDUCIAL;
    let mut centers = Vec::new();
    let across = ((right - left) / step).round() as usize;
    let down = ((bottom - top) / step).round() as usize;
    for k in 0..=across {
        let x = left + (right - left) * k as f64 / across as f64;
        centers.extend([(x, top), (x, bottom)]);
    }
    for k in 1..down {
        let y = top + (bottom - top) * k as f64 / down as f64;
        // Two columns at each side, shifted against each other.
        centers.extend([(left, y), (right, y)]);
        centers
            .extend([(left - 0.87 * step, y - step / 2.0), (right + 0.87 * step, y - step / 2.0)]);
    }
    centers
}
