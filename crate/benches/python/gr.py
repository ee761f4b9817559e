"""The Python side of benches/gr.rs: makes slides and measures squidpy on them.

usage: gr.py make PATH SPOTS GENES
       gr.py OPERATION PATH

An operation prints `seconds peak_mb`. It runs twice and the second run is timed, so that compiling
(numba) is not; the peak is that of the whole process.
"""

import resource
import sys
import time
import warnings

warnings.simplefilter("ignore")


def make(path, n, m):
    """A hexagonal slide with 10 clusters in patches and sparse log counts, about 10 % stored."""
    import anndata as ad
    import numpy as np
    import pandas as pd
    import scipy.sparse as sp

    rng = np.random.default_rng(0)
    side = int(np.ceil(np.sqrt(n)))
    row, col = np.divmod(np.arange(n), side)
    xy = np.c_[2.0 * col + row % 2, row * 3**0.5] + rng.normal(0, 0.02, (n, 2))
    patch = (np.sin(xy[:, 0] * 6 / side) + np.cos(xy[:, 1] * 5 / side) + 2) / 4
    cluster = np.clip(patch * 10 + rng.normal(0, 0.5, n), 0, 9).astype(int)
    rate = np.exp(rng.normal(-2.8, 1.2, m))
    blocks = []
    for start in range(0, n, 5000):
        stop = min(n, start + 5000)
        field = 1 + 0.5 * np.outer(np.sin(xy[start:stop, 0] * 9 / side), rng.normal(0, 1, m) > 1)
        blocks.append(sp.csr_matrix(np.log1p(rng.poisson(field * rate)).astype("f4")))
    a = ad.AnnData(sp.vstack(blocks, format="csr"))
    a.obsm["spatial"] = xy
    a.obs["cluster"] = pd.Categorical([f"c{c}" for c in cluster])
    a.write_h5ad(path)


def measure(operation, path):
    import anndata as ad
    import squidpy as sq

    a = ad.read_h5ad(path)
    knn = lambda: sq.gr.spatial_neighbors_knn(a, n_neighs=6)
    if not operation.startswith("neighbors"):
        knn()
    quiet = {"show_progress_bar": False}

    def perms():
        sq.gr.spatial_autocorr(a, genes=list(a.var_names[:100]), n_perms=100, n_jobs=2, seed=0, **quiet)

    def sepal():
        sq.gr.spatial_neighbors_grid(a, n_neighs=6)
        sq.gr.sepal(a, max_neighs=6, genes=list(a.var_names[:16]), n_jobs=2, **quiet)

    call = {
        "neighbors-knn": knn,
        "neighbors-grid2": lambda: sq.gr.spatial_neighbors_grid(a, n_neighs=6, n_rings=2),
        "neighbors-radius": lambda: sq.gr.spatial_neighbors_radius(a, radius=2.1),
        "neighbors-delaunay": lambda: sq.gr.spatial_neighbors_delaunay(a),
        "moran": lambda: sq.gr.spatial_autocorr(a, mode="moran", **quiet),
        "geary": lambda: sq.gr.spatial_autocorr(a, mode="geary", **quiet),
        "moran-perms": perms,
        "nhood": lambda: sq.gr.nhood_enrichment(a, "cluster", n_perms=1000, n_jobs=2, seed=0, **quiet),
        "interaction": lambda: sq.gr.interaction_matrix(a, "cluster"),
        "centrality": lambda: sq.gr.centrality_scores(a, "cluster", n_jobs=2),
        "cooccurrence": lambda: sq.gr.co_occurrence(a, "cluster"),
        "ripley-g": lambda: sq.gr.ripley(a, "cluster", mode="G"),
        "ripley-l": lambda: sq.gr.ripley(a, "cluster", mode="L"),
        "sepal": sepal,
    }[operation]
    call()
    start = time.perf_counter()
    call()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{seconds:.4f} {peak * 1024 * 1024 / 1e6:.1f}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["make", path, n, m]:
            make(path, int(n), int(m))
        case [operation, path]:
            measure(operation, path)
        case _:
            sys.exit(__doc__)
