"""Computes spatial graphs and statistics with squidpy and compares them with ours.

usage: parity_gr.py NAME OURS.h5ad

OURS holds a slide with everything that parity_gr.rs computed. Deterministic results must be equal
within a stated tolerance; results of random permutations must agree within what two runs of the
same code differ by. Prints `function | slide | largest difference | tolerance`; exit code 1 if one
is too large.
"""

import fractions
import logging
import sys
import warnings

warnings.simplefilter("ignore")

import anndata as ad
import matplotlib
import numpy as np
import pandas as pd
import scanpy as sc
import squidpy as sq
from scipy.spatial import ConvexHull

matplotlib.use("Agg")
logging.disable(logging.WARNING)

name, path = sys.argv[1:]
ours = ad.read_h5ad(path)
xy = ours.obsm["spatial"]
n = ours.n_obs
failed = False


def report(function, difference, tolerance, note=""):
    global failed
    bad = not difference <= tolerance
    failed |= bad
    print(f"{function:<44} | {name:<9} | {difference:.2e} | {tolerance:.0e} {note}{'  TOO LARGE' if bad else ''}")


def apart(a, b, relative=False):
    """The largest difference; NaN equals NaN only."""
    a, b = np.asarray(a, float).ravel(), np.asarray(b, float).ravel()
    assert a.shape == b.shape, (a.shape, b.shape)
    if (np.isnan(a) != np.isnan(b)).any():
        return np.inf
    keep = ~np.isnan(a) & (a != b)
    d = np.abs(a[keep] - b[keep])
    if relative:
        d = d / np.maximum(np.abs(b[keep]), 1e-300)
    return d.max(initial=0.0)


def edges(m):
    m = m.tocoo()
    return set(zip(m.row.tolist(), m.col.tolist()))


def base():
    return ad.AnnData(obs=ours.obs[["cluster"]].copy(), obsm={"spatial": xy.copy()})


def same_graph(function, key, make, tied=None):
    a = base()
    make(a)
    theirs, mine = a.obsp["spatial_connectivities"], ours.obsp[f"{key}_connectivities"]
    one, two = edges(theirs), edges(mine)
    wrong = [e for e in one ^ two if tied is None or not tied(e)]
    report(f"{function} edges", len(wrong), 0, f"of {len(two)}, {len(one ^ two) - len(wrong)} are ties")
    both = sorted(one & two)
    r, c = np.array(both).T
    report(f"{function} weights", apart(mine[r, c], theirs[r, c]), 1e-6)
    td, md = a.obsp["spatial_distances"], ours.obsp[f"{key}_distances"]
    report(f"{function} lengths", apart(md[r, c], td[r, c], relative=True), 1e-12)
    params = a.uns["spatial_neighbors"]["params"]
    mine = ours.uns[f"{key}_neighbors"]["params"]
    # A file keeps no order of keys.
    assert set(params) == set(mine), (params, mine)
    for k, v in params.items():
        assert np.all(v == mine[k]) or v is None and mine[k] is None, (k, v, mine[k])


# --- graphs
g = sq.gr
if "array_row" in ours.obs:
    same_graph("grid 6", "grid", lambda a: g.spatial_neighbors_grid(a, n_neighs=6))
    same_graph("grid 6, 2 rings", "grid2", lambda a: g.spatial_neighbors_grid(a, n_neighs=6, n_rings=2))
    same_graph("grid 6, spectral", "spectral", lambda a: g.spatial_neighbors_grid(a, n_neighs=6, transform="spectral"))
    same_graph("grid 6, cosine", "cosine", lambda a: g.spatial_neighbors_grid(a, n_neighs=6, transform="cosine"))
    same_graph("grid 6, 2 rings, diagonal", "own", lambda a: g.spatial_neighbors_grid(a, n_neighs=6, n_rings=2, set_diag=True))
reach = float(ours.uns["reach"])
dist = lambda e: ((xy[e[0]].astype(float) - xy[e[1]]) ** 2).sum() ** 0.5
last = {}


