"""Compares statistics and metrics with scanpy, scikit-learn, scipy and, where they are installed,
scib-metrics, harmonypy and gseapy.

usage: parity_stats.py OURS.h5ad OURS.json
       parity_stats.py LINKAGES.json

Prints: what | slide | largest difference. Exit code 1 if one is too large.
"""

import json
import sys
import warnings

import numpy as np

warnings.simplefilter("ignore")

try:
    import scanpy as sc
except ImportError:  # an environment for the packages below only
    sc = None

bad = []


def largest(ours, theirs, relative):
    ours, theirs = np.asarray(ours, float).ravel(), np.asarray(theirs, float).ravel()
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    with np.errstate(all="ignore"):
        d = np.abs(ours - theirs)
        d = np.where(relative & (theirs != 0), d / np.abs(theirs), d)
    return float(np.max(np.where(same, 0, np.where(np.isnan(d), np.inf, d)), initial=0))


def check(what, slide, ours, theirs, tolerance, relative=False):
    d = largest(ours, theirs, relative)
    print(f"{what:<64} | {slide} | {'rel' if relative else 'abs'} {d:.1e} (allowed {tolerance:.0e})")
    if not d <= tolerance:
        bad.append(what)


def same(what, slide, ours, theirs):
    equal = ours == theirs
    print(f"{what:<64} | {slide} | {'equal' if equal else f'DIFFERENT: {str(ours)[:200]} {str(theirs)[:200]}'}")
    if not equal:
        bad.append(what)


def in_double(a):
    """The same data in float64: scanpy squares float32 elements in float32, which shows in far tails of t."""
    b = a.copy()
    b.X = b.X.astype(float)
    b.layers["scaled"] = b.layers["scaled"].astype(float)
    raw = a.raw.to_adata()
    raw.X = raw.X.astype(float)
    b.raw = raw
    return b


def rankings(single, ours, slide):
    double = in_double(single)
    for case in ours["rankings"]:
        compare_ranking(single, case, slide, 1e-3)
        if not case["kwargs"].get("method") == "wilcoxon":
            compare_ranking(double, case, slide + " in float64", 1e-8)
    filtered(single, ours, slide)


def compare_ranking(a, case, slide, p_tolerance):
    kwargs, key = case["kwargs"], case["key"]
    what = "rank_genes_groups " + " ".join(f"{k}={v}" for k, v in kwargs.items())
    sc.tl.rank_genes_groups(a, "label", key_added="theirs", **kwargs)
    x, y = a.uns[key], a.uns["theirs"]
    params = {k: v for k, v in x["params"].items()}
    params["use_raw"] = bool(params["use_raw"])
    same(what + ": params", slide, params, y["params"])
    same(what + ": groups", slide, x["names"].dtype.names, y["names"].dtype.names)
    for field in ("scores", "pvals", "pvals_adj", "logfoldchanges"):
        same(what + ": type of " + field, slide, x[field].dtype, y[field].dtype) if x[field].dtype != y[field].dtype else None
    n_genes = "n_genes" in kwargs
    columns = {"scores": [], "pvals": [], "pvals_adj": [], "logfoldchanges": []}
    for group in x["names"].dtype.names:
        left = sc.get.rank_genes_groups_df(a, group, key=key).set_index("names")
        right = sc.get.rank_genes_groups_df(a, group, key="theirs").set_index("names")
        by = left["scores"].abs() if kwargs.get("rankby_abs") else left["scores"]
        assert (np.diff(by) <= 0).all(), what
        if n_genes:  # a tie at the end may be cut elsewhere
            right = right.loc[[g for g in right.index if g in left.index]]
            assert len(right) >= len(left) - 3, what
            left = left.loc[right.index]
        right = right.loc[left.index]
        for column in columns:
            columns[column].append((left[column], right[column]))
    for column, pairs in columns.items():
        left, right = (np.concatenate([p[i] for p in pairs]).astype(float) for i in (0, 1))
        relative = column.startswith("pval")
        check(f"{what}: {column}", slide, left, right, p_tolerance if relative else 1e-5, relative)
    for table in ("pts", "pts_rest"):
        same(what + ": " + table, slide, table in x, table in y) if (table in x) != (table in y) else None
        if table in y:
            assert list(x[table].index) == list(y[table].index)
            assert list(x[table].columns) == list(y[table].columns)
            check(f"{what}: {table}", slide, x[table].to_numpy(), y[table].to_numpy(), 0)


