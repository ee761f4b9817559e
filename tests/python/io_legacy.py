"""Compares what Python reads from loom files, legacy ST, tables and pictures with what we wrote.

usage: io_legacy.py make FOLDER                                   writes files to be read
       io_legacy.py KIND OURS ORIGINAL... [-- KIND OURS ORIGINAL...]

KIND: loom (with loompy if it is there), st, tables, stimage, picture. OURS is an h5ad file; a
picture's is its entry of `uns`. Prints one line a case; exit code 1 if one differs.
"""

import sys
import warnings
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import tifffile
from PIL import Image
from scipy import sparse

warnings.simplefilter("ignore")
Image.MAX_IMAGE_PIXELS = None


def same_matrix(x, y, what):
    x, y = (m if sparse.issparse(m) else sparse.csr_matrix(m) for m in (x, y))
    assert x.dtype == y.dtype, (what, x.dtype, y.dtype)
    assert x.shape == y.shape, (what, x.shape, y.shape)
    assert (x != y).nnz == 0, what


def same_column(x, y, what):
    x, y = pd.Series(np.asarray(x)), pd.Series(np.asarray(y))
    gone = x.isna()
    assert (gone == y.isna()).all(), (what, "missing")
    assert list(x[~gone]) == list(y[~gone]), what


def same_table(x, y, what):
    """Every column of x is in y, equal."""
    assert list(x.index.astype(str)) == list(y.index), (what, "names")
    for name in x.columns:
        same_column(x[name], y[name], (what, name))


def loom_by_hand(path):
    """What anndata.io.read_loom does with loompy, which need not be installed."""

    def axis(group, names):
        def text(v):
            return [t.decode() if isinstance(t, bytes) else t for t in v]

        values = {k: v[()] for k, v in group.items()}
        values = {k: text(v) if v.dtype.kind in "SO" else v for k, v in values.items()}
        multi = {k: v for k, v in values.items() if np.ndim(v) > 1 and np.shape(v)[1] > 1}
        table = pd.DataFrame({k: v for k, v in values.items() if k not in multi})
        return (table.set_index(names) if names in table else table), multi

    with h5py.File(path) as f:
        obs, obsm = axis(f["col_attrs"], "CellID")
        var, varm = axis(f["row_attrs"], "Gene")
        obs.index, var.index = obs.index.astype(str), var.index.astype(str)
        layers = {k: sparse.csr_matrix(v[()].T) for k, v in f.get("layers", {}).items()}
        main = sparse.csr_matrix(f["matrix"][()].T)
        x = layers.get("spliced", main)
        if "spliced" in layers:
            layers["matrix"] = main
        return anndata.AnnData(x.astype("float32"), obs, var, obsm=obsm, varm=varm, layers=layers)


def loom(ours, path):
    try:
        import loompy  # noqa: F401

        with h5py.File(path) as f:
            writable = "row_edges" not in f  # loompy moves old graphs inside the file
    except ImportError:
        writable = False
    a = anndata.io.read_loom(path, validate=False) if writable else loom_by_hand(path)
    same_matrix(a.X, ours.X, "X")
    same_table(a.obs, ours.obs, "obs")
    same_table(a.var, ours.var, "var")
    assert set(a.layers) == set(ours.layers), (set(a.layers), set(ours.layers))
    for k in a.layers:
        # loompy widens what it reads as sparse to float64; we keep the type of the file.
        kept = ours.layers[k].dtype
        same_matrix(a.layers[k].astype(kept), ours.layers[k], ("layers", k))
        with h5py.File(path) as f:
            stored = f["matrix" if k == "matrix" else f"layers/{k}"].dtype
        assert kept == stored.newbyteorder("="), (k, kept, stored)
    for slot in ("obsm", "varm"):
        for k, v in getattr(a, slot).items():
            assert np.array_equal(v, getattr(ours, slot)[k], equal_nan=True), (slot, k)
    if {"X", "Y"} <= set(a.obs):
        assert np.array_equal(a.obs[["X", "Y"]].to_numpy(float), ours.obsm["spatial"])
    with h5py.File(path) as f:
        for group, slot in (("col_graphs", ours.obsp), ("row_graphs", ours.varp)):
            for k, g in f.get(group, {}).items():
                n = slot[k].shape[0]
                graph = sparse.coo_matrix((g["w"][()], (g["a"][()], g["b"][()])), (n, n))
                same_matrix(graph.tocsr(), slot[k], (group, k))


