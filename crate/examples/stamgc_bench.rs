//! Trains STAMGC on a slide once per seed and prints a line for each.
//!
//! ```text
//! cargo run --release -p spatialkit --example stamgc_bench -- SLIDE LABEL N_DOMAINS [SEED…]
//! ```
//!
//! `SLIDE` is anything that `io::read` reads, `LABEL` a column of `obs` or a file of labels. Only
//! labelled spots are used, as in the published evaluations.

use spatialkit::models::{Preset, Stamgc};
use spatialkit::{Result, io, tl};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [slide, label, n_domains, seeds @ ..] = args.as_slice() else {
        eprintln!("usage: stamgc_bench SLIDE LABEL N_DOMAINS [SEED…]");
        std::process::exit(2);
    };
    let n_domains = n_domains.parse().unwrap_or(0);
    let seeds: Vec<u64> = seeds.iter().filter_map(|s| s.parse().ok()).collect();
    let seeds = if seeds.is_empty() { (1..=5).collect() } else { seeds };

    let mut adata = io::read(slide)?;
    let known = io::labels(&adata, label)?;
    adata.obs.insert("known", known)?;
    let (mut aris, mut nmis) = (vec![], vec![]);
    for seed in seeds {
        let model = Stamgc::preset(Preset::Visium).n_domains(n_domains).seed(seed);
        let fit = model.labelled_by("known").fit(&mut adata)?;
        let (known, found) = (adata.obs_column("known")?, adata.obs_column("domain")?);
        let (ari, nmi) = (tl::ari(known, found)?, tl::nmi(known, found)?);
        let training = fit.timings().of("training");
        println!(
            "seed {seed}: ARI {ari:.4} NMI {nmi:.4}, {:.1} s of which training {training:.1} \
             ({:.4} an epoch), peak {:.0} MB",
            fit.seconds(),
            training / fit.history().len().max(1) as f64,
            fit.peak_memory_mb(),
        );
        for (step, seconds) in fit.timings().iter() {
            print!("  {step} {seconds:.2}");
        }
        println!();
        aris.push(ari);
        nmis.push(nmi);
    }
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    println!("mean: ARI {:.4} NMI {:.4}", mean(&aris), mean(&nmis));
    Ok(())
}
