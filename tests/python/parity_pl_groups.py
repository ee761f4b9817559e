"""The numbers behind scanpy's figures of genes by groups, beside ours.

    python parity_pl_groups.py prepare SLIDE.h5ad KEY OUT.h5ad
    python parity_pl_groups.py compare OUT.h5ad CASES.json

`prepare` normalises the slide, ranks its genes and clusters its groups with scanpy, so that both
sides draw from the same file. `compare` prints function | case | largest difference.
"""

import json
import sys
import time
import warnings

import matplotlib

matplotlib.use("Agg")
import numpy as np
import scanpy as sc

warnings.simplefilter("ignore")
sc.settings.verbosity = 0


def prepare(slide, key, out):
    a = sc.read_h5ad(slide)
    a.layers["counts"] = a.X.copy()
    sc.pp.normalize_total(a, target_sum=1e4)
    sc.pp.log1p(a)
    # Some cells without a label, as there are on real slides.
    labels = a.obs[key].copy()
    labels.iloc[::97] = np.nan
    a.obs["some"] = labels
    a.obs["side"] = (a.obs["array_col"] > a.obs["array_col"].median()).map(
        {True: "right", False: "left"}
    ).astype("category")
    a.obs["ring"] = (a.obs["array_row"] % 3).astype(str).astype("category")
    a.obs["total"] = np.asarray(a.layers["counts"].sum(1)).ravel()
    sc.pp.pca(a, n_comps=20, random_state=0)
    sc.tl.rank_genes_groups(a, key, method="t-test")
    sc.tl.dendrogram(a, key)
    a.var["symbol"] = ["s_" + n for n in a.var_names]
    a.write_h5ad(out)


def frame(a, case):
    """The numbers of one case as (groups, genes, values)."""
    name, options = case["function"], dict(case["options"])
    if name.startswith("rank_genes_groups"):
        plot = getattr(sc.pl, name)(a, return_fig=True, show=False, **options)
    else:
        args = case["var_names"], case["groupby"]
        plot = getattr(sc.pl, name)(a, *args, return_fig=True, show=False, **options)
    what = case["frame"]
    if what == "medians":
        df = plot.obs_tidy.groupby(level=0, observed=True).median()
        df = df.loc[plot.categories_order if plot.categories_order is not None else plot.categories]
    else:
        df = getattr(plot, what)
    if plot.categories_order is not None:
        df = df.loc[plot.categories_order]
    if plot.var_names_idx_order is not None:
        df = df.iloc[:, plot.var_names_idx_order]
    return list(map(str, df.index)), list(df.columns), df.to_numpy(dtype=float)


def clusters(a, case):
    import seaborn  # noqa: F401  (scanpy imports it late)

    sub = a[case["cells"], case["var_names"]].copy()
    if not isinstance(sub.X, np.ndarray):
        sub.X = sub.X.toarray()
    grid = sc.pl.clustermap(sub, show=False, use_raw=False, **case["options"])
    return grid.dendrogram_row.reordered_ind, grid.dendrogram_col.reordered_ind


def compare(path, cases):
    a = sc.read_h5ad(path)
    failed = False
    for case in json.load(open(cases)):
        label = f"{case['function']} {case['options']}"
        if case["function"] == "clustermap":
            rows, columns = clusters(a, case)
            ok = list(rows) == case["rows"] and list(columns) == case["columns"]
            print(f"clustermap | {case['options']} | order {'equal' if ok else 'DIFFERS'}")
            failed |= not ok
            continue
        start = time.perf_counter()
        groups, genes, values = frame(a, case)
        seconds = time.perf_counter() - start
        ours = np.array([[np.nan if v is None else v for v in r] for r in case["values"]])
        if groups != case["groups"] or genes != case["genes"]:
            print(f"{label}: rows or columns differ: {groups} {case['groups']} {genes} {case['genes']}")
            failed = True
            continue
        # Infinite numbers (p-values of 0) come as missing from our side.
        values[~np.isfinite(values)] = np.nan
        if not np.array_equal(np.isnan(ours), np.isnan(values)):
            print(f"{label}: other places without a number")
            failed = True
            continue
        finite = np.isfinite(values)
        scale = max(1.0, np.abs(values[finite]).max(initial=0))
        worst = np.abs(ours[finite] - values[finite]).max(initial=0) / scale
        print(f"{label} {case['frame']} | {worst:.1e} | theirs {seconds:.3f} s ours {case['seconds']:.3f} s")
        failed |= not worst <= case["tolerance"]
    sys.exit(failed)


{"prepare": prepare, "compare": compare}[sys.argv[1]](*sys.argv[2:])