def filtered(a, ours, slide):
    for case in ours["filtered"]:
        sc.tl.filter_rank_genes_groups(a, key=case["from"], key_added="theirs", min_fold_change=0.5,
                                       compare_abs=case.get("compare_abs", False))
        differ = total = 0
        for group in a.uns["theirs"]["names"].dtype.names:
            left, right = a.uns[case["key"]]["names"][group], a.uns["theirs"]["names"][group]
            right = np.array([n if isinstance(n, str) else "nan" for n in right])
            differ += int((left != right).sum())
            total += int((right != "nan").sum())
        print(f"filter_rank_genes_groups {case['key']:<39} | {slide} | {differ} of {total} genes differ")
        if differ > 0:
            bad.append(case["key"])


def trees(a, ours, slide):
    for case in ours["trees"]:
        b, kwargs = a, dict(case["kwargs"])
        if kwargs.get("use_rep") == "X":  # scanpy fails on a sparse X here
            b = sc.AnnData(a.X.toarray(), a.obs)
        if "var_names" in kwargs:  # scanpy 1.11.5 takes all genes, whatever the list
            kwargs = {"var_names": kwargs["var_names"], "cor_method": kwargs["cor_method"]}
            b = sc.AnnData(a.raw[:, kwargs["var_names"]].X.toarray(), a.obs, a.raw.var.loc[kwargs["var_names"]])
        sc.tl.dendrogram(b, "label", key_added="theirs", **kwargs)
        x, y = a.uns[case["key"]], b.uns["theirs"]
        what = f"dendrogram {' '.join(f'{k}={v}' for k, v in case['kwargs'].items() if k != 'var_names')}"
        check(what + ": linkage", slide, x["linkage"], y["linkage"], 1e-6)
        check(what + ": correlation_matrix", slide, x["correlation_matrix"], y["correlation_matrix"], 1e-6)
        same(what + ": categories_ordered", slide, list(x["categories_ordered"]), list(y["categories_ordered"]))
        same(what + ": categories_idx_ordered", slide, list(x["categories_idx_ordered"]), list(y["categories_idx_ordered"]))
        info, other = x["dendrogram_info"], y["dendrogram_info"]
        same(what + ": entries", slide, sorted(info), sorted(other))
        for entry in ("icoord", "dcoord"):
            check(f"{what}: {entry}", slide, info[entry], np.array(other[entry]), 1e-6)
        for entry in ("ivl", "leaves", "color_list", "leaves_color_list"):
            same(f"{what}: {entry}", slide, list(info[entry]), list(other[entry]))
        same(what + ": settings", slide, [x["cor_method"], x["linkage_method"], list(x["groupby"])],
             [y["cor_method"], y["linkage_method"], y["groupby"]])
    sc.pl.dotplot(a, a.raw.var_names[:4], "label", dendrogram="dendrogram_label", show=False)


