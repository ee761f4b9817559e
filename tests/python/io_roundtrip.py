"""Compares pairs of h5ad files by anndata's own equality.

usage: io_roundtrip.py ORIGINAL REWRITTEN [ORIGINAL REWRITTEN ...]

Prints one line a pair; exit code 1 if a pair differs.
"""

import sys
import warnings

import anndata
import numpy as np
import pandas as pd
from anndata.tests.helpers import assert_equal

warnings.simplefilter("ignore")


def plain_records(value):
    """Record arrays with text as objects: rewriting turns fixed-length text into text."""
    if isinstance(value, dict):
        return {k: plain_records(v) for k, v in value.items()}
    if isinstance(value, np.ndarray) and value.dtype.names:
        kinds = [(n, "O" if value.dtype[n].kind in "USO" else value.dtype[n]) for n in value.dtype.names]
        return pd.DataFrame({n: value[n].astype(t) for n, t in kinds})
    return value


def same(x, y, what):
    """Bit for bit the same numbers, NaN included."""
    if hasattr(x, "indptr"):
        for part in ("indptr", "indices", "data"):
            same(getattr(x, part), getattr(y, part), (what, part))
    else:
        assert np.array_equal(x, y, equal_nan=x.dtype.kind == "f"), what


def compare(original, rewritten):
    equal(anndata.read_h5ad(original), anndata.read_h5ad(rewritten))


def equal(a, b):
    for side in (a, b):
        side.uns = {k: plain_records(v) for k, v in side.uns.items()}
    # `exact` would take NaN for different from NaN: values and types are compared below instead.
    assert_equal(a, b)
    for slot in ("obs", "var"):
        x, y = getattr(a, slot), getattr(b, slot)
        assert list(x.dtypes) == list(y.dtypes), (slot, x.dtypes, y.dtypes)
        assert x.index.name == y.index.name, (slot, x.index.name, y.index.name)
    if a.X is not None:
        assert type(a.X) is type(b.X), (type(a.X), type(b.X))
        assert a.X.dtype == b.X.dtype, (a.X.dtype, b.X.dtype)
        same(a.X, b.X, "X")
    for slot in ("layers", "obsm", "varm", "obsp", "varp"):
        x, y = getattr(a, slot), getattr(b, slot)
        assert set(x) == set(y), (slot, set(x), set(y))
        for k in x:
            assert type(x[k]) is type(y[k]), (slot, k, type(x[k]), type(y[k]))
            if hasattr(x[k], "dtype"):
                assert x[k].dtype == y[k].dtype, (slot, k, x[k].dtype, y[k].dtype)
                same(x[k], y[k], (slot, k))
    assert (a.raw is None) == (b.raw is None), "raw"
    if a.raw is not None:
        assert_equal(a.raw.to_adata(), b.raw.to_adata())
        same(a.raw.X, b.raw.X, "raw.X")


def main():
    failed = False
    paths = sys.argv[1:]
    for original, rewritten in zip(paths[::2], paths[1::2], strict=True):
        try:
            compare(original, rewritten)
            print("equal", original)
        except Exception as e:  # every pair is to be reported
            failed = True
            print("DIFFERS", original, type(e).__name__, str(e)[:1500])
    sys.exit(failed)


if __name__ == "__main__":
    main()