def st(ours, counts, spots, labels=None, clusters=None, image=None, full_width=None):
    """Legacy ST with pandas, as the authors of HER2ST join their files."""
    x = pd.read_csv(counts, sep="\t", index_col=0)
    table = pd.read_csv(spots, sep="\t")
    table.index = [f"{a}x{b}" for a, b in zip(table.x, table.y)]
    both = [n for n in x.index if n in table.index]
    left = {Path(counts).name: [n for n in x.index if n not in table.index]}
    left[Path(spots).name] = [n for n in table.index if n not in x.index]
    x, table = x.loc[both], table.loc[both]
    assert list(x.columns) == list(ours.var_names), "genes"
    same_matrix(sparse.csr_matrix(x.to_numpy("float32")), ours.X, "X")
    assert np.array_equal(table[["pixel_x", "pixel_y"]].to_numpy(), ours.obsm["spatial"])
    expected = pd.DataFrame(
        {
            "array_row": table.y,
            "array_col": table.x,
            "in_tissue": table.selected,
            "new_x": table.new_x,
            "new_y": table.new_y,
        }
    )
    if labels:
        t = pd.read_csv(labels, sep="\t")
        t.index = [f"{round(a)}x{round(b)}" for a, b in zip(t.x, t.y)]
        expected["label"] = t.label.reindex(both)
        left[Path(labels).name] = [n for n in t.index if n not in x.index]
    if clusters:
        t = pd.read_csv(clusters, sep="\t", index_col=0)
        t.index = [f"{a}x{b}" for a, b in zip(t.x, t.y)]
        expected["cluster"] = t.label.astype(str).reindex(both)
        for name in ("patient_id", "ids", "warped_x", "warped_y"):
            expected[name] = t[name].reindex(both)
        left[Path(clusters).name] = [n for n in t.index if n not in x.index]
    same_table(expected, ours.obs, "obs")
    left = {k: v for k, v in left.items() if v}
    found = {k: list(v) for k, v in ours.uns.get("unmatched", {}).items()}
    assert left == found, (left, found)
    (library,) = ours.uns["spatial"].values()
    if image:
        width, height = Image.open(image).size
        scale = width / float(full_width) if full_width else 1.0
        hires = library["images"]["hires"]
        assert max(hires.shape) == min(2000, max(width, height)), hires.shape
        expected = scale * max(hires.shape) / max(width, height)
        found = library["scalefactors"]["tissue_hires_scalef"]
        assert abs(expected - found) < 2e-4 * expected, (expected, found)


def frame(path):
    return pd.read_csv(path, sep=None, engine="python", index_col=0)


def tables(ours, counts, coordinates, *metadata):
    x, xy = frame(counts), frame(coordinates)
    if len(set(x.columns) & set(xy.index)) > len(set(x.index) & set(xy.index)):
        x = x.T
    both = [n for n in x.index if n in xy.index]
    assert both == list(ours.obs_names) and list(x.columns) == list(ours.var_names)
    same_matrix(sparse.csr_matrix(x.loc[both].to_numpy("float32")), ours.X, "X")
    assert np.array_equal(xy.loc[both].to_numpy(float), ours.obsm["spatial"])
    for path in metadata:
        same_table(frame(path).reindex(both), ours.obs, path)


def stimage(ours, counts, coordinates):
    x, t = pd.read_csv(counts, index_col=0), pd.read_csv(coordinates, index_col=0)
    both = [n for n in x.index if n in t.index]
    assert both == list(ours.obs_names) and list(x.columns) == list(ours.var_names)
    same_matrix(sparse.csr_matrix(x.loc[both].to_numpy("float32")), ours.X, "X")
    assert np.array_equal(t.loc[both, ["xaxis", "yaxis"]].to_numpy(), ours.obsm["spatial"])
    same_table(t.loc[both, ["r"]], ours.obs, "obs")
    (library,) = ours.uns["spatial"].values()
    found = library["scalefactors"]["spot_diameter_fullres"]
    assert found == 2 * t.r.median(), found


def picture(ours, path):
    ours = ours.uns["picture"]
    if path.endswith((".tif", ".tiff")):
        theirs = tifffile.imread(path)
        if theirs.ndim == 3 and theirs.shape[0] < 8:
            theirs = np.moveaxis(theirs, 0, -1)
    else:
        theirs = np.asarray(Image.open(path))
    assert theirs.shape == ours.shape, (theirs.shape, ours.shape)
    assert theirs.dtype == ours.dtype, (theirs.dtype, ours.dtype)
    if path.endswith((".jpg", ".jpeg")):
        # Decoders round differently; where colours are subsampled they also interpolate so.
        far = np.abs(theirs.astype(int) - ours.astype(int))
        print(f"  largest difference {far.max()}, mean {far.mean():.4f}", path)
        assert far.max() <= 8 and far.mean() < 0.5, (far.max(), far.mean())
    else:
        assert np.array_equal(theirs, ours), path


