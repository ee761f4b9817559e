"""Writes tests/golden/pl/ranked.h5ad: results of scanpy's rank_genes_groups and dendrogram.

    python pl_ranked.py tests/golden/pl/ranked.h5ad
"""

import sys
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc

warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
n = 30
x = rng.poisson(2, (n, 5)).astype("float32")
x[:10, 0] += 5
x[10:20, 1] += 4
x[20:, 2] += 6
group = pd.Categorical(np.repeat(["a", "b", "c"], 10))
obs = pd.DataFrame({"group": group}, index=[f"c{i}" for i in range(n)])
a = ad.AnnData(np.log1p(x), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(5)]))
sc.tl.rank_genes_groups(a, "group", method="wilcoxon")
sc.tl.rank_genes_groups(a, "group", method="logreg", key_added="logreg")
sc.pp.pca(a, n_comps=3)
sc.tl.dendrogram(a, "group")
del a.uns["pca"], a.varm["PCs"], a.obsm["X_pca"]
a.write_h5ad(sys.argv[1], compression="gzip")
