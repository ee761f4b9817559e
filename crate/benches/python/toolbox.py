"""The Python side of `cargo xtask bench pp|neighbors|umap|leiden|rank_genes|moran`: makes the files and
measures scanpy and squidpy.

usage: toolbox.py make FOLDER CELLS GENES
       toolbox.py OPERATION PATH

An operation prints `seconds peak_mb check version`, as benches/toolbox.rs does. Imports, reading and
the compilation by numba (a warm-up on few cells) are not timed; the peak is that of the whole process.
"""

import resource
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

warnings.simplefilter("ignore")

CLUSTERS = 15


def clustered(n, m, rng):
    """Poisson counts, about 7 % of them not zero: CLUSTERS clusters that differ in a tenth of their genes,
    each in a region of its own on the slide."""
    import numpy as np
    import scipy.sparse as sp

    genes = np.exp(rng.normal(0, 1.8, m))
    factors = np.exp(rng.normal(0, 0.8, (CLUSTERS, m)) * (rng.random((CLUSTERS, m)) < 0.1))
    cells = np.exp(rng.normal(0, 0.4, n))
    side = int(np.ceil(np.sqrt(n)))
    place = np.stack([np.arange(n) % side, np.arange(n) // side], 1).astype(float)
    centers = rng.random((CLUSTERS, 2)) * side
    cluster = ((place[:, None] - centers) ** 2).sum(2).argmin(1)
    low, high = 1e-6, 10.0
    some = rng.choice(n, min(n, 300), replace=False)
    for _ in range(40):
        scale = (low * high) ** 0.5
        rate = cells[some, None] * (genes * factors[cluster[some]]) * scale
        low, high = (low, scale) if 1 - np.exp(-rate).mean() > 0.07 else (scale, high)
    blocks = []
    for start in range(0, n, 1000):
        part = slice(start, start + 1000)
        rate = cells[part, None] * genes * factors[cluster[part]] * scale
        blocks.append(sp.csr_matrix(rng.poisson(rate).astype(np.float32)))
    return sp.vstack(blocks, format="csr"), cluster, place * 100 + rng.normal(0, 20, place.shape)


def make(folder, cells, genes):
    import anndata
    import numpy as np
    import pandas as pd

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    x, cluster, place = clustered(cells, genes, np.random.default_rng(0))
    obs = pd.DataFrame(index=[f"CELL{i:06d}-1" for i in range(cells)])
    obs["cluster"] = pd.Categorical([f"c{c}" for c in cluster])
    var = pd.DataFrame(index=[f"GENE{i}" for i in range(genes)])
    adata = anndata.AnnData(x, obs, var, obsm={"spatial": place})
    adata.write_h5ad(folder / "counts.h5ad")
    if genes > 2_000:
        import scanpy as sc
        import squidpy as sq

        sc.pp.filter_genes(adata, min_cells=3)
        sc.pp.highly_variable_genes(adata, flavor="seurat_v3", n_top_genes=2000, subset=True)
        sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)
        sc.pp.pca(adata, n_comps=50)
        sc.pp.neighbors(adata)
        sq.gr.spatial_neighbors(adata, coord_type="generic", n_neighs=6)
        adata.write_h5ad(folder / "prepared.h5ad")
    (folder / "made").touch()


def pp(adata):
    import scanpy as sc

    sc.pp.filter_cells(adata, min_counts=1)
    sc.pp.filter_genes(adata, min_cells=3)
    sc.pp.highly_variable_genes(adata, flavor="seurat_v3", n_top_genes=2000)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    adata = adata[:, adata.var["highly_variable"]].copy()
    sc.pp.scale(adata, max_value=10)
    sc.pp.pca(adata, n_comps=50)
    return adata


def neighbors(adata):
    import scanpy as sc

    sc.pp.neighbors(adata, n_neighbors=15, n_pcs=50)


def umap(adata):
    import scanpy as sc

    sc.tl.umap(adata)


def leiden(adata):
    import scanpy as sc

    sc.tl.leiden(adata, flavor="leidenalg", n_iterations=-1)


def leiden_2(adata):
    import scanpy as sc

    sc.tl.leiden(adata, flavor="igraph", n_iterations=2, directed=False)


def wilcoxon(adata):
    import scanpy as sc

    sc.tl.rank_genes_groups(adata, "cluster", method="wilcoxon")


def t_test(adata):
    import scanpy as sc

    sc.tl.rank_genes_groups(adata, "cluster", method="t-test")


def moran(adata):
    import squidpy as sq

    sq.gr.spatial_autocorr(adata, mode="moran", genes=list(adata.var_names), show_progress_bar=False)


def moran_100(adata):
    import squidpy as sq

    genes = list(adata.var_names[:200])
    sq.gr.spatial_autocorr(adata, mode="moran", genes=genes, n_perms=100, seed=0, n_jobs=2, show_progress_bar=False)


def modularity(adata):
    import numpy as np

    graph = adata.obsp["connectivities"].tocoo()
    label = adata.obs["leiden"].cat.codes.to_numpy()
    total = graph.data.sum(dtype=float)
    inside = graph.data[label[graph.row] == label[graph.col]].sum(dtype=float)
    degree = np.bincount(label[graph.row], weights=graph.data)
    return inside / total - ((degree / total) ** 2).sum()


def best_scores(adata):
    scores = adata.uns["rank_genes_groups"]["scores"]
    return sum(float(scores[group][:100].astype(float).sum()) for group in scores.dtype.names)


# What is measured, and one number of what it found.
OPERATIONS = {
    "pp": (pp, lambda a: float(a.uns["pca"]["variance"].sum())),
    "neighbors": (neighbors, lambda a: float(a.obsp["distances"].sum(dtype=float))),
    "umap": (umap, lambda a: 0.0),
    "leiden": (leiden, modularity),
    "leiden-2": (leiden_2, modularity),
    "wilcoxon": (wilcoxon, best_scores),
    "t-test": (t_test, best_scores),
    "moran": (moran, lambda a: float(a.uns["moranI"]["I"].sum())),
    "moran-100": (moran_100, lambda a: float(a.uns["moranI"]["I"].sum())),
}


def main():
    operation, path, *rest = sys.argv[1:]
    if operation == "make":
        return make(path, *map(int, rest))
    import anndata

    call, check = OPERATIONS[operation]
    if operation in ("neighbors", "umap", "moran", "moran-100"):
        few = anndata.read_h5ad(path, backed="r")[:5000].to_memory()
        call(few)
        del few
    adata = anndata.read_h5ad(path)
    start = time.perf_counter()
    result = call(adata)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    package = "squidpy" if operation.startswith("moran") else "scanpy"
    print(f"{seconds:.4f} {peak:.1f} {check(adata if result is None else result)} {package} {version(package)}")


main()
