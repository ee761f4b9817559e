"""Does with scanpy what tests/tests/parity_pp.rs did, and compares.

usage: parity_pp.py FOLDER SLIDE
"""

import sys
import unittest.mock
import warnings
from pathlib import Path

import anndata
import numpy as np
import scanpy as sc
import scipy.sparse as sp

warnings.simplefilter("ignore")
folder, slide = Path(sys.argv[1]), sys.argv[2]
bad = []


def read(name):
    return anndata.read_h5ad(folder / f"{name}.h5ad")


def dense(x):
    return np.asarray(x.todense() if sp.issparse(x) else x, dtype=np.float64)


def report(what, difference, limit):
    print(f"{what:<44} | {slide:<8} | largest difference {difference:.1e} (limit {limit:.0e})")
    if not difference <= limit:
        bad.append(f"{what} of {slide}: {difference} > {limit}")


def relative(a, b, floor=1e-3):
    """Largest difference as a part of the larger of `floor` and the number; NaN and inf must agree."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if not (np.isfinite(a) == np.isfinite(b)).all():
        return np.inf
    d = np.abs(a - b) / np.maximum(np.abs(b), floor)
    return float(np.max(np.where(same, 0, d), initial=0))


def hvg(base):
    for flavor in ["seurat", "cell_ranger", "seurat_v3", "seurat_v3_paper"]:
        v3 = flavor.startswith("seurat_v3")
        for top in [1000] if v3 else [None, 1000]:
            for batch in [None, "batch"]:
                a = base.copy()
                layer = "counts" if v3 else None
                # scanpy leaves genes of equal normalised variance, which are many in a batch, in no
                # order; ours is theirs by index.
                with unittest.mock.patch("numpy.argsort", stable):
                    sc.pp.highly_variable_genes(
                        a, flavor=flavor, n_top_genes=top, batch_key=batch, layer=layer
                    )
                name = f"hvg-{flavor}{'-top' if top else ''}{'-batch' if batch else ''}"
                ours = read(name)
                columns = [c for c in a.var if c not in base.var]
                mine = [c for c in ours.var if c not in base.var]
                if sorted(columns) != sorted(mine):
                    bad.append(f"{name}: columns {mine}, not {columns}")
                for c in columns:
                    if ours.var[c].dtype.kind != a.var[c].dtype.kind:
                        bad.append(f"{name}: {c} is {ours.var[c].dtype}, not {a.var[c].dtype}")
                numbers = [c for c in columns if c not in RANKED and c != "highly_variable"]
                # Normalised dispersions lie around 0.
                floor = lambda c: 0.1 if c.startswith("dispersions") else 1e-3
                worst = max(relative(ours.var[c], a.var[c], floor(c)) for c in numbers)
                report(name, worst, 1e-4)
                chosen = np.array(a.var["highly_variable"]), np.array(ours.var["highly_variable"])
                report(f"{name}: genes chosen otherwise", int((chosen[0] != chosen[1]).sum()), 0)
                for c in set(columns) & RANKED:
                    x, y = a.var[c].to_numpy(float), ours.var[c].to_numpy(float)
                    other = ~((x == y) | (np.isnan(x) & np.isnan(y)))
                    report(f"{name}: {c}", int(other.sum()), 0)


argsort = np.argsort


def stable(a, axis=-1, **_):
    return argsort(a, axis=axis, kind="stable")


RANKED = {"highly_variable_rank", "highly_variable_nbatches", "highly_variable_intersection"}


def apart(a, b):
    return float(np.abs(dense(a) - dense(b)).max())


def values(few):
    a = few.copy()
    sc.pp.regress_out(a, ["total", "left"])
    report("regress_out numbers", apart(a.X, read("regress_out-numbers").X), 1e-4)
    a = few.copy()
    sc.pp.regress_out(a, ["batch"])
    report("regress_out categories", apart(a.X, read("regress_out-categories").X), 1e-4)

    for name, kind in [("centred", True), ("plain", False)]:
        a, ours = few.copy(), read(f"scale-{name}")
        sc.pp.scale(a, zero_center=kind, max_value=10)
        report(f"scale {name}", apart(a.X, ours.X), 1e-4)
        for c in ["mean", "std"]:
            report(f"scale {name}: {c}", relative(ours.var[c], a.var[c]), 1e-5)
        assert sp.issparse(a.X) == sp.issparse(ours.X)
    a, ours = few.copy(), read("scale-mask")
    a.X = dense(a.X).astype(np.float32)
    sc.pp.scale(a, mask_obs="first")
    report("scale some cells", apart(a.X, ours.X), 1e-4)
    for c in ["mean of first", "std of first"]:
        report(f"scale some cells: {c}", relative(ours.var[c], a.var[c]), 1e-5)
    a, ours = few.copy(), read("scale-layer")
    sc.pp.scale(a, zero_center=False, layer="counts")
    report("scale a layer", apart(a.layers["counts"], ours.layers["counts"]), 1e-4)

    a, ours = few.copy(), read("normalize_total-exclude")
    options = dict(target_sum=1e4, exclude_highly_expressed=True, max_fraction=0.02)
    sc.pp.normalize_total(a, layer="counts", **options)
    x, y = dense(a.layers["counts"]), dense(ours.layers["counts"])
    report("normalize_total exclude_highly_expressed", relative(y, x), 1e-4)

    ours = read("gaussian_smooth")
    at, sigma = ours.obsm["spatial"].astype(float), ours.obs["sigma"].iloc[0]
    square = ((at[:, None, :] - at[None]) ** 2).sum(-1)
    w = np.exp(-square / (2 * sigma**2))
    w /= w.sum(1, keepdims=True)
    report("gaussian_smooth", apart(w @ dense(ours.X), ours.layers["smooth"]), 1e-5)


def components(ours):
    for name, key in [("dense", "X_pca"), ("sparse", "of_sparse")]:
        a = ours.copy()
        if name == "dense":
            sc.pp.scale(a, max_value=10)
        sc.pp.pca(a, svd_solver="arpack")
        mine = ours.uns["pca" if name == "dense" else key]
        # scanpy's solver works in float32 here, to a tolerance of 1e-7.
        report(f"pca {name}: variance", relative(mine["variance"], a.uns["pca"]["variance"]), 1e-4)
        ratio = relative(mine["variance_ratio"], a.uns["pca"]["variance_ratio"])
        report(f"pca {name}: variance_ratio", ratio, 1e-2)
        x, y = dense(ours.obsm[key])[:, :20], dense(a.obsm["X_pca"])[:, :20]
        y = y * np.sign((x * y).sum(0))
        scale = np.abs(y).max()
        report(f"pca {name}: 20 scores / largest", float(np.abs(x - y).max() / scale), 1e-3)


def neighbours(ours):
    kinds = [
        ("plain", {}),
        ("few", dict(n_neighbors=6, n_pcs=20)),
        ("cosine", dict(metric="cosine")),
        ("gauss", dict(method="gauss")),
    ]
    for name, options in kinds:
        a = anndata.AnnData(ours.X.copy(), obsm={"X_pca": ours.obsm["X_pca"]})
        sc.pp.neighbors(a, **options)
        d, mine = a.obsp["distances"].tocsr(), ours.obsp[f"{name}_distances"].tocsr()
        k = a.uns["neighbors"]["params"]["n_neighbors"] - 1
        sets = lambda m: np.sort(m.indices.reshape(-1, k), axis=1)
        report(f"neighbors {name}: other neighbours", int((sets(d) != sets(mine)).sum()), 0)
        report(f"neighbors {name}: distances", float(abs(d - mine).max()), 1e-5)
        c, mine = a.obsp["connectivities"], ours.obsp[f"{name}_connectivities"]
        # Of cosine distances scanpy has 6 digits after the point, as they are made in float32.
        limit = 1e-3 if name == "cosine" else 1e-4
        report(f"neighbors {name}: connectivities", float(abs(c - mine).max()), limit)
        assert c.dtype == mine.dtype, (c.dtype, mine.dtype)
        params = ours.uns[name]["params"]
        theirs = a.uns["neighbors"]["params"]
        if {k: str(v) for k, v in params.items()} != {k: str(v) for k, v in theirs.items()}:
            bad.append(f"neighbors {name}: params {params}, not {theirs}")
    # A Python user goes on from what was written.
    sc.tl.umap(ours, maxiter=2)
    sc.tl.diffmap(ours, n_comps=3)
    print(f"tl.umap and tl.diffmap run on the graph      | {slide}")


hvg(read("base"))
values(read("few"))
components(read("components"))
neighbours(read("components"))
if bad:
    sys.exit("\n".join(bad))
