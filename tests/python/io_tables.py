"""Compares what pandas, scanpy and squidpy read from tables and folders with h5ad files written from
what we read.

usage: io_tables.py make FOLDER                                  writes files in layouts that have no real one
       io_tables.py compare KIND ORIGINAL OURS [KIND ORIGINAL OURS ...]

Prints one line a case; exit code 1 if one differs.
"""

import gzip
import sys
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import scanpy as sc
from scipy.sparse import csr_matrix

warnings.simplefilter("ignore")

# squidpy reads with pandas' fast parser, which is off by an ulp now and then.
fast_read_csv = pd.read_csv
pd.read_csv = lambda *args, **kwargs: fast_read_csv(*args, **{"float_precision": "round_trip"} | kwargs)


def read_csv(path, **kwargs):
    return pd.read_csv(path, low_memory=False, **kwargs)


def pandas_table(path):
    path = Path(path)
    if path.suffix == ".parquet":
        plain, exact = pd.read_parquet(path), pd.read_parquet(path, dtype_backend="numpy_nullable")
        if plain.index.name is not None:
            plain, exact = plain.reset_index(), exact.reset_index()
        # Whole numbers and booleans with gaps are nullable in ours.
        for name in plain:
            if plain[name].isna().any() and exact[name].dtype.kind in "biu":
                plain[name] = exact[name]
            if plain[name].dtype == object and any(isinstance(v, bytes) for v in plain[name]):
                plain[name] = [v.decode() for v in plain[name]]
        return plain.set_axis(plain.index.astype(str))
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt") as f:
        first, second = f.readline(), f.readline()
    sep = next((s for s in "\t,;|" if s in second), r"\s+")
    header = None if path.name == "truth.txt" or path.name.startswith("noheader") else 0
    out = read_csv(path, sep=sep, header=header)
    out.columns = out.columns.astype(str)
    out.index = out.index.astype(str)
    return out


def same_column(x, y, what):
    assert list(x.isna()) == list(y.isna()), (what, "missing")
    if x.dtype.kind in "biuf":
        if x.dtype.kind == "b" and pd.api.types.is_extension_array_dtype(x.dtype):
            assert y.dtype == "boolean", (what, x.dtype, y.dtype)
        else:
            assert x.dtype == y.dtype, (what, x.dtype, y.dtype)
    elif set(map(type, x.dropna())) == {bool}:
        assert y.dtype == "boolean", (what, y.dtype)
    present = ~x.isna()
    assert list(x[present]) == list(y[present]), what


def same_frame(x, y, what):
    assert list(x.index) == list(y.index), (what, "names", list(x.index[:3]), list(y.index[:3]))
    assert set(x.columns) == set(y.columns), (what, list(x.columns)[:20], list(y.columns)[:20])
    for name in x.columns:
        same_column(x[name], y[name], (what, name))


def same_matrix(x, y, what):
    if hasattr(x, "tocsr"):
        x, y = x.tocsr().sorted_indices(), y.tocsr().sorted_indices()
        assert x.shape == y.shape, (what, x.shape, y.shape)
        assert (x != y).nnz == 0, what
    else:
        assert np.array_equal(x, y), what
    assert x.dtype == y.dtype, (what, x.dtype, y.dtype)


def same(a, b):
    same_matrix(a.X, b.X, "X")
    same_frame(a.obs, b.obs, "obs")
    same_frame(a.var, b.var, "var")
    assert set(a.obsm) == set(b.obsm), (set(a.obsm), set(b.obsm))
    for k in a.obsm:
        if isinstance(a.obsm[k], pd.DataFrame):
            same_frame(a.obsm[k], b.obsm[k], k)
        else:
            same_matrix(np.asarray(a.obsm[k]), b.obsm[k], k)


def xenium(path):
    path = Path(path)
    a = sc.read_10x_h5(path / "cell_feature_matrix.h5")
    parquet = path / "cells.parquet"
    cells = pd.read_parquet(parquet) if parquet.exists() else read_csv(path / "cells.csv.gz")
    cells = cells.set_index(cells.pop("cell_id").astype(str)).loc[a.obs_names]
    a.obsm["spatial"] = cells[["x_centroid", "y_centroid"]].to_numpy()
    a.obs = cells.drop(columns=["x_centroid", "y_centroid"])
    return a


