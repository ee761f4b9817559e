//! [`Stamgc::consensus`]: domains that several seeds agree on. Ours, not published: one seed's agreement with known
//! layers moves by ±0.05 from seed to seed.

use super::params::Stamgc;
use super::result::StamgcFit;
use crate::anndata::AnnData;
use crate::error::{Error, Result};
use crate::notebook::shows_rows;
use crate::tl::{self, KMeans};
use ndarray::Array2;

/// What [`Stamgc::consensus`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct Consensus {
    /// The seeds.
    pub seeds: Vec<u64>,
    /// ARI between the domains of each two seeds.
    pub ari: Array2<f64>,
    /// Which of the seeds agrees best with the others.
    pub medoid: usize,
    /// The run of each seed.
    pub fits: Vec<StamgcFit>,
    /// The domain of each spot used, from 1.
    pub domains: Vec<usize>,
    /// For each spot used, the share of the seeds that put it there.
    pub agreement: Vec<f64>,
}

impl Consensus {
    /// Mean ARI between two seeds.
    pub fn mean_ari(&self) -> f64 {
        let n = self.seeds.len() as f64;
        (self.ari.sum() - n) / (n * (n - 1.0))
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let mean = self.agreement.iter().sum::<f64>() / self.agreement.len().max(1) as f64;
        let all = self.agreement.iter().filter(|&&a| a >= 1.0).count();
        let share = 100.0 * all as f64 / self.agreement.len().max(1) as f64;
        vec![
            ("seeds", self.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")),
            ("ARI between two", format!("{:.3}", self.mean_ari())),
            ("agreement", format!("{mean:.3}; all agree on {share:.0} % of the spots")),
            ("closest to all", format!("seed {}", self.seeds[self.medoid])),
        ]
    }
}

shows_rows!(Consensus, |_| "STAMGC, consensus", 16);

impl Stamgc {
    /// Finds the domains once for each seed and then those that the seeds agree on: k-means of the spots by the
    /// domains that all seeds give them (Strehl and Ghosh, 2002, for the idea; the work grows with the number of
    /// spots).
    ///
    /// Writes what [`fit`](Stamgc::fit) writes, with the consensus as domains and the embedding of the seed that
    /// agrees best with the others, and `obs["domain_agreement"]`: the share of the seeds that put a spot into its
    /// domain, NaN for spots left out.
    ///
    /// # Errors
    /// [`Error::Parameter`] with fewer than two seeds or a checkpoint, which is of one training; those of
    /// [`fit`](Stamgc::fit).
    pub fn consensus(
        &self,
        adata: &mut AnnData,
        seeds: impl IntoIterator<Item = u64>,
    ) -> Result<Consensus> {
        let seeds: Vec<u64> = seeds.into_iter().collect();
        if seeds.len() < 2 {
            return Err(Error::parameter("seeds", seeds.len(), "must be at least 2"));
        }
        if self.checkpoint.is_some() {
            return Err(Error::parameter(
                "checkpoint",
                "a file",
                "is of one training, not of several",
            ));
        }
        let runs = seeds.iter().map(|&seed| self.clone().seed(seed).find(adata));
        let fits = runs.collect::<Result<Vec<_>>>()?;
        let mut ari = Array2::eye(seeds.len());
        for i in 0..seeds.len() {
            for j in 0..i {
                ari[[i, j]] = tl::ari(fits[i].domains(), fits[j].domains())?;
                ari[[j, i]] = ari[[i, j]];
            }
        }
        let total = |i: usize| ari.row(i).sum();
        let medoid = (1..seeds.len()).fold(0, |a, b| if total(b) > total(a) { b } else { a });

        // A column for each domain of each seed.
        let (n, k) = (fits[0].domains().len(), self.n_domains);
        let mut votes = Array2::<f32>::zeros((n, k * seeds.len()));
        for (run, fit) in fits.iter().enumerate() {
            for (i, &domain) in fit.domains().iter().enumerate() {
                votes[[i, run * k + domain - 1]] = 1.0;
            }
        }
        let kmeans = KMeans::new(k).n_init(self.n_init).seed(self.seed);
        let labels = kmeans.fit(votes.view())?.labels;
        let domains: Vec<usize> = labels.into_iter().map(|l| l + 1).collect();
        let agreement = agreement(&fits, &domains, k);

        let mut chosen = fits[medoid].clone();
        chosen.domains = domains.clone();
        self.write(adata, &chosen)?;
        let mut of_all = vec![f64::NAN; adata.n_obs()];
        chosen.spots().iter().zip(&agreement).for_each(|(&i, &a)| of_all[i] = a);
        adata.obs.insert(format!("{}_agreement", self.domain_key), of_all)?;
        Ok(Consensus { seeds, ari, medoid, fits, domains, agreement })
    }
}

/// For each spot the share of the runs in which its domain is, for the most part, the consensus's of the spot.
fn agreement(fits: &[StamgcFit], consensus: &[usize], k: usize) -> Vec<f64> {
    let mut agree = vec![0f64; consensus.len()];
    for fit in fits {
        let mut common = Array2::<usize>::zeros((k, k));
        for (&own, &all) in fit.domains().iter().zip(consensus) {
            common[[own - 1, all - 1]] += 1;
        }
        let name = |own: usize| {
            (1..k).fold(0, |a, b| if common[[own - 1, b]] > common[[own - 1, a]] { b } else { a })
        };
        let names: Vec<usize> = (1..=k).map(|own| name(own) + 1).collect();
        for (agree, (&own, &all)) in agree.iter_mut().zip(fit.domains().iter().zip(consensus)) {
            *agree += f64::from(names[own - 1] == all);
        }
    }
    agree.iter().map(|a| a / fits.len() as f64).collect()
}