def tied_knn(e):
    """Of equally distant spots either may be the last of the k."""
    if e[0] not in last:
        d = np.sort(((xy[e[0]].astype(float) - xy) ** 2).sum(1) ** 0.5)
        last[e[0]] = d[10]
    return abs(dist(e) - last[e[0]]) <= 1e-9 * last[e[0]]


same_graph("knn 10", "knn", lambda a: g.spatial_neighbors_knn(a, n_neighs=10), tied_knn)
same_graph("radius", "radius", lambda a: g.spatial_neighbors_radius(a, radius=reach))
same_graph("radius, interval", "ring", lambda a: g.spatial_neighbors_radius(a, radius=(reach / 2, reach)))
same_graph("radius, percentile", "short", lambda a: g.spatial_neighbors_radius(a, radius=reach, percentile=60.0))
same_graph(
    "radius by slice", "slices", lambda a: g.spatial_neighbors_radius(a, radius=reach, library_key="cluster")
)


def empty_circle(e):
    """Whether some circle through both ends of an edge has no spot inside, in exact arithmetic:
    1 when it has room to move, 0 when it touches others (several triangulations are right), −1
    when there is none and the edge is none of a Delaunay triangulation."""
    f = lambda i: [fractions.Fraction(float(v)) for v in xy[i]]
    p, q = f(e[0]), f(e[1])
    left, right = None, None
    for i in range(n):
        r = f(i)
        s = (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])
        a, b = [u - w for u, w in zip(p, r)], [u - w for u, w in zip(q, r)]
        dot = a[0] * b[0] + a[1] * b[1]
        if s == 0:
            if dot < 0:
                return -1
            continue
        # Where on the bisector the centre of the circle through p, q and r lies.
        t = dot / s
        if s > 0:
            left = t if left is None else min(left, t)
        else:
            right = t if right is None else max(right, t)
    if left is None or right is None or left > right:
        return 1
    return 0 if left == right else -1


def same_mesh(function, key, make):
    """Where the graphs differ, exact arithmetic says who is right: every edge of ours must be one of
    a Delaunay triangulation, and every edge that only squidpy has must be none, or one of several
    that are right."""
    a = base()
    make(a)
    one, two = edges(a.obsp["spatial_connectivities"]), edges(ours.obsp[f"{key}_connectivities"])
    more = {e: empty_circle(e) for e in two - one if e[0] < e[1]}
    less = {e: empty_circle(e) for e in one - two if e[0] < e[1]}
    wrong = sum(v < 0 for v in more.values()) + sum(v > 0 for v in less.values())
    ties = sum(v == 0 for v in less.values())
    rounding = sum(v < 0 for v in less.values())
    same = len(one & two) // 2
    report(function, wrong, 0, f"wrong; {same} edges equal, {ties} squidpy's other choice on a circle, {rounding} its rounding")
    m = ours.obsp[f"{key}_distances"].tocoo()
    d = ((xy[m.row].astype(float) - xy[m.col]) ** 2).sum(1) ** 0.5
    report(f"{function} lengths", apart(m.data, d, True), 1e-12)


same_mesh("delaunay", "delaunay", lambda a: g.spatial_neighbors_delaunay(a))
same_mesh("delaunay, pruned", "pruned", lambda a: g.spatial_neighbors_delaunay(a, radius=(0.0, reach)))