def metrics(a, ours, slide):
    from sklearn import metrics as m

    known = a.obs["label"].notna().to_numpy()
    label, other, half = (a.obs[c][known].astype(str).to_numpy() for c in ("label", "other", "half"))
    x = np.asarray(a.obsm["X_pca"], float)[known]
    h, c, v = m.homogeneity_completeness_v_measure(label, other)
    table = m.cluster.contingency_matrix(label, other)
    theirs = {
        "ari": m.adjusted_rand_score(label, other), "nmi": m.normalized_mutual_info_score(label, other),
        "ami": m.adjusted_mutual_info_score(label, other), "homogeneity": h, "completeness": c, "v_measure": v,
        "fowlkes_mallows": m.fowlkes_mallows_score(label, other), "purity": table.max(0).sum() / table.sum(),
    }
    for name, value in theirs.items():
        check(name, slide, ours["agreement"][name], value, 1e-10)
    samples = m.silhouette_samples(x, label)
    per_type = []
    for group in np.unique(label):
        part = label == group
        if len(np.unique(half[part])) > 1:
            per_type.append(1 - np.abs(m.silhouette_samples(x[part], half[part])).mean())
    theirs = {
        "silhouette": samples.mean(), "davies_bouldin": m.davies_bouldin_score(x, label),
        "silhouette_label": (samples.mean() + 1) / 2, "silhouette_batch": np.mean(per_type),
    }
    g = ours["geometry"]
    for name, value in theirs.items():
        check(name, slide, g[name], value, 1e-10)
    check("calinski_harabasz", slide, g["calinski_harabasz"], m.calinski_harabasz_score(x, label), 1e-10, True)
    check("silhouette_samples", slide, [s for s in g["silhouette_samples"] if s is not None], samples, 1e-10)

    c = ours["classification"]
    predicted = a.obs["predicted"][known].astype(str).to_numpy()
    theirs = {
        "accuracy": m.accuracy_score(label, predicted), "balanced_accuracy": m.balanced_accuracy_score(label, predicted),
        "macro_f1": m.f1_score(label, predicted, average="macro"), "weighted_f1": m.f1_score(label, predicted, average="weighted"),
        "macro_precision": m.precision_score(label, predicted, average="macro"),
        "weighted_precision": m.precision_score(label, predicted, average="weighted"),
        "macro_recall": m.recall_score(label, predicted, average="macro"),
        "cohen_kappa": m.cohen_kappa_score(label, predicted), "matthews": m.matthews_corrcoef(label, predicted),
        "confusion": m.confusion_matrix(label, predicted, labels=c["classes"]),
    }
    is_first = label == str(a.obs["label"].cat.categories[0])
    first = np.array([np.copysign(np.floor(np.abs(v) + 0.5), v) for v in x[:, 0]])
    theirs["roc_auc"] = m.roc_auc_score(is_first, first)
    theirs["average_precision"] = m.average_precision_score(is_first, first)
    classes = [str(c) for c in a.obs["label"].cat.categories]
    chances = np.exp(x[:, : len(classes)])
    chances /= chances.sum(1, keepdims=True)
    for name, value in theirs.items():
        check(name, slide, c[name], value, 1e-10)
    order = np.argsort(classes)
    theirs = m.roc_auc_score(label, chances[:, order], multi_class="ovr", labels=np.array(classes)[order])
    check("roc_auc_ovr, mean", slide, np.mean(c["roc_auc_ovr"]), theirs, 1e-10)

    from scipy import stats

    r = ours["correlation"]
    part, shifted = a.X[:, :20].toarray().astype(float), np.array(r["shifted"])
    check("pearson_columns", slide, r["pearson"], [stats.pearsonr(part[:, j], shifted[:, j])[0] for j in range(20)], 1e-10)
    check("spearman_columns", slide, r["spearman"], [stats.spearmanr(part[:, j], shifted[:, j])[0] for j in range(20)], 1e-10)


def simpson(d, labels, perplexity):
    """One cell's LISI, as the published code computes it."""
    beta, low, high = 1.0, -np.inf, np.inf
    for _ in range(51):
        p = np.exp(-d * beta)
        entropy = np.log(p.sum()) + beta * (d * p).sum() / p.sum()
        p /= p.sum()
        if abs(entropy - np.log(perplexity)) < 1e-5:
            break
        if entropy > np.log(perplexity):
            low, beta = beta, beta * 2 if high == np.inf else (beta + high) / 2
        else:
            high, beta = beta, beta / 2 if low == -np.inf else (beta + low) / 2
    return 1 / sum(p[labels == g].sum() ** 2 for g in np.unique(labels))


def mixing(a, ours, slide):
    from sklearn.neighbors import NearestNeighbors

    g = ours["geometry"]
    half = a.obs["half"].astype(str).to_numpy()
    x = np.asarray(a.obsm["X_pca"], float)
    d, index = NearestNeighbors(n_neighbors=90, algorithm="brute").fit(x).kneighbors(x)
    theirs = np.array([simpson(d[i, 1:], half[index[i, 1:]], 30) for i in range(len(x))])
    check("lisi (the published formula)", slide, g["lisi"], theirs, 1e-10)
    check("ilisi (the published formula)", slide, g["ilisi"], np.median(theirs) - 1, 1e-10)
    try:
        import scib_metrics
        from scib_metrics.nearest_neighbors import NeighborsResults
    except ImportError:
        return
    import harmonypy

    theirs = harmonypy.compute_lisi(x, a.obs, ["half"], 30)[:, 0]
    check("lisi (harmonypy)", slide, g["lisi"], theirs, 1e-2)
    near = NeighborsResults(indices=index, distances=d)
    check("ilisi (scib-metrics)", slide, g["ilisi"], scib_metrics.ilisi_knn(near, half), 1e-5)
    known = a.obs["label"].notna().to_numpy()
    xk, label, batch = x[known], a.obs["label"][known].astype(str).to_numpy(), half[known]
    d, index = NearestNeighbors(n_neighbors=90, algorithm="brute").fit(xk).kneighbors(xk)
    near = NeighborsResults(indices=index, distances=d)
    check("clisi (scib-metrics)", slide, g["clisi"], scib_metrics.clisi_knn(near, label), 1e-5)
    check("silhouette_label (scib-metrics)", slide, g["silhouette_label"], scib_metrics.silhouette_label(xk, label), 1e-4)
    check("silhouette_batch (scib-metrics)", slide, g["silhouette_batch"], scib_metrics.silhouette_batch(xk, label, batch), 1e-4)


