//! The learning rate of each step.

/// SpaMCAF's two schedules on one optimizer: a linear warm-up from a hundred-thousandth of the rate over
/// the steps of five epochs; from epoch 51 on a cosine that falls over the steps of all epochs but five,
/// so that it never reaches its end.
///
/// Matches `LinearLR` and `CosineAnnealingLR` of PyTorch 2.15 as the published code steps them, within
/// 1e-9 relative.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The rate behind the warm-up; 1e-3 as published.
    pub learning_rate: f64,
    /// Epochs of the whole training; 1,000 as published.
    pub epochs: usize,
    /// Steps of an epoch: the number of chunks.
    pub steps_per_epoch: usize,
}

/// Epochs of the warm-up.
const WARM_UP: usize = 5;
/// The last epoch, counted from 0, whose steps move the warm-up.
const LAST_WARM: usize = 50;
/// The rate before the first step, as a share.
const START: f64 = 1e-5;
/// The least rate of the cosine.
const LEAST: f64 = 1e-8;

impl Schedule {
    /// The rate of every step, in order.
    pub fn rates(&self) -> impl Iterator<Item = f64> + use<> {
        let Schedule { learning_rate, epochs, steps_per_epoch } = *self;
        let warm = (WARM_UP * steps_per_epoch) as f64;
        let period = (epochs.saturating_sub(WARM_UP).max(1) * steps_per_epoch) as f64;
        let (mut warmed, mut turned) = (0f64, 0f64);
        let mut rate = learning_rate * START;
        (0..epochs * steps_per_epoch).map(move |step| {
            let this = rate;
            if step / steps_per_epoch <= LAST_WARM {
                warmed += 1.0;
                // The rule of PyTorch that goes from rate to rate; the start's share is 1 in the end.
                if warmed <= warm {
                    let slope = 1.0 - START;
                    rate *= 1.0 + slope / (warm * START + (warmed - 1.0) * slope);
                }
            } else {
                turned += 1.0;
                let angle = |k: f64| 1.0 + (std::f64::consts::PI * k / period).cos();
                rate = angle(turned) / angle(turned - 1.0) * (rate - LEAST) + LEAST;
            }
            this
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_to_the_rate_stay_and_fall() {
        let schedule = Schedule { learning_rate: 1e-3, epochs: 1000, steps_per_epoch: 1 };
        let rates: Vec<f64> = schedule.rates().collect();
        assert_eq!(rates.len(), 1000);
        assert!((rates[0] - 1e-8).abs() < 1e-20);
        assert!((rates[5] - 1e-3).abs() < 1e-12 && (rates[51] - 1e-3).abs() < 1e-12);
        assert!(rates[51..].windows(2).all(|w| w[1] < w[0]));
        // 949 of 995 parts of half a turn.
        assert!((1e-6..1e-4).contains(rates.last().unwrap()));
    }

    #[test]
    fn no_epochs_have_no_rates() {
        for (epochs, steps_per_epoch) in [(0, 3), (3, 0)] {
            let schedule = Schedule { learning_rate: 1e-3, epochs, steps_per_epoch };
            assert_eq!(schedule.rates().count(), 0);
        }
    }
}