# --- autocorrelation: on the same graph and numbers, in float64
a = ad.AnnData(ours.X.astype("f8"), obs=ours.obs, var=ours.var, obsm={"spatial": xy})
a.obsp["spatial_connectivities"] = ours.obsp["spatial_connectivities"].astype("f8")
single = ad.AnnData(ours.X, obs=ours.obs, var=ours.var, obsm={"spatial": xy})
single.obsp["spatial_connectivities"] = ours.obsp["spatial_connectivities"]
quiet = {"show_progress_bar": False}
for mode, key, stat in [("moran", "moranI", "I"), ("geary", "gearyC", "C")]:
    g.spatial_autocorr(a, mode=mode, **quiet)
    g.spatial_autocorr(single, mode=mode, **quiet)
    theirs, mine = a.uns[key], ours.uns[key]
    constant = theirs[stat].isna()
    assert list(theirs.columns) == list(mine.columns), mine.columns
    assert mine[stat].isna().sum() == constant.sum() and mine[stat].isna()[len(mine) - constant.sum() :].all()
    theirs = theirs[~constant]
    first = mine[:-1] if mode == "moran" else mine
    assert (np.diff(mine[stat].dropna()) * (1 if mode == "geary" else -1) >= 0).all()
    mine = mine.loc[theirs.index]
    report(f"{mode} {stat}, {len(theirs)} genes", apart(mine[stat], theirs[stat]), 1e-10)
    report(f"{mode} var_norm", apart(mine["var_norm"], theirs["var_norm"], True), 1e-10)
    # 1 − cdf, as squidpy has it, is good to 1e-16 absolute only.
    report(f"{mode} pval_norm", apart(mine["pval_norm"], theirs["pval_norm"]), 1e-9)
    if not constant.any():
        q = apart(mine["pval_norm_fdr_bh"], theirs["pval_norm_fdr_bh"])
        report(f"{mode} pval_norm_fdr_bh", q, 1e-9)
    f4 = single.uns[key].loc[theirs.index, stat]
    report(f"{mode} {stat}, squidpy in float32", apart(mine[stat], f4), 1e-6)
    genes = list(ours.uns[f"{key}_perms"].index)
    g.spatial_autocorr(a, mode=mode, genes=genes, n_perms=400, n_jobs=1, seed=1, **quiet)
    theirs, mine = a.uns[key].loc[genes], ours.uns[f"{key}_perms"]
    assert list(theirs.columns) == list(mine.columns), mine.columns
    # Constant genes: NaN here, whatever was in memory there.
    theirs, mine = theirs[~theirs[stat].isna()], mine[~mine[stat].isna()]
    # ln of the ratio of two variances of 400 draws: deviation √(2·2/400).
    report(f"{mode} var_sim, ln of ratio", np.abs(np.log(mine["var_sim"] / theirs["var_sim"])).max(), 0.5)
    # Two shares of 400 each: deviation at most √(2·¼/400).
    report(f"{mode} pval_sim", apart(mine["pval_sim"], theirs["pval_sim"]), 5 * (0.5 / 400) ** 0.5)
    report(f"{mode} pval_z_sim", apart(mine["pval_z_sim"], theirs["pval_z_sim"]), 0.15)

# --- clusters
del a.uns["moranI"], a.uns["gearyC"]
for key, options in [("cluster", {}), ("normalized", {"normalized": True}), ("weights", {"weights": True})]:
    a.obs[key] = a.obs["cluster"]
    g.interaction_matrix(a, key, **options)
    report(f"interaction_matrix {key}", apart(ours.uns[f"{key}_interactions"], a.uns[f"{key}_interactions"], True), 1e-12)
g.centrality_scores(a, "cluster")
mine, theirs = ours.uns["cluster_centrality_scores"], a.uns["cluster_centrality_scores"]
assert list(mine.columns) == list(theirs.columns) and list(mine.index) == list(theirs.index)
report("centrality_scores", apart(mine, theirs), 1e-12)
for seed in (1, 2):
    g.nhood_enrichment(a, "cluster", n_perms=1000, n_jobs=1, seed=seed, **quiet)
    theirs = a.uns["cluster_nhood_enrichment"]
    for key, runs in [("cluster", 2), ("exact", 1)]:
        mine = ours.uns[f"{key}_nhood_enrichment"]
        report(f"nhood_enrichment count ({key})", apart(mine["count"], theirs["count"]), 0)
        # Mean and deviation of 1000 draws are off by 1/√1000 and 1/√2000 of a deviation.
        z = theirs["zscore"]
        noise = np.sqrt(runs * (1 / 1000 + z**2 / 2000))
        off = np.nanmax(np.abs(mine["zscore"] - z) / noise)
        assert (np.isnan(mine["zscore"]) == np.isnan(z)).all()
        report(f"nhood_enrichment zscore ({key}), in noise", off, 5)

