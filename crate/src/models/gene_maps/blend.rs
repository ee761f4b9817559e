//! Networks and interpolation together: each weighs as much as it helps to predict spots that it was not
//! told of (stacking: Wolpert, 1992; weights that are not negative: Breiman, 1996).

use super::plan::Plan;
use crate::error::Result;
use crate::tl::Interpolate;
use ndarray::{Array2, ArrayView1, ArrayView2, Axis};

/// What the measured spots around a place tell, by inverse distance.
struct Interpolated {
    /// Of each spot that trains, from the others.
    spots: Array2<f32>,
    /// Of all points; of spots that train from the others, too.
    points: Array2<f32>,
}

impl Interpolated {
    fn new(plan: &Plan, pixels: ArrayView2<f64>, target: ArrayView2<f32>) -> Result<Interpolated> {
        let rule = Interpolate::inverse_distance();
        let places = pixels.select(Axis(0), &plan.training);
        let spots = rule.predict_left_out(places.view(), target)?;
        let mut points = rule.predict(places.view(), target, plan.points.pixels.view())?;
        for (p, mut row) in points.rows_mut().into_iter().enumerate() {
            if plan.points.is_spot[p]
                && let Ok(i) = plan.training.binary_search(&plan.points.source[p])
            {
                row.assign(&spots.row(i));
            }
        }
        Ok(Interpolated { spots, points })
    }
}

/// Takes what networks predict for all `points` and, each without the spot, for those that train
/// (`unseen`), into one prediction with inverse distances, and stretches it gene by gene; returns the
/// weights of both.
pub(super) fn blend(
    points: &mut Array2<f32>,
    unseen: &Array2<f32>,
    target: ArrayView2<f32>,
    plan: &Plan,
    pixels: ArrayView2<f64>,
) -> Result<[f64; 2]> {
    let near = Interpolated::new(plan, pixels, target)?;
    let mean = |a: ArrayView2<f32>| a.mean_axis(Axis(0)).expect("spots train");
    let (mean_target, mean_unseen) = (mean(target), mean(unseen.view()));
    let mean_near = mean(near.spots.view());
    let (truth, by_network) = (&target - &mean_target, unseen - &mean_unseen);
    let by_near = &near.spots - &mean_near;
    let weights = weights(truth.view(), by_network.view(), by_near.view());
    let [network, interpolation] = weights.map(|w| w as f32);
    let said = by_network * network + by_near * interpolation;
    let slopes = slopes(truth.view(), said.view());
    for (mut row, near) in points.rows_mut().into_iter().zip(near.points.rows()) {
        for (g, v) in row.iter_mut().enumerate() {
            let (a, b) = (*v - mean_unseen[g], near[g] - mean_near[g]);
            let beyond = slopes[g] * (network * a + interpolation * b);
            *v = (mean_target[g] + beyond).max(0.0);
        }
    }
    Ok(weights)
}

/// The weights, not negative, with which the sum of `a` and `b` comes nearest to `y` by least squares.
fn weights(y: ArrayView2<f32>, a: ArrayView2<f32>, b: ArrayView2<f32>) -> [f64; 2] {
    let dot = |x: ArrayView2<f32>, y: ArrayView2<f32>| -> f64 {
        x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    };
    let (aa, bb, ab) = (dot(a, a), dot(b, b), dot(a, b));
    let (ya, yb) = (dot(y, a), dot(y, b));
    let alone =
        |along: f64, square: f64| if square > 0.0 { (along / square).max(0.0) } else { 0.0 };
    let determinant = aa * bb - ab * ab;
    let both = [(ya * bb - yb * ab) / determinant, (yb * aa - ya * ab) / determinant];
    // Where one would be negative, the other stands alone; also where they say the same.
    if determinant > 1e-9 * aa * bb && both.iter().all(|w| *w >= 0.0) {
        return both;
    }
    let (a, b) = (alone(ya, aa), alone(yb, bb));
    if a * ya >= b * yb { [a, 0.0] } else { [0.0, b] }
}

/// By how much to stretch what is `said` of each gene: weights that serve all genes are small, since most
/// genes are mostly noise, and too small for a gene with a clear pattern. The slope of least squares, drawn
/// towards 1 as if an average gene's evidence said so, and at least a tenth.
fn slopes(truth: ArrayView2<f32>, said: ArrayView2<f32>) -> Vec<f32> {
    let dot = |a: ArrayView1<f32>, b: ArrayView1<f32>| -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    };
    let square = |g: usize| dot(said.column(g), said.column(g));
    let usual = (0..said.ncols()).map(square).sum::<f32>() / said.ncols() as f32;
    let slope = |g: usize| match square(g) + usual {
        0.0 => 1.0,
        all => ((dot(truth.column(g), said.column(g)) + usual) / all).max(0.1),
    };
    (0..said.ncols()).map(slope).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn weights_are_those_of_least_squares_that_are_not_negative() {
        let a = array![[1f32, 0.0], [-1.0, 2.0]];
        let b = array![[0f32, 3.0], [1.0, -1.0]];
        let mix = |p: f32, q: f32| &a * p + &b * q;
        let of = |y: &Array2<f32>| weights(y.view(), a.view(), b.view());
        let near = |w: [f64; 2], p: f64, q: f64| (w[0] - p).abs() < 1e-6 && (w[1] - q).abs() < 1e-6;
        assert!(near(of(&mix(0.7, 0.2)), 0.7, 0.2));
        // y = a - b/2 along a alone: (a·a - a·b/2) / a·a = (6 + 1.5) / 6.
        assert!(near(of(&mix(1.0, -0.5)), 1.25, 0.0));
        assert!(near(of(&mix(-0.1, 1.0)), 0.0, 1.0 + 0.3 / 11.0));
        assert_eq!(of(&mix(-1.0, -1.0)), [0.0, 0.0]);
        // Two that say the same, and one that says nothing.
        let w = weights(a.view(), a.view(), a.view());
        assert!((w[0] + w[1] - 1.0).abs() < 1e-6);
        let nothing = Array2::<f32>::zeros((2, 2));
        assert_eq!(weights(b.view(), nothing.view(), b.view()), [0.0, 1.0]);
    }

    #[test]
    fn clear_genes_are_stretched_and_unclear_ones_left() {
        // A gene of which much is said, and far too little; one of noise; one that is said the wrong way.
        let said = array![[1f32, 0.1, 0.1], [-1.0, -0.1, -0.1]];
        let truth = array![[4f32, -0.1, -9.0], [-4.0, 0.1, 9.0]];
        let got = slopes(truth.view(), said.view());
        let usual = (2.0 + 0.02 + 0.02) / 3.0;
        assert!((got[0] - (8.0 + usual) / (2.0 + usual)).abs() < 1e-5, "{got:?}");
        assert!((got[1] - (usual - 0.02) / (usual + 0.02)).abs() < 1e-5, "{got:?}");
        assert_eq!(got[2], 0.1);
        let nothing = Array2::<f32>::zeros((2, 1));
        assert_eq!(slopes(nothing.view(), nothing.view()), [1.0]);
    }
}