def hd(path):
    path = Path(path)
    a = sc.read_10x_h5(path / "filtered_feature_bc_matrix.h5")
    positions = pd.read_parquet(path / "spatial/tissue_positions.parquet").set_index("barcode")
    a = a[a.obs_names.isin(positions.index)].copy()
    a.obs = a.obs.join(positions, how="left")
    a.obsm["spatial"] = a.obs[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy()
    a.obs = a.obs.drop(columns=["pxl_col_in_fullres", "pxl_row_in_fullres"])
    return a


def beads(path):
    path = Path(path)
    counts = next(p for n in ("MappedDGE*", "*digital_expression*", "counts.csv") for p in path.glob(n))
    places = next(p for n in ("BeadLoc*", "*bead_locations*", "coords.csv") for p in path.glob(n))
    sep = "\t" if ".txt" in counts.name else ","
    x = pd.read_csv(counts, index_col=0, sep=sep, comment="#").T
    xy = read_csv(places, index_col=0).loc[x.index]
    a = anndata.AnnData(csr_matrix(x.to_numpy().astype(np.float32)))
    a.obs_names, a.var_names = x.index.astype(str), x.columns.astype(str)
    a.obsm["spatial"] = xy.iloc[:, :2].to_numpy()
    if (path / "nUMI.csv").exists():
        a.obs["nUMI"] = pd.read_csv(path / "nUMI.csv", index_col=0).loc[x.index, "x"].to_numpy()
    return a


def cosmx(path):
    import squidpy as sq

    names = {p.name.removesuffix(".gz").split("_", 1)[1]: p.name for p in Path(path).iterdir()}
    return sq.read.nanostring(
        path,
        counts_file=names["exprMat_file.csv"],
        meta_file=names["metadata_file.csv"],
        fov_file=names["fov_positions_file.csv"],
    )


def vizgen(path):
    import squidpy as sq

    return sq.read.vizgen(
        path,
        counts_file="s_cell_by_gene.csv",
        meta_file="s_cell_metadata.csv",
        transformation_file="micron_to_mosaic_pixel_transform.csv",
    )


def gem(path, by_cell=False):
    t = pd.read_csv(path, sep="\t", comment="#")
    if by_cell:
        t = t[t.CellID != 0]
        rows = t.CellID
        xy = t.groupby("CellID")[["x", "y"]].mean().to_numpy()
        names = [str(c) for c in sorted(set(rows))]
        order = {c: i for i, c in enumerate(sorted(set(rows)))}
    else:
        rows = pd.Series(list(zip(t.x // 50, t.y // 50)))
        bins = sorted(set(rows))
        names = [f"{x}_{y}" for x, y in bins]
        xy = np.array(bins) * 50.0 + 25
        order = {b: i for i, b in enumerate(bins)}
    genes = sorted(set(t.geneID))
    column = {g: i for i, g in enumerate(genes)}
    where = (rows.map(order).to_numpy(), t.geneID.map(column).to_numpy())
    x = csr_matrix((t.MIDCount.to_numpy().astype(np.float32), where), shape=(len(names), len(genes)))
    a = anndata.AnnData(x)
    a.obs_names, a.var_names = names, genes
    a.obsm["spatial"] = xy
    return a


READERS = {
    "xenium": xenium,
    "hd": hd,
    "beads": beads,
    "cosmx": cosmx,
    "vizgen": vizgen,
    "gem": gem,
    "gem-cells": lambda p: gem(p, by_cell=True),
}


def compare(kind, original, ours):
    b = anndata.read_h5ad(ours)
    if kind == "table":
        return same_frame(pandas_table(original), b.obs, "table")
    a = READERS[kind](original)
    same(a, b)
    if kind == "hd":
        (library,) = b.uns["spatial"].values()
        import json

        factors = json.loads((Path(original) / "spatial/scalefactors_json.json").read_text())
        assert library["scalefactors"] == factors
        assert set(library["images"]) == {"hires", "lowres"}
    if kind == "cosmx":
        assert set(a.uns["spatial"]) == set(b.uns["spatial"])
        for fov, entry in a.uns["spatial"].items():
            assert entry["metadata"] == b.uns["spatial"][fov]["metadata"], fov
            assert entry["scalefactors"] == b.uns["spatial"][fov]["scalefactors"], fov
    if kind == "vizgen":
        theirs, mine = (s.uns["spatial"]["library"]["scalefactors"]["transformation_matrix"] for s in (a, b))
        assert list(theirs.columns) == list(mine.columns)
        assert np.array_equal(theirs.to_numpy(), mine.to_numpy())


def make(folder):
    folder = Path(folder)
    rng = np.random.default_rng(0)
    genes = [f"Gene{i}" for i in range(30)]

    for name in ("cosmx", "cosmx-more"):
        out = folder / name
        out.mkdir()
        fov = np.repeat([1, 2, 10], 40)
        cell = np.tile(np.arange(1, 41), 3)
        meta = pd.DataFrame({"fov": fov, "cell_ID": cell, "Area": rng.integers(100, 9000, 120)})
        meta["AspectRatio"] = rng.random(120).round(2)
        for axis in "XY":
            meta[f"Center{axis}_local_px"] = rng.integers(0, 5000, 120)
            meta[f"Center{axis}_global_px"] = rng.random(120) * 1e5
        meta["Mean.DAPI"] = rng.integers(0, 5000, 120)
        meta.sample(frac=1, random_state=1).to_csv(out / "S0_metadata_file.csv", index=False)
        counts = pd.DataFrame(rng.poisson(0.4, (120, 30)), columns=[*genes[:-1], "NegPrb1"])
        counts.insert(0, "cell_ID", cell)
        counts.insert(0, "fov", fov)
        background = counts.iloc[[0, 40, 80]].assign(cell_ID=0)
        counts = pd.concat([background, counts])
        if name == "cosmx-more":
            counts = pd.concat([counts, counts.tail(3).assign(cell_ID=[90, 91, 92])])
        counts.to_csv(out / "S0_exprMat_file.csv.gz", index=False)
        fovs = pd.DataFrame({"fov": [1, 2, 10], "x_global_px": [0.5, 1e3, 2e3], "y_global_px": [0, 5, 10]})
        fovs.to_csv(out / "S0_fov_positions_file.csv", index=False)

    out = folder / "vizgen"
    (out / "images").mkdir(parents=True)
    ids = [str(110883424764611924400221639916314253469 + 7 * i) for i in range(50)]
    counts = pd.DataFrame(rng.poisson(0.5, (50, 32)), columns=[*genes, "Blank-1", "Blank-2"], index=ids)
    counts.index.name = "cell"
    counts.to_csv(out / "s_cell_by_gene.csv")
    meta = pd.DataFrame({"fov": rng.integers(0, 9, 50), "volume": rng.random(50) * 1000}, index=ids)
    meta["center_x"], meta["center_y"] = rng.random(50) * 1e4, rng.random(50) * 1e4
    meta.sample(frac=1, random_state=1).to_csv(out / "s_cell_metadata.csv")
    transform = np.array([[9.2, 0, 152.5], [0, 9.2, 84.25], [0, 0, 1]])
    np.savetxt(out / "images/micron_to_mosaic_pixel_transform.csv", transform)

    out = folder / "puck"
    out.mkdir()
    beads = ["".join(rng.choice(list("ACGT"), 14)) for _ in range(60)]
    counts = pd.DataFrame(rng.poisson(0.2, (30, 60)), index=pd.Index(genes, name="GENE"), columns=beads)
    with gzip.open(out / "Puck_200115_08.digital_expression.txt.gz", "wt") as f:
        f.write("#DGE\tVERSION:1.1\tOUTPUT_FORMAT:DENSE\n")
        counts.to_csv(f, sep="\t")
    places = pd.DataFrame({"barcode": [*beads, "TTTT"], "xcoord": rng.random(61), "ycoord": rng.random(61)})
    places.sample(frac=1, random_state=1).to_csv(out / "Puck_200115_08_bead_locations.csv", index=False)

    n = 5000
    t = pd.DataFrame({"geneID": rng.choice(genes, n), "x": rng.integers(3000, 3600, n)})
    t["y"], t["MIDCount"] = rng.integers(100, 700, n), rng.integers(1, 4, n)
    t["ExonCount"], t["CellID"] = 0, rng.integers(0, 40, n)
    with gzip.open(folder / "slide.gem.gz", "wt") as f:
        f.write("#FileFormat=GEMv0.1\n#OffsetX=0\n")
        t.to_csv(f, sep="\t", index=False)

    out = folder / "tables"
    out.mkdir()
    n = 4000
    d = pd.DataFrame({"int": rng.integers(-9, 9, n), "float": rng.standard_normal(n) * 10.0 ** rng.integers(-9, 9, n)})
    d["flag"] = rng.random(n) < 0.5
    d["text"] = rng.choice(["a", "b c", 'say "no"', "x,y", "line\nbreak", "é"], n)
    d["gappy"] = d["int"].where(rng.random(n) < 0.9)
    d["gappy_text"] = d["text"].where(rng.random(n) < 0.9)
    d["gappy_flag"] = d["flag"].astype(object).where(rng.random(n) < 0.9)
    d["late"] = ["1.50"] * (n - 1) + ["x"]
    d["none"] = np.nan
    d["big"] = np.uint64(2**63) + rng.integers(0, 9, n).astype(np.uint64)
    d.to_csv(out / "a.csv", index=False)
    d.to_csv(out / "b.tsv.gz", index=False, sep="\t")
    d.to_csv(out / "c.txt", index=False, sep=";")
    d.to_csv(out / "d.csv", index=False, na_rep="NA", lineterminator="\r\n")
    d.drop(columns=["text", "gappy_text"]).to_csv(out / "e.txt", index=False, sep=" ", na_rep="nan")
    d[["int", "float"]].to_csv(out / "f.txt", sep=" ", header=["int", "float"], index_label=False)
    d[["int", "float", "flag"]].to_csv(out / "noheader.csv", index=False, header=False)
    t = pa.table({
        "i8": pa.array(rng.integers(-99, 99, n), pa.int8()), "u16": pa.array(rng.integers(0, 999, n), pa.uint16()),
        "f4": pa.array(rng.random(n), pa.float32()), "f8": pa.array(d["float"]), "text": pa.array(d["text"]),
        "large": pa.array(d["text"], pa.large_string()), "flag": pa.array(d["flag"]),
        "cat": pa.array(d["text"]).dictionary_encode(), "bytes": pa.array(d["text"], pa.binary()),
        "gappy": pa.array(d["int"].tolist(), pa.int64(), mask=rng.random(n) < 0.1),
        "gappy_f": pa.array(d["float"].to_numpy(), mask=rng.random(n) < 0.1),
        "gappy_text": pa.array(d["text"].to_numpy(), mask=rng.random(n) < 0.1),
        "gappy_flag": pa.array(d["flag"].to_numpy(), mask=rng.random(n) < 0.1),
        "sorted": pa.array([f"cell-{i}" for i in range(n)]),
    })
    for codec in ("none", "snappy", "zstd", "gzip", "lz4"):
        pq.write_table(t, out / f"{codec}.parquet", compression=codec, row_group_size=1500, data_page_size=2000)
    pq.write_table(t, out / "v2.parquet", data_page_version="2.0", dictionary_pagesize_limit=500)
    delta = {c: "DELTA_BYTE_ARRAY" for c in ("text", "gappy_text")} | {"gappy": "DELTA_BINARY_PACKED"}
    delta |= {"sorted": "DELTA_LENGTH_BYTE_ARRAY", "f8": "BYTE_STREAM_SPLIT"}
    pq.write_table(t, out / "delta.parquet", use_dictionary=False, column_encoding=delta)


def main():
    if sys.argv[1] == "make":
        return make(sys.argv[2])
    failed = False
    args = sys.argv[2:]
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
