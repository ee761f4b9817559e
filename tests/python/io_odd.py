"""Makes h5ad files that are rare in the field, and compares 10x files with several genomes.

usage: io_odd.py make FOLDER
       io_odd.py genome NAME FILE OURS [NAME FILE OURS ...]
"""

import sys
import warnings
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import scanpy as sc
from io_roundtrip import equal

warnings.simplefilter("ignore")


def plain():
    x = np.random.default_rng(0).poisson(1, (40, 300)).astype("f4")
    return anndata.AnnData(x, obs=pd.DataFrame(index=[f"c{i}" for i in range(40)]))


def make(folder):
    folder = Path(folder)
    plain().write_h5ad(folder / "lzf.h5ad", compression="lzf")

    a = plain()
    a.obs["with"] = pd.array(["a", pd.NA] * 20, dtype="string")
    a.obs["without"] = pd.array(["a", "b"] * 20, dtype="string")
    a.obs["object"] = pd.Series(["x", "y"] * 20, dtype=object, index=a.obs_names)
    a.uns["texts"] = pd.array(["a", "b"], dtype="string")
    anndata.settings.allow_write_nullable_strings = True
    a.write_h5ad(folder / "strings.h5ad", convert_strings_to_categoricals=False)

    a = plain()
    a.obsm["tiles"] = np.arange(40 * 3 * 2, dtype="f4").reshape(40, 3, 2)
    a.obsm["half"] = np.linspace(0, 1, 80, dtype="f2").reshape(40, 2)
    a.write_h5ad(folder / "axes.h5ad")

    a = plain()
    a.write_h5ad(folder / "awkward.h5ad")
    with h5py.File(folder / "awkward.h5ad", "r+") as f:
        g = f["obsm"].create_group("lists")
        g.attrs.update({"encoding-type": "awkward-array", "encoding-version": "0.1.0"})

    a.write_h5ad(folder / "zstd.h5ad")
    with h5py.File(folder / "zstd.h5ad", "r+") as f:
        attributes = dict(f["X"].attrs)
        del f["X"]
        kind = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        kind.set_chunk((40, 300))
        kind.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))
        space = h5py.h5s.create_simple((40, 300))
        x = h5py.h5d.create(f.id, b"X", h5py.h5t.IEEE_F32LE, space, kind)
        x.write_direct_chunk((0, 0), b"\x28\xb5\x2f\xfd" + b"\0" * 60)
        f["X"].attrs.update(attributes)


def genomes(args):
    for name, file, ours in zip(args[::3], args[1::3], args[2::3], strict=True):
        a, b = sc.read_10x_h5(file, genome=name), anndata.read_h5ad(ours)
        a.X.sort_indices()
        for column in a.var:
            a.var[column] = a.var[column].astype(str).astype(object)
        equal(a, b)
        print("equal", name, file, a.shape)


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2])
    else:
        genomes(sys.argv[2:])
