"""Stores with arrays of every type and codec, and the check that we read them right.

usage: io_zarr_codecs.py make FOLDER      writes FOLDER/v2.zarr and FOLDER/v3.zarr
       io_zarr_codecs.py check FOLDER     compares with FOLDER/v2.h5ad and FOLDER/v3.h5ad
"""

import itertools
import sys
import warnings
from pathlib import Path

import anndata
import numcodecs
import numpy as np
import zarr
import zarr.codecs as zc

warnings.simplefilter("ignore")
TYPES = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"]
SHAPES = [((37, 11), (10, 4)), ((5, 7, 9), (2, 7, 4)), ((2500,), (1000,)), ((), ())]


def values(dtype, shape, seed=0):
    """Numbers with runs and with noise, extremes included."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    n = int(np.prod(shape))
    if dtype.kind == "b":
        x = rng.integers(0, 2, n).astype(dtype)
    elif dtype.kind in "iu":
        info = np.iinfo(dtype)
        x = rng.integers(0, 50, n).astype(dtype)
        x[: n // 10] = info.max
        x[n // 10 : n // 8] = info.min
    elif dtype.kind == "f":
        x = np.round(rng.normal(size=n), 2).astype(dtype)
        x[: n // 10] = np.nan
        x[n // 10 : n // 8] = -np.inf
    else:
        x = np.array([f"é{i % 7}"[: i % 3] for i in range(n)]).astype(dtype)
    return x.reshape(shape)


def make_v2(uns):
    def add(name, x, chunks, **kw):
        a = uns.create_array(
            name, shape=x.shape, chunks=chunks or "auto", dtype=x.dtype, attributes={"encoding-type": "array"}, **kw
        )
        a[...] = x

    for t, (shape, chunks) in itertools.product(TYPES, SHAPES):
        for order in "CF":
            for big in "<>":
                dtype = np.dtype(t).newbyteorder(big)
                add(f"{t}-{len(shape)}-{order}-{big}", values(dtype, shape), chunks, order=order)
    compressors = [None, numcodecs.Zlib(), numcodecs.GZip(), numcodecs.Zstd(), numcodecs.LZ4()]
    names = ["lz4", "lz4hc", "blosclz", "zlib", "zstd"]
    for name, shuffle, level in itertools.product(names, (0, 1, 2), (1, 9)):
        compressors.append(numcodecs.Blosc(cname=name, shuffle=shuffle, clevel=level))
        compressors.append(numcodecs.Blosc(cname=name, shuffle=shuffle, clevel=level, blocksize=1024))
    for i, c in enumerate(compressors):
        for t in ("u1", "f4", "U3"):
            for length in (7, 70_001):
                x = values("i4", (length,), i) if t == "U3" else values(t, (length,), i)
                x = (x % 50).astype(t) if t == "U3" else x
                add(f"c{i}-{t}-{length}", x, (length,), compressors=c)
    add("smooth", np.cumsum(np.ones(100_000, "i8")), (100_000,), compressors=numcodecs.Blosc("blosclz", 9, 2))
    add("slash", values("f4", (20, 20)), (7, 6), chunk_key_encoding={"name": "v2", "separator": "/"})
    add("missing", values("f8", (4, 4)), (2, 2), fill_value=7.5)
    uns.store_path.store.root.joinpath("uns/missing/0.1").unlink()
    add("bytes", np.array([b"ab", b"", b"c"]), (2,))
    record = np.array([(1, 2.5, "x"), (3, 4.5, "yz")], dtype=[("a", ">i2"), ("b", "<f8"), ("c", "<U2")])
    add("record", record, (1,))


def make_v3(uns):
    def add(name, x, chunks, **kw):
        kw.setdefault("compressors", zc.ZstdCodec())
        dtype = kw.pop("dtype", x.dtype)
        a = uns.create_array(
            name, shape=x.shape, chunks=chunks or "auto", dtype=dtype, attributes={"encoding-type": "array"}, **kw
        )
        a[...] = x

    for t, (shape, chunks) in itertools.product(TYPES, SHAPES):
        for endian in ("little", "big"):
            x = values(t, shape)
            add(f"{t}-{len(shape)}-{endian}", x, chunks, serializer=zc.BytesCodec(endian=endian))
        if len(shape) == 3:
            order = zc.TransposeCodec(order=(1, 2, 0))
            add(f"{t}-transposed", x, chunks, filters=[order])
        if shape:
            shards = tuple(2 * c for c in chunks)
            for where in ("start", "end"):
                layout = {"shape": shards, "index_location": where}
                add(f"{t}-{len(shape)}-{where}", x, chunks, shards=layout)
    compressors = [None, zc.GzipCodec(), zc.ZstdCodec(checksum=True), [zc.ZstdCodec(), zc.Crc32cCodec()]]
    for name, shuffle in itertools.product(
        ["lz4", "lz4hc", "blosclz", "zlib", "zstd"], ["noshuffle", "shuffle", "bitshuffle"]
    ):
        compressors.append(zc.BloscCodec(cname=name, shuffle=shuffle, typesize=8))
    for i, c in enumerate(compressors):
        add(f"c{i}", values("f8", (5000,), i), (2000,), compressors=c)
        texts = np.array([f"text é {k % 13}" for k in range(50)], dtype=np.dtypes.StringDType())
        add(f"text{i}", texts, (20,), compressors=c)
    layout = {"shape": (40,), "index_location": "end"}
    add("text-shards", texts, (20,), shards=layout)
    add("fixed", np.array(["ab", "", "éé"]), (2,))
    dots = {"name": "default", "separator": "."}
    add("dots", values("i4", (9, 9)), (4, 4), chunk_key_encoding=dots)
    add("v2-keys", values("i4", (9, 9)), (4, 4), chunk_key_encoding={"name": "v2", "separator": "."})
    for name, x in (("nan", np.full(9, np.nan)), ("infinity", np.full(9, -np.inf)), ("max", np.full(9, 2**64 - 1, "u8"))):
        add(f"fill-{name}", x, (4,), fill_value=x[0])


def make(folder):
    for version, fill in ((2, make_v2), (3, make_v3)):
        path = folder / f"v{version}.zarr"
        a = anndata.AnnData(np.ones((2, 2), "f4"), uns={"numbers": {}})
        group = zarr.open_group(path, mode="w", zarr_format=version)
        anndata.io.write_elem(group, "/", a)
        fill(group["uns"])


def same(x, y):
    x, y = np.asarray(x), np.asarray(y)
    if x.dtype.names:
        return all(same(x[n], y[n]) for n in x.dtype.names)
    if x.dtype.kind in "OUTS":
        text = lambda v: v.decode() if isinstance(v, bytes) else str(v)  # noqa: E731
        return x.shape == y.shape and [text(v) for v in x.ravel()] == [text(v) for v in y.ravel()]
    # Half precision becomes single; anndata gives Python's own scalars.
    native = x.dtype.newbyteorder("=")
    native = np.dtype("f4") if native == "f2" else native
    x, y = x.astype(native), y if y.shape else y.astype(native)
    return native == y.dtype and x.shape == y.shape and np.array_equal(x, y, equal_nan=x.dtype.kind == "f")


def check(folder):
    failed = False
    for version in (2, 3):
        theirs = zarr.open_group(folder / f"v{version}.zarr", mode="r")["uns"]
        ours = anndata.read_h5ad(folder / f"v{version}.h5ad").uns
        names = [n for n, _ in theirs.arrays()]
        bad = [n for n in names if n not in ours or not same(theirs[n][...], ours[n])]
        for n in bad[:20]:
            print("DIFFERS", version, n, theirs[n][...] if n in ours else "missing", ours.get(n))
        print(f"version {version}: {len(names) - len(bad)} of {len(names)} arrays equal")
        failed |= bool(bad) or len(names) < 50
    sys.exit(failed)


if __name__ == "__main__":
    {"make": make, "check": check}[sys.argv[1]](Path(sys.argv[2]))