# --- co-occurrence
mine = ours.uns["cluster_co_occurrence"]
g.co_occurrence(a, "cluster", interval=mine["interval"])
report("co_occurrence, same distances", apart(mine["occ"], a.uns["cluster_co_occurrence"]["occ"]), 1e-3)
# By the definition in float64: spots of a grid have many pairs at one distance, which float32 puts
# on either side of a limit together.
codes, k = a.obs["cluster"].cat.codes.to_numpy(), len(a.obs["cluster"].cat.categories)
pairs = np.zeros((k, k, len(mine["interval"]) - 1))
limits = mine["interval"][1:].astype("f8") ** 2
for i in range(n):
    d = ((xy.astype("f8") - xy[i]) ** 2).sum(1)
    d[i] = np.inf
    for r, limit in enumerate(limits):
        pairs[codes[i], :, r] += np.bincount(codes[d <= limit], minlength=k)
near = pairs.sum(0)
exact = (pairs / near[:, None, :]).transpose(1, 0, 2) / (near / near.sum(0))[:, None, :]
report("co_occurrence, definition in float64", apart(mine["occ"], exact), 1e-12)
g.co_occurrence(a, "cluster")
theirs = a.uns["cluster_co_occurrence"]["interval"]
report("co_occurrence distances", apart(mine["interval"], theirs, True), 1e-2, "(the first two spots are in either order)")

# --- Ripley
hull = ConvexHull(xy)
for mode in "FGL":
    g.ripley(a, "cluster", mode=mode, n_simulations=100)
    mine, theirs = ours.uns[f"cluster_ripley_{mode}"], a.uns[f"cluster_ripley_{mode}"]
    assert set(mine) == set(theirs), list(mine)
    report(f"ripley {mode} bins", apart(mine["bins"], theirs["bins"], True), 1e-12)
    stat = f"{mode}_stat"
    for table in (stat, "sims_stat"):
        assert list(mine[table].columns) == list(theirs[table].columns)
        column = theirs[table].columns[1]
        assert list(mine[table][column].astype(str)) == list(theirs[table][column].astype(str))
    off = apart(mine[stat]["stats"], theirs[stat]["stats"])
    # F measures from 1000 points at random, two neighbours each: deviation of a share at most
    # √(2·¼/1000), neighbours of a point being alike.
    report(f"ripley {mode} of clusters", off, 5 * (0.5 / 1000) ** 0.5 if mode == "F" else 1e-9)
    sims = [t["sims_stat"]["stats"].to_numpy().reshape(100, -1) for t in (mine, theirs)]
    spread = np.sqrt((sims[0].var(0) + sims[1].var(0)) / 100)
    # F measures from its own random points: what they share does not average out.
    spread = np.hypot(spread, (0.5 / 1000) ** 0.5 if mode == "F" else 0)
    off = np.abs(sims[0].mean(0) - sims[1].mean(0))
    report(f"ripley {mode} simulations, in noise", (off / np.maximum(spread, 1e-9))[1:].max(), 5)
    if mode != "F":
        report(f"ripley {mode} p-values", apart(mine["pvalues"], theirs["pvalues"]), 5 * (0.5 / 100) ** 0.5)

# --- sepal
if "sepal_score" in ours.uns:
    mine = ours.uns["sepal_score"]
    a.obsp["spatial_connectivities"] = ours.obsp["grid_connectivities"]
    g.sepal(a, max_neighs=6, genes=list(mine.index), n_iter=30000, n_jobs=2, **quiet)
    theirs = a.uns["sepal_score"].loc[mine.index]
    report("sepal, 8 genes", apart(mine, theirs), 0.0011, "(a step is 0.001)")

# --- squidpy draws from what we wrote
p = sq.pl
p.nhood_enrichment(ours, "cluster")
p.interaction_matrix(ours, "cluster")
p.centrality_scores(ours, "cluster")
p.co_occurrence(ours, "cluster")
for mode in "FGL":
    p.ripley(ours, "cluster", mode=mode)
print(f"squidpy.pl draws | {name}")
sys.exit(failed)
