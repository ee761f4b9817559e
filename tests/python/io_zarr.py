"""Compares zarr stores, and MuData files, with files written from what we read in them.

usage: io_zarr.py ORIGINAL OURS [ORIGINAL OURS ...]     OURS: h5ad, or h5mu for MuData

Prints one line a pair; exit code 1 if a pair differs.
"""

import base64
import json
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

import anndata
import mudata
import numpy as np
import pandas as pd
from io_roundtrip import equal

warnings.simplefilter("ignore")


def older_spelling(node):
    """zarr-python 3.1 does not know the name that 3.2 gives to records."""
    fields = [(f["name"], f["data_type"]) for f in node["data_type"]["configuration"]["fields"]]
    size = sum(
        t["configuration"]["length_bytes"] if isinstance(t, dict) else np.dtype(t).itemsize for _, t in fields
    )
    node["data_type"] = {"name": "structured", "configuration": {"fields": fields}}
    node["fill_value"] = base64.b64encode(bytes(size)).decode()


def unpacked(path):
    """The folder of a store. Where it is an archive the last entry of a name wins."""
    if not path.endswith(".zip"):
        return path
    folder = Path(tempfile.mkdtemp(suffix=".zarr"))
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    for meta in folder.rglob("zarr.json"):
        node = json.loads(meta.read_text())
        # What was consolidated repeats the old names.
        node.pop("consolidated_metadata", None)
        if isinstance(node.get("data_type"), dict) and node["data_type"]["name"] == "struct":
            older_spelling(node)
        meta.write_text(json.dumps(node))
    return str(folder)


def plain_text(adata):
    """pandas has two types of text, of which one allows for missing ones. Ours is one type."""
    for table in (adata.obs, adata.var):
        for name in table.columns:
            if isinstance(table[name].dtype, pd.StringDtype) and not table[name].isna().any():
                table[name] = table[name].astype(object)
    adata.obs_names, adata.var_names = adata.obs_names.astype(object), adata.var_names.astype(object)
    if getattr(adata, "raw", None) is not None:
        adata.raw = plain_text(adata.raw.to_adata())
    return adata


def equal_mudata(a, b):
    assert list(a.mod) == list(b.mod), (list(a.mod), list(b.mod))
    for name in a.mod:
        equal(plain_text(a.mod[name]), plain_text(b.mod[name]))
    assert a.axis == b.axis, (a.axis, b.axis)
    for slot in ("obs", "var"):
        x, y = getattr(plain_text(a), slot), getattr(plain_text(b), slot)
        assert x.equals(y) and list(x.dtypes) == list(y.dtypes), slot
        assert list(x.index) == list(y.index), slot
        for kind in ("m", "p", "map"):
            x, y = getattr(a, slot + kind), getattr(b, slot + kind)
            assert set(x) == set(y), (slot + kind, set(x), set(y))
            for k in x:
                assert x[k].dtype == y[k].dtype, (slot + kind, k, x[k].dtype, y[k].dtype)
                assert np.array_equal(x[k], y[k]), (slot + kind, k)
    assert set(a.uns) == set(b.uns), (set(a.uns), set(b.uns))


def compare(original, ours):
    if ours.endswith(".h5mu"):
        if original.endswith(".h5mu"):
            theirs = mudata.read_h5mu(original)
        else:
            folder = unpacked(original)
            theirs = mudata.read_zarr(folder)
            # mudata 0.3 forgets `raw` in zarr stores; anndata reads it.
            for name, adata in theirs.mod.items():
                raw = anndata.read_zarr(f"{folder}/mod/{name}").raw
                adata.raw = None if raw is None else raw.to_adata()
        equal_mudata(theirs, mudata.read_h5mu(ours))
    else:
        equal(anndata.read_zarr(unpacked(original)), anndata.read_h5ad(ours))


def main():
    failed = False
    paths = sys.argv[1:]
    for original, ours in zip(paths[::2], paths[1::2], strict=True):
        try:
            compare(original, ours)
            print("equal", original)
        except Exception as e:  # every pair is to be reported
            failed = True
            print("DIFFERS", original, type(e).__name__, str(e)[:1500])
    sys.exit(failed)


if __name__ == "__main__":
    main()
