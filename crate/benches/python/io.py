"""The Python side of `cargo xtask bench io`: makes the files and measures anndata and scanpy.

usage: io.py make FOLDER (small|medium)
       io.py make-large PATH GIGABYTES (gzip|none)
       io.py OPERATION PATH [OUT]

An operation prints `seconds peak_mb check version`, as benches/io.rs does. Imports are not timed; the
peak is that of the whole process.
"""

import gzip
import resource
import shutil
import sys
import time
import warnings
import zlib
from importlib.metadata import version
from pathlib import Path

warnings.simplefilter("ignore")

SIZES = {"small": (4_000, 5_000, 5_000), "medium": (50_000, 20_000, 2_000)}


def counts(n, m):
    """Poisson counts with log-normal genes and cells, about 7 % of them not zero."""
    import numpy as np
    import scipy.sparse as sp

    rng = np.random.default_rng(0)
    genes = np.exp(rng.normal(0, 1.8, m))
    cells = np.exp(rng.normal(0, 0.4, n))
    low, high = 1e-6, 10.0
    for _ in range(40):
        scale = (low * high) ** 0.5
        stored = 1 - np.exp(-np.outer(cells[:200], genes) * scale).mean()
        low, high = (low, scale) if stored > 0.07 else (scale, high)
    blocks = []
    for start in range(0, n, 1000):
        rate = np.outer(cells[start : start + 1000], genes * scale)
        blocks.append(sp.csr_matrix(rng.poisson(rate).astype(np.float32)))
    return sp.vstack(blocks, format="csr")


def make(folder, size):
    import anndata
    import h5py
    import numpy as np
    import pandas as pd
    import scipy.io

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    n, m, dense = SIZES[size]
    x = counts(n, m)
    obs = pd.DataFrame(index=[f"CELL{i:06d}-1" for i in range(n)])
    obs["cluster"] = pd.Categorical([f"c{i % 12}" for i in range(n)])
    obs["total_counts"] = np.asarray(x.sum(1)).ravel()
    var = pd.DataFrame(index=[f"GENE{i}" for i in range(m)])
    var["gene_ids"] = [f"ENSG{i:011d}" for i in range(m)]
    for name, part in [("sparse", x), ("dense", x[:, :dense].toarray())]:
        a = anndata.AnnData(part, obs=obs, var=var.iloc[: part.shape[1]])
        a.write_h5ad(folder / f"{name}-none.h5ad")
        a.write_h5ad(folder / f"{name}-gzip.h5ad", compression="gzip")
    with h5py.File(folder / "tenx.h5", "w") as f:
        g = f.create_group("matrix")
        kw = dict(compression="gzip", compression_opts=4, shuffle=True, chunks=(80_000,))
        g.create_dataset("data", data=x.data.astype("i4"), **kw)
        g.create_dataset("indices", data=x.indices.astype("i8"), **kw)
        g.create_dataset("indptr", data=x.indptr.astype("i8"))
        g.create_dataset("shape", data=np.array([m, n], "i4"))
        g.create_dataset("barcodes", data=np.array(obs.index, "S18"))
        k = g.create_group("features")
        k.create_dataset("id", data=np.array(var["gene_ids"], "S15"))
        k.create_dataset("name", data=np.array(var.index, "S15"))
        k.create_dataset("feature_type", data=np.array(["Gene Expression"] * m, "S15"))
        k.create_dataset("genome", data=np.array(["GRCh38"] * m, "S6"))
        k.create_dataset("_all_tag_keys", data=np.array(["genome"], "S6"))
    mtx = folder / "mtx"
    mtx.mkdir(exist_ok=True)
    scipy.io.mmwrite(mtx / "matrix.mtx", x.astype("i4").T.tocsc(), field="integer", symmetry="general")
    with open(mtx / "matrix.mtx", "rb") as a, gzip.open(mtx / "matrix.mtx.gz", "wb", 6) as b:
        shutil.copyfileobj(a, b, 1 << 20)
    (mtx / "matrix.mtx").unlink()
    with gzip.open(mtx / "barcodes.tsv.gz", "wt") as f:
        f.writelines(f"{name}\n" for name in obs.index)
    with gzip.open(mtx / "features.tsv.gz", "wt") as f:
        f.writelines(f"{i}\t{g}\tGene Expression\n" for g, i in var["gene_ids"].items())
    (folder / "made").touch()


