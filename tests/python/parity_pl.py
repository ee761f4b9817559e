"""Makes a file with everything that figures read, or compares numbers of figures.

    parity_pl.py make SLIDE.h5ad OUT.h5ad
    parity_pl.py compare OUT.h5ad NUMBERS.json

The second prints `function | slide | largest relative difference` and fails above the tolerance.
"""

import json
import sys
import warnings

import numpy as np
import scanpy as sc

warnings.filterwarnings("ignore")


def make(slide, out):
    import squidpy as sq

    a = sc.read_h5ad(slide)
    a = a[a.obs["layer_guess"].notna().to_numpy()].copy()
    a = a[::2].copy()
    a.obs["layer_guess"] = a.obs["layer_guess"].astype(str).astype("category")
    sc.pp.filter_genes(a, min_cells=150)
    a.layers["counts"] = a.X.copy()
    sc.pp.calculate_qc_metrics(a, inplace=True, percent_top=None, log1p=False)
    sc.pp.normalize_total(a, target_sum=1e4)
    sc.pp.log1p(a)
    sc.pp.highly_variable_genes(a, n_top_genes=300)
    sc.pp.pca(a, n_comps=15)
    sc.pp.neighbors(a)
    sc.tl.umap(a)
    sc.tl.rank_genes_groups(a, "layer_guess", method="wilcoxon")
    sq.gr.spatial_neighbors(a, coord_type="generic", n_neighs=6)
    sq.gr.nhood_enrichment(a, "layer_guess", n_perms=50, seed=0, show_progress_bar=False)
    sq.gr.interaction_matrix(a, "layer_guess")
    sq.gr.centrality_scores(a, "layer_guess", show_progress_bar=False)
    sq.gr.co_occurrence(a, "layer_guess", interval=20, show_progress_bar=False)
    for mode in "FGL":
        sq.gr.ripley(a, "layer_guess", mode=mode, n_simulations=20)
    a.write_h5ad(out)


def apart(ours, theirs):
    ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
    return float(np.max(np.abs(ours - theirs) / np.maximum(np.abs(theirs), 1e-300)))


def violins(a, tests):
    from scipy.stats import false_discovery_control, mannwhitneyu

    worst = 0.0
    for correction in ("bh", "bonferroni"):
        for key in ("MBP", "SNAP25", "total_counts"):
            mine = [t for t in tests if t["key"] == key and t["correction"] == correction]
            assert len(mine) == 21, len(mine)
            values = sc.get.obs_df(a, [key, "layer_guess"])
            groups = {g: v.to_numpy(float) for g, v in values.groupby("layer_guess", observed=True)[key]}
            test = lambda t: mannwhitneyu(groups[t["first"]], groups[t["second"]], method="asymptotic")
            p = np.array([test(t).pvalue for t in mine])
            adjusted = false_discovery_control(p) if correction == "bh" else np.minimum(21 * p, 1)
            worst = max(worst, apart([t["p"] for t in mine], p))
            worst = max(worst, apart([t["adjusted"] for t in mine], adjusted))
    return worst


def boxes(a, ours):
    from matplotlib.cbook import boxplot_stats

    percent = sc.pp.normalize_total(a, target_sum=100, layer="counts", inplace=False)["X"]
    means = np.asarray(percent.mean(axis=0)).ravel()
    top = np.argsort(means)[::-1][:20]
    assert list(a.var_names[top]) == [b[0] for b in ours], (list(a.var_names[top]), ours)
    worst = 0.0
    for j, (_, numbers) in zip(top, ours):
        s = boxplot_stats(np.asarray(percent[:, [j]].todense(), float).ravel())[0]
        theirs = [s[k] for k in ("whislo", "q1", "med", "q3", "whishi")]
        # Percentages of 0 are compared on the scale of the others.
        worst = max(worst, float(np.max(np.abs(np.array(numbers) - theirs)) / s["whishi"]))
    return worst


def main():
    if sys.argv[1] == "make":
        return make(sys.argv[2], sys.argv[3])
    a = sc.read_h5ad(sys.argv[2])
    numbers = json.load(open(sys.argv[3]))
    rows = [
        ("pl::violin p-values (scipy)", violins(a, numbers["tests"]), 1e-7),
        ("pl::highest_expr_genes (scanpy)", boxes(a, numbers["boxes"]), 1e-5),
    ]
    for name, worst, _ in rows:
        print(f"{name} | DLPFC 151673 | {worst:.1e}")
    for name, worst, limit in rows:
        assert worst <= limit, f"{name}: {worst} > {limit}"


main()