def make(folder):
    """Loom files of both versions in several chunkings, a copy of STimage-1K4M's layout, pictures."""
    folder = Path(folder)
    rng = np.random.default_rng(1)
    x = rng.poisson(0.3, (70, 333))
    for name, dtype, options in (
        ("gzip", "int32", dict(chunks=(64, 64), compression="gzip")),
        ("shuffled", "float64", dict(chunks=(7, 100), compression="gzip", shuffle=True)),
        ("lzf", "uint16", dict(chunks=(70, 10), compression="lzf")),
        ("plain", "int8", dict()),
        ("swapped", ">f4", dict(chunks=(30, 30))),
    ):
        with h5py.File(folder / f"{name}.loom", "w") as f:
            f.create_dataset("matrix", data=x.astype(dtype), **options)
            f.create_dataset("layers/spliced", data=(x % 3).astype(dtype), **options)
            f.create_dataset("layers/ambiguous", data=(x * 1.5).astype("float32"), **options)
            f["row_attrs/Gene"] = np.array([f"g{i}" for i in range(70)], dtype="S")
            f["row_attrs/loading"] = rng.normal(size=(70, 3))
            f["col_attrs/CellID"] = [f"c{i}" for i in range(333)]
            f["col_attrs/Valid"] = rng.random(333)
            f["col_attrs/X_pca"] = rng.normal(size=(333, 4)).astype("float32")
            f["col_attrs/one"] = np.arange(333).reshape(333, 1) if name == "plain" else np.arange(333)
            f["col_graphs/KNN/a"] = rng.permutation(333)
            f["col_graphs/KNN/b"] = rng.permutation(333)
            f["col_graphs/KNN/w"] = rng.random(333)
            f.create_group("row_graphs")
            f["attrs/LOOM_SPEC_VERSION"] = "3.0.0"
    deep = rng.integers(0, 65536, (2, 31, 47)).astype("uint16")
    tifffile.imwrite(
        folder / "channels.ome.tiff",
        deep,
        metadata={"axes": "CYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5, "Channel": {"Name": ["DAPI", "18S"]}},
    )
    rgb = rng.integers(0, 256, (50, 60, 3)).astype("uint8")
    tifffile.imwrite(folder / "tiles.tif", rgb, tile=(16, 16), compression="deflate", bigtiff=True, predictor=True)
    planes = np.moveaxis(rgb, -1, 0)
    tifffile.imwrite(folder / "planes.tif", planes, photometric="rgb", planarconfig="separate")
    tifffile.imwrite(folder / "lzw.tif", deep[0], compression="lzw", byteorder=">")
    Image.fromarray(rgb).save(folder / "rgb.png")
    Image.fromarray(deep[0]).save(folder / "deep.png")


def make_stimage(counts, coordinates, root):
    """The counts under the names that the collection gives to spots."""
    slide = Path(coordinates).name.removesuffix("_coord.csv")
    x = pd.read_csv(counts, sep="\t", index_col=0)
    x.index = [f"{slide}_{n}" for n in x.index]
    for kind in ("gene_exp", "coord"):
        (Path(root) / "ST" / kind).mkdir(parents=True)
    x.to_csv(Path(root) / "ST/gene_exp" / f"{slide}_count.csv")
    (Path(root) / "ST/coord" / f"{slide}_coord.csv").write_bytes(Path(coordinates).read_bytes())


KINDS = {"loom": loom, "st": st, "tables": tables, "stimage": stimage, "picture": picture}


def main():
    args = sys.argv[1:]
    if args[0] == "make":
        return make(*args[1:])
    if args[0] == "make-stimage":
        return make_stimage(*args[1:])
    failed = False
    while args:
        end = args.index("--") if "--" in args else len(args)
        (kind, ours, *originals), args = args[:end], args[end + 1 :]
        originals = [None if a == "-" else a for a in originals]
        try:
            KINDS[kind](anndata.read_h5ad(ours), *originals)
            print("equal", kind, *filter(None, originals))
        except Exception as e:  # every case is to be reported
            failed = True
            print("DIFFERS", kind, *filter(None, originals), type(e).__name__, str(e)[:800])
    sys.exit(failed)


if __name__ == "__main__":
    main()
