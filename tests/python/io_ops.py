"""Compares operations on AnnData with what anndata makes of the same files.

usage: io_ops.py CASES

CASES is a JSON file: a list of {"op", "inputs", "options", "ours"}. Each is done here with anndata
and compared with the file that was written from our result. Prints one line a case; exit code 1 if
one differs.
"""

import json
import sys
import warnings

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

warnings.simplefilter("ignore")


def missing(v):
    return v is None or v is pd.NA or (isinstance(v, float) and np.isnan(v))


def plain(column):
    """A column as a list, missing values as None, and the type as far as a file can hold it."""
    dtype = column.dtype
    values = [None if missing(v) else v for v in column]
    kinds = {type(v).__name__ for v in values if v is not None}
    if isinstance(dtype, pd.CategoricalDtype):
        categories = list(dtype.categories)
        mixed = len({type(c) for c in categories}) > 1
        if mixed:  # no file holds categories of several types: they become text
            categories, values = [str(c) for c in categories], [v if v is None else str(v) for v in values]
        return ("category", dtype.ordered, categories, values)
    if dtype == object:
        if not kinds:
            return ("text", values)
        if kinds <= {"bool", "bool_"}:
            return ("bool", [v if v is None else bool(v) for v in values])
        if kinds <= {"str"}:
            return ("text", values)
        if kinds <= {"bool", "bool_", "int", "float", "int64", "float64", "float32"}:
            return ("number", [v if v is None else float(v) for v in values])
        text = lambda v: str(v).lower() if isinstance(v, (bool, np.bool_)) else f"{v:g}" if isinstance(v, float) else str(v)
        return ("text", [v if v is None else text(v) for v in values])
    if pd.api.types.is_string_dtype(dtype):
        return ("text", values)
    if pd.api.types.is_bool_dtype(dtype):
        return ("bool", [v if v is None else bool(v) for v in values])
    return (str(dtype).lower(), [v if v is None else v.item() if hasattr(v, "item") else v for v in values])


def same_table(x, y, what):
    assert list(x.columns) == list(y.columns), (what, "columns", list(x.columns), list(y.columns))
    assert list(x.index) == list(y.index), (what, "names", list(x.index)[:5], list(y.index)[:5])
    assert x.index.name == y.index.name, (what, "index name", x.index.name, y.index.name)
    for name in x.columns:
        a, b = plain(x[name]), plain(y[name])
        if a[0] == "number" or (a[0] == "bool" and b[0] == "float64"):
            a, b = a[-1], [None if v is None else float(v) for v in b[-1]]
        if a != b:
            i = next((i for i, (p, q) in enumerate(zip(a[-1], b[-1])) if p != q), None)
            detail = (a[:-1], b[:-1]) if i is None else (i, a[-1][i], b[-1][i])
            raise AssertionError((what, name, x[name].dtype, y[name].dtype, detail))


def same_matrix(x, y, what):
    if isinstance(x, pd.DataFrame):
        return same_table(x, y, what)
    assert type(x) is type(y), (what, type(x), type(y))
    expected = np.dtype(float) if x.dtype == object else x.dtype
    assert expected == y.dtype, (what, x.dtype, y.dtype)
    assert x.shape == y.shape, (what, x.shape, y.shape)
    if sparse.issparse(x):
        x, y = x.copy(), y.copy()
        for m in (x, y):
            m.sum_duplicates()
            if "obsp" in what or "varp" in what:  # scipy's diagonal blocks store zeros of dense ones
                m.eliminate_zeros()
        assert np.array_equal(x.indptr, y.indptr), (what, "indptr")
        assert np.array_equal(x.indices, y.indices), (what, "indices")
        x, y = x.data, y.data
    nan = x.dtype.kind == "f"
    assert np.array_equal(x.astype(expected), y, equal_nan=nan or expected.kind == "f"), (what, "values")


def same_value(x, y, what):
    if isinstance(x, dict):
        assert isinstance(y, dict) and set(x) == set(y), (what, set(x), set(y))
        for k in x:
            same_value(x[k], y[k], (what, k))
    elif isinstance(x, pd.DataFrame):
        same_table(x, y, what)
    elif sparse.issparse(x):
        same_matrix(x, y, what)
    elif isinstance(x, np.ndarray) and x.dtype.names:
        assert x.dtype.names == y.dtype.names, what
        for n in x.dtype.names:
            assert [str(v) for v in x[n]] == [str(v) for v in y[n]], (what, n)
    else:
        x, y = np.asarray(x), np.asarray(y)
        assert x.shape == y.shape, (what, x.shape, y.shape)
        for a, b in zip(x.ravel(), y.ravel()):
            assert missing(a) and missing(b) or a == b, (what, a, b)


def same(x, y):
    assert x.shape == y.shape, (x.shape, y.shape)
    same_table(x.obs, y.obs, "obs")
    same_table(x.var, y.var, "var")
    assert (x.X is None) == (y.X is None), "X"
    if x.X is not None:
        same_matrix(x.X, y.X, "X")
    for slot in ("layers", "obsm", "varm", "obsp", "varp"):
        a, b = getattr(x, slot), getattr(y, slot)
        assert set(a) == set(b), (slot, set(a), set(b))
        for k in a:
            same_matrix(a[k], b[k], (slot, k))
    same_value(dict(x.uns), dict(y.uns), "uns")
    assert (x.raw is None) == (y.raw is None), "raw"
    if x.raw is not None:
        same_matrix(x.raw.X, y.raw.X, "raw.X")
        same_table(x.raw.var, y.raw.var, "raw.var")
        assert set(x.raw.varm) == set(y.raw.varm), "raw.varm"
        for k in x.raw.varm:
            same_matrix(x.raw.varm[k], y.raw.varm[k], ("raw.varm", k))


def reference(case):
    adatas = [ad.read_h5ad(p) for p in case["inputs"]]
    options = case["options"]
    a = adatas[0]
    match case["op"]:
        case "concat":
            if options.pop("fill_int", False):
                options["fill_value"] = int(options["fill_value"])
            for side in adatas:
                if options.get("axis") == 1:
                    side.obs_names_make_unique()
                else:
                    side.var_names_make_unique()
                    if side.raw is not None:
                        assert side.raw.var_names.is_unique
            return ad.concat(adatas, **options)
        case "subset":
            rows, columns = options["obs"], options["vars"]
            part = a[rows if rows is not None else slice(None), columns if columns is not None else slice(None)]
            # anndata drops unused categories here; the same is asked of ours.
            return part.copy()
        case "transpose":
            return a.T
        case "raw_to_adata":
            return a.raw.to_adata()
        case "make_unique":
            a.obs_names_make_unique()
            a.var_names_make_unique()
            return a
        case "strings_to_categoricals":
            a.strings_to_categoricals()
            return a
    raise ValueError(case["op"])


def main():
    failed = 0
    cases = json.load(open(sys.argv[1]))
    for case in cases:
        what = f"{case['op']} {case['options']} {[p.split('/data/')[-1].split('/')[-1] for p in case['inputs']]}"[:300]
        try:
            try:
                expected = reference(case)
            except Exception as e:
                if case["ours"] is not None:
                    raise
                print("refused by both", what, type(e).__name__)
                continue
            assert case["ours"] is not None, ("we refuse", case.get("error"))
            same(expected, ad.read_h5ad(case["ours"]))
            print("equal", what)
        except Exception as e:  # every case is to be reported
            failed += 1
            print("DIFFERS", what, type(e).__name__, str(e)[:1200])
    print(f"{len(cases) - failed} of {len(cases)} cases are equal")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
