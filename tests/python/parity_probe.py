"""Compares scores of gene maps, their baselines and probes of embeddings with scikit-learn, scikit-image and scipy.

usage: parity_probe.py OURS.h5ad OURS.json

Prints: what | largest difference. Exit code 1 if one is too large.
"""

import json
import sys
import warnings

import anndata
import numpy as np
from scipy.stats import pearsonr
from skimage.metrics import structural_similarity
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.metrics import (
    accuracy_score,
    calinski_harabasz_score,
    davies_bouldin_score,
    f1_score,
    silhouette_score,
)
from sklearn.model_selection import train_test_split
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

warnings.simplefilter("ignore")
bad = []


def check(what, ours, theirs, tolerance):
    ours, theirs = np.asarray(ours, float).ravel(), np.asarray(theirs, float).ravel()
    assert ours.shape == theirs.shape, (what, ours.shape, theirs.shape)
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    d = np.where(same, 0, np.abs(ours - theirs))
    d = float(np.max(np.where(np.isnan(d), np.inf, d), initial=0))
    print(f"{what:<60} | {ours.size:>6} numbers | {d:.1e} (allowed {tolerance:.0e})")
    if not d <= tolerance:
        bad.append(what)


def ssim(x, y, row, column):
    """Windows of 7 x 7 places around every spot that they fit around, over the spots that they hold."""
    grid = np.full((row.max() - row.min() + 1, column.max() - column.min() + 1), -1)
    grid[row - row.min(), column - column.min()] = np.arange(len(row))
    spread = x.max(0) - x.min(0)
    c1, c2 = (0.01 * spread) ** 2, (0.03 * spread) ** 2
    total, n = 0, 0
    for r in range(3, grid.shape[0] - 3):
        for c in range(3, grid.shape[1] - 3):
            if grid[r, c] < 0:
                continue
            at = grid[r - 3 : r + 4, c - 3 : c + 4].ravel()
            at = at[at >= 0]
            if len(at) < 2:
                continue
            a, b = x[at], y[at]
            ma, mb = a.mean(0), b.mean(0)
            cov = ((a - ma) * (b - mb)).sum(0) / (len(at) - 1)
            va, vb = a.var(0, ddof=1), b.var(0, ddof=1)
            with np.errstate(all="ignore"):
                total = total + (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
            n += 1
    return np.where(spread > 0, total / n, np.nan)


def compare_scores(what, ours, x, y, place=None):
    flat = lambda a, b: np.ptp(a) == 0 or np.ptp(b) == 0
    r = lambda a, b: np.nan if flat(a, b) else pearsonr(a, b)[0]
    check(f"{what}: Pearson by gene", ours["pearson"], [r(x[:, j], y[:, j]) for j in range(x.shape[1])], 1e-10)
    check(f"{what}: Pearson by spot", ours["spot_pearson"], [r(a, b) for a, b in zip(x, y)], 1e-10)
    check(f"{what}: MSE", ours["mse"], ((x - y) ** 2).mean(0), 1e-10)
    check(f"{what}: MAE", ours["mae"], np.abs(x - y).mean(0), 1e-10)
    if place is not None:
        check(f"{what}: SSIM", ours["ssim"], ssim(x, y, *place), 1e-10)


def maps(a, ours, x):
    hidden = np.zeros(a.n_obs, bool)
    hidden[ours["hidden"]] = True
    at, known = a.obsm["spatial"].astype(float), ~hidden
    distance, index = NearestNeighbors(n_neighbors=8).fit(at[known]).kneighbors(at[hidden])
    weight = 1 / distance**2
    weight /= weight.sum(1, keepdims=True)
    layer = lambda name: np.asarray(a.layers[name], float)
    # Where several are equally near, any of them, or any choice of the last, is right.
    free = np.isclose(distance[:, 0], distance[:, 1])
    check("nearest", layer("nearest")[hidden][~free], x[known][index[~free, 0]], 1e-6)
    wide = NearestNeighbors(n_neighbors=9).fit(at[known]).kneighbors(at[hidden])[0]
    free = np.isclose(wide[:, 7], wide[:, 8])
    ours_idw = layer("idw")[hidden][~free]
    check("inverse distances", ours_idw, np.einsum("ik,ikg->ig", weight, x[known][index])[~free], 1e-5)
    check("spots that both leave out", free.mean() < 0.9, True, 0)
    check("nearest at measured spots", layer("nearest")[known], x[known], 1e-6)

    features = a.obsm["X_pca"].astype(float)
    for name, own in ("ridge", True), ("ridge_shared", False):
        model = make_pipeline(StandardScaler(), RidgeCV(ours["alphas"], alpha_per_target=own))
        model.fit(features[known], x[known])
        check(f"{name}: alpha", ours["alpha" if own else "alpha_shared"], model[-1].alpha_, 0)
        check(f"{name}: prediction", layer(name), model.predict(features), 1e-5)
    model = make_pipeline(StandardScaler(), RidgeCV(ours["alphas"], store_cv_results=True))
    errors = model.fit(features[known], x[known])[-1].cv_results_.mean(0)
    check("ridge: errors of rows left out", ours["errors"], errors.T, 1e-9)

    place = a.obs["array_row"].to_numpy(int), a.obs["array_col"].to_numpy(int)
    for name, s in ours["scores"].items():
        y = layer(name)
        compare_scores(f"{name}, all spots", s["all"], x, y, place)
        compare_scores(f"{name}, hidden spots", s["hidden"], x[hidden], y[hidden], [p[hidden] for p in place])


def full_grid(ours):
    x, y = (np.array(ours[k]).reshape(*ours["shape"], -1) for k in "xy")
    one = lambda a, b: structural_similarity(a, b, data_range=np.ptp(a))
    check("SSIM of a full grid", ours["ssim"], [one(x[..., j], y[..., j]) for j in range(x.shape[-1])], 1e-10)


def regressions(ours, x, label):
    known = label.notna().to_numpy()
    x, label = x[known], label[known].astype(str).to_numpy()
    for case in ours:
        y = np.where(label == "WM", "WM", "grey") if case["two"] else label
        model = LogisticRegression(
            C=1 / (case["alpha"] * len(y)),
            class_weight="balanced" if case["balanced"] else None,
            solver="newton-cg",
            tol=1e-10,
            max_iter=10000,
        ).fit(x, y)
        coef, intercept = np.array(case["coef"]), np.array(case["intercept"])
        order = [case["classes"].index(c) for c in model.classes_]
        coef, intercept = coef[order], intercept[order]
        theirs = model.intercept_
        if case["two"]:
            coef, intercept = coef[1] - coef[0], intercept[1] - intercept[0]
        else:
            theirs = theirs - theirs.mean()
        what = f"logistic regression, {len(order)} classes, alpha {case['alpha']}, balanced {case['balanced']}"
        check(f"{what}: coefficients", coef, model.coef_, 1e-4)
        check(f"{what}: intercepts", intercept, theirs, 1e-3)
        check(f"{what}: chances", np.array(case["chance"])[known][:, order], model.predict_proba(x), 1e-4)


def probes(a, ours, x):
    features = a.obsm["X_pca"].astype(float)
    label = a.obs["layer_guess"]
    known = label.notna().to_numpy()
    z, y = features[known], label[known].astype(str).to_numpy()
    e = ours["embedding"]
    check("silhouette", e["silhouette"], silhouette_score(z, y), 1e-10)
    check("Calinski-Harabasz", e["calinski_harabasz"], calinski_harabasz_score(z, y), 1e-7)
    check("Davies-Bouldin", e["davies_bouldin"], davies_bouldin_score(z, y), 1e-10)

    # Splits of another generator: the means over five are near, not equal.
    linear = ours["linear"]
    validation, test = [], []
    for seed in range(5):
        train_x, rest_x, train_y, rest_y = train_test_split(z, y, test_size=0.2, stratify=y, random_state=seed)
        val_x, test_x, val_y, test_y = train_test_split(rest_x, rest_y, test_size=0.5, stratify=rest_y, random_state=seed)
        models = [
            LogisticRegression(C=1 / (alpha * len(train_y)), class_weight="balanced", max_iter=5000).fit(train_x, train_y)
            for alpha in linear["alphas"]
        ]
        validation.append([f1_score(val_y, m.predict(val_x), average="macro") for m in models])
        scores = lambda p: (f1_score(test_y, p, average="macro"), accuracy_score(test_y, p))
        test.append([scores(m.predict(test_x)) for m in models])
    best = np.argmax(np.mean(validation, 0))
    f1, accuracy = np.mean(test, 0)[best]
    check("linear probe: observations", linear["n_used"], len(y), 0)
    check("linear probe: macro F1", linear["macro_f1"], f1, 0.04)
    check("linear probe: accuracy", linear["accuracy"], accuracy, 0.04)
    check("linear probe: commonest class", linear["majority"], np.unique(y, return_counts=True)[1].max() / len(y), 0.005)

    first, second = np.arange(0, a.n_obs, 2), np.arange(1, a.n_obs, 2)
    model = make_pipeline(StandardScaler(), Ridge(10)).fit(features[first], x[first])
    genes = list(a.var_names)
    chosen = [j for j in range(a.n_vars) if genes[j] in set(ours["ridge"]["genes"])]
    assert [genes[j] for j in chosen] == ours["ridge"]["genes"]
    compare_scores("ridge probe", ours["ridge"], x[second][:, chosen], model.predict(features[second])[:, chosen])


def main():
    a, ours = anndata.read_h5ad(sys.argv[1]), json.load(open(sys.argv[2]))
    x = np.asarray(a.X.todense() if hasattr(a.X, "todense") else a.X, float)
    maps(a, ours["maps"], x)
    full_grid(ours["full_grid"])
    regressions(ours["regressions"], a.obsm["X_pca"].astype(float), a.obs["layer_guess"])
    probes(a, ours["probes"], x)
    if bad:
        sys.exit(f"too far apart: {bad}")


main()
