"""Compares zarr stores with h5ad files written from what we read in them.

usage: io_zarr.py ORIGINAL OURS [ORIGINAL OURS ...]

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
import numpy as np
import zarr
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


def open_store(path):
    """The store, unpacked where it is an archive: then the last entry of a name wins."""
    if not path.endswith(".zip"):
        return zarr.open(path, mode="r")
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
    return zarr.open(folder, mode="r")


def main():
    failed = False
    paths = sys.argv[1:]
    for original, ours in zip(paths[::2], paths[1::2], strict=True):
        try:
            equal(anndata.read_zarr(open_store(original)), anndata.read_h5ad(ours))
            print("equal", original)
        except Exception as e:  # every pair is to be reported
            failed = True
            print("DIFFERS", original, type(e).__name__, str(e)[:1500])
    sys.exit(failed)


if __name__ == "__main__":
    main()