def make_large(path, gigabytes, how):
    """A CSR file of that many bytes on disk. Chunks are whole rows; a few are made and stored again
    and again, so that it takes seconds."""
    import anndata
    import h5py
    import numpy as np
    import pandas as pd

    columns, per_row, rows = 20_000, 1_400, 100
    per_chunk = per_row * rows
    rng = np.random.default_rng(0)
    pack = (lambda a: zlib.compress(a.tobytes(), 4)) if how == "gzip" else (lambda a: a.tobytes())
    kinds = []
    for _ in range(16):
        columns_of = [np.sort(rng.choice(columns, per_row, replace=False)) for _ in range(rows)]
        indices = np.concatenate(columns_of).astype("i4")
        data = (1 + rng.poisson(0.6, per_chunk)).astype("f4")
        kinds.append((pack(data), pack(indices)))
    per_kind = sum(len(d) + len(i) for d, i in kinds) / len(kinds)
    chunks = int(float(gigabytes) * 1e9 / per_kind)
    n = chunks * rows
    obs = pd.DataFrame(index=[f"CELL{i:08d}-1" for i in range(n)])
    obs["cluster"] = pd.Categorical(np.arange(n) % 30)
    obs["area"] = rng.random(n)
    var = pd.DataFrame(index=[f"GENE{i}" for i in range(columns)])
    anndata.AnnData(obs=obs, var=var).write_h5ad(path)
    with h5py.File(path, "r+") as f:
        if "X" in f:
            del f["X"]
        g = f.create_group("X")
        g.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
        g.attrs["shape"] = (n, columns)
        kw = dict(chunks=(per_chunk,), shape=(n * per_row,))
        if how == "gzip":
            kw.update(compression="gzip", compression_opts=4)
        data = g.create_dataset("data", dtype="f4", **kw)
        indices = g.create_dataset("indices", dtype="i4", **kw)
        g.create_dataset("indptr", data=np.arange(n + 1, dtype="i8") * per_row)
        for k in range(chunks):
            d, i = kinds[k % len(kinds)]
            data.id.write_direct_chunk((k * per_chunk,), d)
            indices.id.write_direct_chunk((k * per_chunk,), i)


def check(a):
    import numpy as np

    weight = np.arange(a.n_vars) % 7 + 1.0
    x = a.X
    total = 0.0
    for start in range(0, a.n_obs, 1000):
        total += float((x[start : start + 1000].astype("f8") @ weight).sum())
    return total


def measure(operation, path, out=None):
    import anndata
    import scanpy as sc

    if operation.startswith("write"):
        a = anndata.read_h5ad(path)
        compression = {"write-gzip": "gzip", "write-none": None}[operation]
        call = lambda: a.write_h5ad(out, compression=compression) or a
    else:
        function = {
            "read-h5ad": anndata.read_h5ad,
            "read-10x": sc.read_10x_h5,
            "read-mtx": lambda p: sc.read_10x_mtx(p, cache=False),
        }[operation]
        call = lambda: function(path)
    start = time.perf_counter()
    a = call()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    package = "anndata" if operation.endswith(("h5ad", "gzip", "none")) else "scanpy"
    print(f"{seconds:.4f} {peak:.1f} {check(a)} {package} {version(package)}")


if __name__ == "__main__":
    first, *rest = sys.argv[1:]
    {"make": make, "make-large": make_large}.get(first, lambda *a: measure(first, *a))(*rest)
