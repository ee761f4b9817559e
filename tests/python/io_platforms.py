"""Compares what scanpy reads from 10x files and Visium folders with h5ad files written from ours.

usage: io_platforms.py KIND ORIGINAL OURS [KIND ORIGINAL OURS ...]     KIND: h5, h5-all, mtx, visium

Prints one line a case; exit code 1 if one differs.
"""

import sys
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scanpy as sc

warnings.simplefilter("ignore")


def same_matrix(x, y):
    x, y = x.tocsr().sorted_indices(), y.tocsr().sorted_indices()
    assert x.dtype == y.dtype, (x.dtype, y.dtype)
    assert x.shape == y.shape, (x.shape, y.shape)
    assert (x != y).nnz == 0, "X"


def same_table(x, y, slot):
    assert list(x.index) == list(y.index), (slot, "names")
    assert set(x.columns) == set(y.columns), (slot, list(x.columns), list(y.columns))
    for name in x.columns:
        left, right = x[name], y[name]
        if left.dtype.kind in "biuf":
            assert left.dtype == right.dtype, (slot, name, left.dtype, right.dtype)
        assert list(left) == list(right), (slot, name)


def visium(path):
    """scanpy's reader asks for both images and tells headers by the name of the file: read by hand
    what it would read."""
    path = Path(path)
    h5 = list(path.glob("*filtered_feature_bc_matrix.h5"))
    a = sc.read_10x_h5(h5[0]) if h5 else mtx(path / "filtered_feature_bc_matrix")
    table = next(p for p in (path / "spatial").glob("tissue_positions*.csv"))
    has_header = table.read_text().startswith("barcode")
    kwargs = dict(header=0 if has_header else None, float_precision="round_trip")
    positions = pd.read_csv(table, index_col=0, **kwargs)
    positions.columns = ["in_tissue", "array_row", "array_col", "y", "x"]
    a.obs = a.obs.join(positions, how="left")
    a.obsm["spatial"] = a.obs[["x", "y"]].to_numpy()
    a.obs.drop(columns=["x", "y"], inplace=True)
    return a


def mtx(path):
    path = Path(path)
    files = {p.name for p in path.iterdir()}
    prefix = {"matrix.mtx.gz"} <= files or "genes.tsv" in files
    if prefix:
        a = sc.read_10x_mtx(path, make_unique=False, gex_only=False)
    else:  # version 3 but not gzipped, which scanpy does not take
        a = anndata.io.read_mtx(path / "matrix.mtx").T
        genes = pd.read_csv(path / "features.tsv", header=None, sep="\t")
        a.var_names = genes[1].astype(str).values
        a.var["gene_ids"] = genes[0].astype(str).values
        a.var["feature_types"] = genes[2].values
        barcodes = pd.read_csv(path / "barcodes.tsv", header=None)
        a.obs_names = barcodes[0].astype(str).values
    a.var["gene_ids"] = a.var["gene_ids"].astype(str)
    return a


READERS = {
    "h5": sc.read_10x_h5,
    "h5-all": lambda p: sc.read_10x_h5(p, gex_only=False),
    "mtx": mtx,
    "visium": visium,
}


def compare(kind, original, ours):
    a, b = READERS[kind](original), anndata.read_h5ad(ours)
    same_matrix(a.X, b.X)
    same_table(a.obs, b.obs, "obs")
    same_table(a.var, b.var, "var")
    assert set(a.obsm) == set(b.obsm), (set(a.obsm), set(b.obsm))
    for k in a.obsm:
        assert a.obsm[k].dtype == b.obsm[k].dtype, (k, a.obsm[k].dtype, b.obsm[k].dtype)
        assert np.array_equal(a.obsm[k], b.obsm[k]), k
    if kind == "visium":
        (library,) = b.uns["spatial"].values()
        for name, image in library["images"].items():
            from matplotlib.image import imread

            theirs = imread(Path(original) / "spatial" / f"tissue_{name}_image.png")
            if theirs.ndim == 2:
                theirs = np.repeat(theirs[:, :, None], 3, axis=2)
            assert theirs.shape == image.shape, (name, theirs.shape, image.shape)
            assert np.allclose(theirs, image / 255, atol=1e-6), name


def main():
    failed = False
    args = sys.argv[1:]
    for kind, original, ours in zip(args[::3], args[1::3], args[2::3], strict=True):
        try:
            compare(kind, original, ours)
            print("equal", kind, original)
        except Exception as e:  # every case is to be reported
            failed = True
            print("DIFFERS", kind, original, type(e).__name__, str(e)[:800])
    sys.exit(failed)


if __name__ == "__main__":
    main()
