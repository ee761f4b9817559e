"""Compares zarr stores with h5ad files written from what we read in them.

usage: io_zarr.py ORIGINAL OURS [ORIGINAL OURS ...]

Prints one line a pair; exit code 1 if a pair differs.
"""

import sys
import warnings

import anndata
import zarr
from io_roundtrip import equal

warnings.simplefilter("ignore")


def open_store(path):
    if path.endswith(".zip"):
        return zarr.open(zarr.storage.ZipStore(path, mode="r"), mode="r")
    return zarr.open(path, mode="r")


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
