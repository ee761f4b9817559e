"""Writes files of weights as PyTorch does, and what they hold beside them.

usage: io_checkpoint.py make FOLDER      without PyTorch: by hand, every variant of the formats
       io_checkpoint.py torch FOLDER     with PyTorch (2.15): how the files of tests/golden/checkpoint
                                         were made, but for those whose names start with "made"
       io_checkpoint.py check FOLDER     with PyTorch: whether it reads the same from what `make` wrote

For a file NAME.pt, NAME.safetensors holds the tensors that are expected (of the same names and
element types; bool as uint8, int8 as int16, uint16 as uint32).
"""

import argparse
import collections
import io
import json
import os
import pathlib
import pickle
import struct
import sys
import types
import zipfile
from pathlib import Path

import numpy as np

# ------------------------------------------------------------------ safetensors, by hand

NAMES = {"f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "i4": "I32", "i2": "I16", "u4": "U32", "u1": "U8"}
WIDER = {"b1": "u1", "i1": "i2", "u2": "u4"}


def write_expected(path, tensors):
    """`tensors`: arrays by name; bfloat16 as ("bf16", array of uint16)."""
    header, data = {}, b""
    for name, x in tensors.items():
        kind = None
        if isinstance(x, tuple):
            kind, x = "BF16", x[1]
        code = x.dtype.str[1:]
        if code in WIDER and not kind:
            x = x.astype(WIDER[code])
            code = WIDER[code]
        raw = np.ascontiguousarray(x).tobytes()
        header[name] = {
            "dtype": kind or NAMES[code],
            "shape": list(x.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


# ------------------------------------------------------------------ PyTorch's classes, in name only

STORAGES = {
    "f8": "DoubleStorage",
    "f4": "FloatStorage",
    "f2": "HalfStorage",
    "bf16": "BFloat16Storage",
    "i8": "LongStorage",
    "i4": "IntStorage",
    "i2": "ShortStorage",
    "i1": "CharStorage",
    "u1": "ByteStorage",
    "b1": "BoolStorage",
    "c8": "ComplexFloatStorage",
    "qi1": "QInt8Storage",
}


def fake(module, name, kind):
    """A class or function that pickles as `module.name`."""
    made = type(name, (), {}) if kind == "class" else types.FunctionType((lambda *a: None).__code__, {}, name)
    made.__module__, made.__qualname__, made.__name__ = module, name, name
    parts = module.split(".")
    for i in range(len(parts)):
        sys.modules.setdefault(".".join(parts[: i + 1]), types.ModuleType(".".join(parts[: i + 1])))
    setattr(sys.modules[module], name, made)
    return made


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *args):
        self.parts = (function, args)

    def __reduce_ex__(self, protocol):
        return self.parts


class DType:
    """Pickles as `torch.float32`, a name without a call."""

    __module__ = "torch"

    def __reduce__(self):
        return "float32"


class Storage:
    def __init__(self, array, kind=None):
        self.array = np.ascontiguousarray(array).reshape(-1)
        self.kind = kind or self.array.dtype.str[1:]


def tensor(array, storage=None, offset=0, shape=None, strides=None, kind=None):
    """A tensor over a storage of its own, or the view (offset, shape, strides) of a given one."""
    storage = storage or Storage(array, kind)
    if shape is None:
        shape = array.shape
        strides = [int(np.prod(shape[i + 1 :])) for i in range(len(shape))]
    rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
    return Call(rebuild, storage, offset, tuple(shape), tuple(strides), False, collections.OrderedDict())


def parameter(x):
    return Call(sys.modules["torch._utils"]._rebuild_parameter, x, True, collections.OrderedDict())


class Pickler(pickle.Pickler):
    def __init__(self, file, protocol, legacy):
        super().__init__(file, protocol)
        self.legacy, self.keys = legacy, {}

    def persistent_id(self, x):
        if not isinstance(x, Storage):
            return None
        key = str(len(self.keys)) if not self.legacy else str(94000000000000 + 64 * len(self.keys))
        key, _ = self.keys.setdefault(id(x), (key, x))
        view = (None,) if self.legacy else ()
        return ("storage", getattr(sys.modules["torch"], STORAGES[x.kind]), key, "cpu", len(x.array)) + view


def save(path, content, protocol=2, compression=zipfile.ZIP_STORED, byteorder="little"):
    """torch.save(content, path)"""
    buffer = io.BytesIO()
    pickler = Pickler(buffer, protocol, False)
    pickler.dump(content)
    stem = Path(path).stem
    with zipfile.ZipFile(path, "w", compression) as z:
        z.writestr(f"{stem}/data.pkl", buffer.getvalue())
        if byteorder:
            z.writestr(f"{stem}/byteorder", byteorder)
        for key, storage in pickler.keys.values():
            z.writestr(f"{stem}/data/{key}", storage.array.tobytes())
        z.writestr(f"{stem}/version", "3\n")


def save_legacy(path, content, protocol=2, little=True):
    """torch.save(content, path, _use_new_zipfile_serialization=False)"""
    with open(path, "wb") as f:
        pickle.dump(0x1950A86A20F9469CFC6C, f, protocol=2)
        pickle.dump(1001, f, protocol=protocol)
        system = {"protocol_version": 1001, "little_endian": little, "type_sizes": {"short": 2, "int": 4, "long": 4}}
        pickle.dump(system, f, protocol=protocol)
        pickler = Pickler(f, protocol, True)
        pickler.dump(content)
        storages = sorted(pickler.keys.values(), key=lambda s: s[0], reverse=True)
        pickle.dump([key for key, _ in storages], f, protocol=protocol)
        for _, storage in storages:
            f.write(struct.pack("<q", len(storage.array)))
            f.write(storage.array.tobytes())


# ------------------------------------------------------------------ cases


def every_kind():
    """Tensors of every element type and layout, and the arrays that they are."""
    rng = np.random.default_rng(3)
    plain = rng.normal(size=(5, 7))
    file, expected = collections.OrderedDict(), {}

    def add(name, x, array):
        file[name], expected[name] = x, array

    for code in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1"):
        array = (plain * 10).clip(0 if code == "u1" else -100, 100).astype(code)
        add(code, tensor(array), array)
    array = plain > 0
    add("bool", tensor(array), array)
    bits = (plain.astype("f4").view("u4") >> 16).astype("u2")
    add("bf16", tensor(bits, kind="bf16"), ("bf16", bits))
    add("scalar", tensor(np.array(2.5, "f4")), np.array(2.5, "f4"))
    add("empty", tensor(np.zeros((0, 3), "f4")), np.zeros((0, 3), "f4"))
    whole = rng.normal(size=(4, 6, 3)).astype("f4")
    storage = Storage(whole)
    add("whole", tensor(None, storage, 0, (4, 6, 3), (18, 3, 1)), whole)
    add("tied", tensor(None, storage, 0, (4, 6, 3), (18, 3, 1)), whole)
    add("transposed", tensor(None, storage, 0, (3, 6, 4), (1, 3, 18)), whole.T)
    add("row", tensor(None, storage, 18, (6, 3), (3, 1)), whole[1])
    add("column", tensor(None, storage, 5, (4, 3), (18, 1)), whole.reshape(4, 18)[:, 5:8])
    add("every other", tensor(None, storage, 1, (2, 6), (36, 3)), whole[::2, :, 1])
    add("expanded", tensor(None, storage, 2, (2, 3), (0, 1)), np.broadcast_to(whole.reshape(-1)[2:5], (2, 3)))
    add("one long", tensor(None, storage, 3, (1, 3), (99, 1)), whole.reshape(-1)[3:6].reshape(1, 3))
    half = Storage(rng.normal(size=(3, 4)).astype("f2"))
    add("half, transposed", tensor(None, half, 0, (4, 3), (1, 4)), half.array.reshape(3, 4).T)
    return file, expected


class Unknown:
    """Of a class that nobody else has."""

    def __init__(self):
        self.alpha, self.inner = 0.5, {"a": [1, (2, 3)]}


def training():
    """A checkpoint of training, as Lightning writes it."""
    rng = np.random.default_rng(5)
    w = rng.normal(size=(3, 4)).astype("f4")
    b, steps = rng.normal(size=3).astype("f4"), np.array(17, "i8")
    torch = sys.modules["torch"]
    device = Call(torch.device, "cuda", 0)
    parser = argparse.Namespace(lr=1e-3, layers=[64, 32], path=pathlib.PurePosixPath("a/b"), device=device)
    counts = collections.defaultdict(list, {"x": [1], "y": []})
    content = {
        "epoch": 3,
        "global_step": 1 << 40,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": collections.OrderedDict(
            [("model.w", tensor(w)), ("model.b", tensor(b)), ("model.steps", tensor(steps))]
        ),
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best": tensor(np.array(0.25, "f4")), "path": ""}},
        "optimizer_states": [{"state": {0: {"exp_avg": tensor(w * 2)}}, "param_groups": [{"lr": np.float64(0.125)}]}],
        "hyper_parameters": {
            "lr": np.float64(0.001),
            "low": np.float32(0.1),
            "n": np.int64(-7),
            "seed": np.uint8(200),
            "on": np.bool_(True),
            "who": np.str_("näme"),
            "args": parser,
            "counts": counts,
            "other": Unknown(),
            "size": Call(torch.Size, (2, 3)),
            "dtype": torch.float32,
            "huge": 1 << 200,
            "none": None,
            "set": {5},
            "bytes": b"\x00\xff",
            "complex": 1 + 2j,
            "array": np.arange(3),
        },
    }
    content["hyper_parameters"]["itself"] = content["hyper_parameters"]
    expected = {
        "state_dict.model.w": w,
        "state_dict.model.b": b,
        "state_dict.model.steps": steps,
        "callbacks.ModelCheckpoint{'monitor': None}.best": np.array(0.25, "f4"),
        "optimizer_states.0.state.0.exp_avg": w * 2,
    }
    return content, expected


class Net:
    """A whole module: attributes as torch.nn.Module has them."""

    def __init__(self, parameters=(), buffers=(), modules=(), passing=()):
        self.training = True
        self._parameters = collections.OrderedDict(parameters)
        self._buffers = collections.OrderedDict(buffers)
        self._non_persistent_buffers_set = set(passing)
        self._modules = collections.OrderedDict(modules)


def whole_module():
    rng = np.random.default_rng(7)
    w, mean, mask = rng.normal(size=(2, 3)).astype("f4"), rng.normal(size=3).astype("f4"), np.ones(3, "u1")
    tied = parameter(tensor(w))
    inner = Net({"weight": tied, "bias": None}, {"mean": tensor(mean), "mask": tensor(mask)}, {}, {"mask"})
    other = Net({"weight": tied})
    net = Net({}, {}, {"a": inner, "b": None, "c": Net({}, {}, {"0": other})})
    inner.parent = net  # a circle, as people make them
    other.first = inner
    return net, {"a.weight": w, "a.mean": mean, "c.0.weight": w}


def hostile(folder):
    """Files whose reading in Python runs something."""
    calls = {
        "system": Call(os.system, "true"),
        "eval": Call(eval, "1"),
        "exec": Call(exec, ""),
        "popen": Call(__import__("subprocess").Popen, ["true"]),
        "import": Call(__import__, "os"),
        "open": Call(open, "/dev/null"),
        "run": Call(__import__("runpy").run_path, "x"),
        "loads": Call(pickle.loads, b"N."),
    }
    for name, call in calls.items():
        for protocol in (0, 2, 4):
            content = {"state_dict": {"w": tensor(np.ones(2, "f4"))}, "x": [call]}
            if protocol:
                save(folder / f"{name}-{protocol}.pt", content, protocol)
            else:  # storages need more than protocol 0
                save(folder / f"{name}-{protocol}.pt", call, protocol)


def make(folder):
    folder = Path(folder)
    for kind in set(STORAGES.values()):
        fake("torch", kind, "class")
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter", "_rebuild_qtensor"):
        fake("torch._utils", name, "function")
    for name in ("Size", "device"):
        fake("torch", name, "class")
    sys.modules["torch"].float32 = DType()
    for made in (Unknown, Net):
        fake("somebodys.models", made.__name__, "class")
        made.__module__ = "somebodys.models"
        setattr(sys.modules["somebodys.models"], made.__name__, made)

    content, expected = every_kind()
    for protocol in (2, 3, 4, 5):
        save(folder / f"kinds-{protocol}.pt", content, protocol)
        write_expected(folder / f"kinds-{protocol}.safetensors", expected)
    save(folder / "deflated.pt", content, compression=zipfile.ZIP_DEFLATED, byteorder=None)
    write_expected(folder / "deflated.safetensors", expected)
    save_legacy(folder / "legacy.pt", content)
    write_expected(folder / "legacy.safetensors", expected)

    content, expected = training()
    for protocol in (2, 4):
        save(folder / f"training-{protocol}.pt", content, protocol)
        write_expected(folder / f"training-{protocol}.safetensors", expected)
    save_legacy(folder / "training-legacy.pt", content)
    write_expected(folder / "training-legacy.safetensors", expected)

    content, expected = whole_module()
    save(folder / "module.pt", content)
    write_expected(folder / "module.safetensors", expected)
    save_legacy(folder / "module-legacy.pt", content)
    write_expected(folder / "module-legacy.safetensors", expected)

    (folder / "refused").mkdir()
    hostile(folder / "refused")
    one = {"w": tensor(np.ones(2, "f4"))}
    save(folder / "refused" / "big.pt", one, byteorder="big")
    save_legacy(folder / "refused" / "big-legacy.pt", one, little=False)
    odd = {
        "complex": tensor(np.ones(2, "c8")),
        "quantised": Call(sys.modules["torch._utils"]._rebuild_qtensor, Storage(np.ones(2, "i1"), "qi1"), 0, (2,)),
        "fine": tensor(np.ones(2, "f4")),
    }
    save(folder / "refused" / "odd.pt", odd)


# ------------------------------------------------------------------ with PyTorch


def with_torch(folder):
    """Files of PyTorch itself."""
    import torch

    folder = Path(folder)
    torch.manual_seed(1)

    def expect(name, tensors):
        out = {}
        for key, x in tensors.items():
            x = x.detach()
            if x.dtype == torch.bfloat16:
                out[key] = ("bf16", x.contiguous().view(torch.uint16).numpy())
            else:
                out[key] = x.contiguous().numpy()
        write_expected(folder / f"{name}.safetensors", out)

    x = torch.arange(24.0).reshape(4, 6)
    names = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool".split()
    kinds = {name: x.to(getattr(torch, name)) for name in names}
    kinds |= {"transposed": x.t(), "part": x[1:3, 2:5], "tied": x, "scalar": torch.tensor(3), "empty": torch.ones(0, 2)}
    kinds["parameter"] = torch.nn.Parameter(x[0])
    kinds["attributed"] = torch.ones(3)
    kinds["attributed"].note = "a tensor with an attribute"
    torch.save(kinds, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    expect("legacy", kinds)
    kinds["uint16"] = x.to(torch.uint16)  # which the older format has not
    torch.save(kinds, folder / "kinds.pt")
    expect("kinds", kinds)
    torch.serialization.set_crc32_options(False)
    torch.save(kinds, folder / "without-checksums.pt", pickle_protocol=5)
    torch.serialization.set_crc32_options(True)
    expect("without-checksums", kinds)

    net = torch.nn.Sequential(torch.nn.Conv1d(2, 3, 2), torch.nn.BatchNorm1d(3), torch.nn.LSTM(3, 2))
    optimizer = torch.optim.AdamW(net[0].parameters(), lr=0.01)
    net[1](net[0](torch.ones(2, 2, 5))).sum().backward()
    optimizer.step()
    torch.save(net, folder / "module.pt")
    expect("module", net.state_dict())
    torch.save({"net": torch.nn.DataParallel(net).state_dict(), "optim": optimizer.state_dict()}, folder / "nested.pt")
    expect("nested", {f"module.{k}": v for k, v in net.state_dict().items()})
    script = torch.jit.script(net[:2])
    torch.jit.save(script, folder / "script.pt")
    expect("script", net[:2].state_dict())


def check(folder):
    import torch

    folder = Path(folder)
    sys.modules["somebodys.models"] = made = types.ModuleType("somebodys.models")
    made.Net, made.Unknown = Net, Unknown
    sys.modules["somebodys"] = types.ModuleType("somebodys")
    from safetensors.torch import load_file

    def walk(x, name=""):
        if isinstance(x, torch.Tensor):
            yield name, x.detach()
        elif isinstance(x, dict):
            for k, v in x.items():
                if v is not x:
                    yield from walk(v, f"{name}.{k}".lstrip("."))
        elif isinstance(x, (list, tuple)):
            for i, v in enumerate(x):
                yield from walk(v, f"{name}.{i}".lstrip("."))
        elif isinstance(x, Net):
            for part in (x._parameters, x._buffers, x._modules):
                for k, v in part.items():
                    if k not in x._non_persistent_buffers_set:
                        yield from walk(v, f"{name}.{k}".lstrip("."))

    for path in sorted(folder.glob("*.pt")):
        expected = load_file(path.with_suffix(".safetensors"))
        found = dict(walk(torch.load(path, weights_only=False)))
        found.pop("hyper_parameters.itself", None)
        assert found.keys() == expected.keys(), (path, found.keys() ^ expected.keys())
        for name, x in found.items():
            y = expected[name]
            assert x.shape == y.shape, (path, name)
            assert torch.equal(x.to(y.dtype), y), (path, name)
        print("equal", path.name, len(found))


if __name__ == "__main__":
    {"make": make, "torch": with_torch, "check": check}[sys.argv[1]](sys.argv[2])
