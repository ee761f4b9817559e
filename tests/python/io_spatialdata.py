"""Compares what spatialdata reads in a store with what we read, which is in `uns` of an h5ad file.

usage: io_spatialdata.py STORE OURS
"""

import sys
import warnings

import anndata
import numpy as np
import shapely
from io_roundtrip import equal

warnings.simplefilter("ignore")


def matrix(transformation):
    return transformation.to_affine_matrix(("x", "y"), ("x", "y"))


def same_transforms(element, ours, what):
    from spatialdata.transformations import get_transformation

    theirs = get_transformation(element, get_all=True)
    assert set(theirs) == set(ours), (what, set(theirs), set(ours))
    for system, t in theirs.items():
        x, y = matrix(t), ours[system][[0, 1, 3]][:, [0, 1, 3]]
        assert np.allclose(x, y, rtol=1e-12), (what, system, x, y)


def coordinates(geometry):
    """The kind, the points in each ring, and all coordinates of a geometry."""
    if geometry.geom_type == "Point":
        return 1, [1], shapely.get_coordinates(geometry)
    parts = shapely.get_parts(geometry)
    rings = [r for p in parts for r in (p.exterior, *p.interiors)]
    kind = {"Polygon": 3, "MultiPolygon": 6}[geometry.geom_type]
    return kind, [len(r.coords) for r in rings], shapely.get_coordinates(geometry)


def main(store, ours):
    import spatialdata

    sdata, ours = spatialdata.read_zarr(store), anndata.read_h5ad(ours)
    uns = ours.uns
    count = 0
    for slot in ("images", "labels"):
        for name, element in getattr(sdata, slot).items():
            scales = [element] if hasattr(element, "dtype") else [element[s].image for s in element]
            assert len(scales) == len(uns[slot][name])
            for i, theirs in enumerate(scales):
                raster = uns[slot][name][str(i)]
                values, what = theirs.values, (slot, name, i)
                assert values.dtype == raster["values"].dtype, (what, values.dtype)
                assert np.array_equal(values, raster["values"]), what
                assert list(theirs.dims) == list(raster["axes"]), what
                if "c" in theirs.dims:
                    assert [str(c) for c in theirs.coords["c"].values] == list(raster["channels"]), what
                same_transforms(theirs, raster["transforms"], what)
                count += 1
    for name, theirs in sdata.shapes.items():
        shapes = uns["shapes"][name]
        parts = [coordinates(g) for g in theirs.geometry]
        assert [p[0] for p in parts] == list(shapes["kinds"]), name
        assert [n for p in parts for n in p[1]] == list(shapes["lengths"]), name
        assert np.array_equal(np.concatenate([p[2] for p in parts]), shapes["coordinates"]), name
        assert [str(i) for i in theirs.index] == list(shapes["table"].index), name
        for column in theirs.columns.drop("geometry"):
            assert theirs[column].dtype == shapes["table"][column].dtype, (name, column)
            assert list(theirs[column]) == list(shapes["table"][column]), (name, column)
        same_transforms(theirs, shapes["transforms"], name)
        count += 1
    for name, theirs in sdata.points.items():
        points, frame = uns["points"][name], theirs.compute()
        for column in frame.columns:
            x, y = frame[column], points["table"][column]
            assert list(x) == list(y) and x.dtype.kind == y.dtype.kind, (name, column, x.dtype, y.dtype)
        same_transforms(theirs, points["transforms"], name)
        count += 1
    (table,) = sdata.tables.values()
    for key in ("images", "labels", "shapes", "points"):
        del ours.uns[key]
    # What spatialdata adds when it reads: the attributes of the group.
    equal(table, ours)
    print(f"equal: {count} elements and a table of {store}")


if __name__ == "__main__":
    main(*sys.argv[1:])