def continuity(a, ours, slide):
    """As SDMBench computes them."""
    from scipy.spatial.distance import cdist

    known = a.obs["label"].notna().to_numpy()
    label, place = a.obs["label"][known].astype(str).to_numpy(), a.obsm["spatial"][known].astype(float)
    scaled = (place - place.mean(0)) / place.std(0)
    nearest = 0.0
    for group in np.unique(label):
        part = scaled[label == group]
        if len(part) > 2:
            d = cdist(part, part)
            np.fill_diagonal(d, np.inf)
            nearest += d.min(1).sum()
    check("chaos", slide, ours["geometry"]["chaos"], nearest / len(label), 1e-10)
    d = cdist(place, place)
    near = np.argsort(d, axis=1, kind="stable")[:, :11]
    abnormal = ((label[near] != label[:, None]).sum(1) > 5).mean()
    check("pas", slide, ours["geometry"]["pas"], abnormal, 2e-3)  # equal distances on a grid


def mixtures(a, ours, slide):
    from sklearn.mixture import GaussianMixture

    x = np.asarray(a.obsm["X_pca"], float)[:, : ours["mixtures"]["columns"]]
    kinds = {"EEE": "tied", "VVV": "full", "VVI": "diag", "VII": "spherical"}
    for fit in ours["mixtures"]["fits"]:
        kind = kinds[fit["model"]]
        s = np.array(fit["covariances"])
        precision = {"tied": lambda: np.linalg.inv(s[0]), "full": lambda: np.linalg.inv(s),
                     "diag": lambda: 1 / np.array([np.diag(c) for c in s]), "spherical": lambda: 1 / s[:, 0, 0]}[kind]()
        gm = GaussianMixture(len(fit["weights"]), covariance_type=kind, means_init=fit["means"], reg_covar=0, tol=1e-12,
                             weights_init=np.array(fit["weights"]) / sum(fit["weights"]), precisions_init=precision, max_iter=200).fit(x)
        check(f"mclust {fit['model']}: log-likelihood", slide, fit["loglik"], gm.score(x) * len(x), 1e-6, True)
        check(f"mclust {fit['model']}: BIC", slide, fit["bic"], -gm.bic(x), 1e-6, True)
        check(f"mclust {fit['model']}: means", slide, fit["means"], gm.means_, 1e-2)
        differ = int((gm.predict(x) + 1 != np.array(fit["classification"])).sum())
        print(f"mclust {fit['model']}: classification{'':<38} | {slide} | {differ} of {len(x)} differ")
        if differ > 2:
            bad.append("classification")


def enrichment(ours, slide):
    from scipy.stats import hypergeom, false_discovery_control

    e = ours["enrichment"]
    query, sets = set(e["genes"]), {k: set(v) for k, v in e["sets"].items()}
    backgrounds = {"sets": set().union(*sets.values()), "size": 20_000, "genes": set(e["all_genes"])}
    for r in e["results"]:
        b = backgrounds[r["background"]]
        inside = (lambda s: s) if isinstance(b, int) else (lambda s: s & b)
        total, q = b if isinstance(b, int) else len(b), inside(query)
        rows = {}
        for term, members in sets.items():
            m = inside(members)
            hit = q & m
            if hit:
                k, n, d = len(hit), len(m), len(q)
                odds = (k + 0.5) * (total - n - d + k + 0.5) / ((n - k + 0.5) * (d - k + 0.5))
                rows[term] = (hypergeom.sf(k - 1, total, n, d), odds, f"{k}/{n}", ";".join(sorted(hit)))
        what = f"enrich, background {r['background']}"
        same(what + ": terms", slide, sorted(r["term"]), sorted(rows))
        p = np.array([rows[t][0] for t in r["term"]])
        check(what + ": p", slide, r["p"], p, 1e-9, True)
        check(what + ": adjusted p", slide, r["adjusted"], false_discovery_control(p), 1e-9, True)
        check(what + ": odds ratio", slide, r["odds"], [rows[t][1] for t in r["term"]], 1e-9, True)
        check(what + ": combined score", slide, r["combined"], [-np.log(rows[t][0]) * rows[t][1] for t in r["term"]], 1e-8, True)
        same(what + ": overlap, genes", slide, list(zip(r["overlap"], r["genes"])), [rows[t][2:] for t in r["term"]])
        try:
            import gseapy
        except ImportError:
            continue
        background = b if isinstance(b, int) else sorted(b)
        t = gseapy.enrich(gene_list=sorted(query), gene_sets={k: sorted(v) for k, v in sets.items()},
                          background=background, outdir=None, no_plot=True).results.set_index("Term").loc[r["term"]]
        for column, name in (("P-value", "p"), ("Adjusted P-value", "adjusted"), ("Odds Ratio", "odds"), ("Combined Score", "combined")):
            check(f"{what}: {column} (gseapy)", slide, r[name], t[column], 1e-8, True)
        same(what + ": overlap (gseapy)", slide, r["overlap"], list(t["Overlap"]))


def scores(a, ours, slide):
    s = ours["scores"]
    many = {"ctrl_size": 1_000_000}
    for name, kwargs in {"all": {}, "no_ref": {"ctrl_as_ref": False, "n_bins": 40}, "pool": {"gene_pool": s["pool"]}}.items():
        sc.tl.score_genes(a, s["list"], score_name="theirs", **many, **kwargs)
        check(f"score_genes, whole bins, {name}", slide, a.obs[name], a.obs["theirs"], 1e-6)

    def plain(genes, control):
        mean = lambda names: np.asarray(a.raw[:, names].X.astype(float).mean(1)).ravel()
        return mean(genes) - mean(control)

    check("score_genes, control genes given", slide, a.obs["drawn"], plain(s["list"], s["control"]), 1e-10)
    # As many drawn, and the same bins, as scanpy draws from.
    from scanpy.tools import _score_genes as code

    genes, pool, subset = code._check_score_genes_args(a, s["list"], None, layer=None, use_raw=True)
    options = dict(ctrl_as_ref=True, n_bins=25, get_subset=subset)
    bins = [set(r) for r in code._score_genes_bins(genes, pool, ctrl_size=10**6, **options)]
    drawn = [len([g for g in s["control"] if g in b]) for b in bins]
    same("score_genes, control genes outside scanpy's bins", slide, len(s["control"]) - sum(drawn), 0)
    parts = plain(s["s"], s["s_control"]), plain(s["g2m"], s["g2m_control"])
    check("score_genes_cell_cycle: S_score", slide, a.obs["S_score"], parts[0], 1e-10)
    check("score_genes_cell_cycle: G2M_score", slide, a.obs["G2M_score"], parts[1], 1e-10)
    s_score, g_score = a.obs["S_score"], a.obs["G2M_score"]
    phase = np.where((s_score < 0) & (g_score < 0), "G1", np.where(g_score > s_score, "G2M", "S"))
    same("score_genes_cell_cycle: phase", slide, list(a.obs["phase"]), list(phase))


def linkages(cases):
    import scipy.cluster.hierarchy as h
    from scipy.spatial.distance import squareform

    for case in cases:
        d = np.array(case["distances"])
        d = (d + d.T) / 2
        np.fill_diagonal(d, 0)
        z = h.linkage(squareform(d), case["method"])
        what, n = f"linkage {case['method']}", f"{len(d)} things"
        check(what, n, case["links"], z, 1e-10)
        tree = h.dendrogram(z, no_plot=True)
        for entry in ("leaves", "color_list", "leaves_color_list"):
            same(f"{what}: {entry}", n, case[entry], list(tree[entry]))
        for entry in ("icoord", "dcoord"):
            check(f"{what}: {entry}", n, case[entry], tree[entry], 1e-10)


def main():
    if len(sys.argv) == 2:
        linkages(json.load(open(sys.argv[1])))
    else:
        import anndata

        a, ours = anndata.read_h5ad(sys.argv[1]), json.load(open(sys.argv[2]))
        slide = ours["slide"]
        ours["enrichment"]["all_genes"] = list(a.raw.var_names[::2])
        if sc is not None:
            rankings(a, ours, slide)
            trees(a, ours, slide)
            scores(a, ours, slide)
        metrics(a, ours, slide)
        mixing(a, ours, slide)
        continuity(a, ours, slide)
        mixtures(a, ours, slide)
        enrichment(ours, slide)
    if bad:
        sys.exit(f"too far apart: {bad}")


main()
