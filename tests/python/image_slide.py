"""Pictures of every kind that slides come in, with the pixels that tifffile and Pillow read.

usage: image_slide.py make FOLDER
       image_slide.py pixels PICTURE FILE

`make` writes for each picture NAME also NAME.rgb, its pixels in 8-bit RGB, row after row.
cases.json lists them, windows.json windows of `tiles.tif` and the files that hold their pixels.
`pixels` writes those of a picture as Pillow reads it.
"""

import json
import sys
from pathlib import Path

import numpy as np
import PIL
import tifffile
from PIL import Image

folder = Path(sys.argv[2])
cases = []


def tissue(height, width, seed=0):
    """A smooth picture with edges and noise, so that every rounding of a decoder shows."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / a + y / b + c) for a, b, c in [(9, 31, 0), (23, 7, 1), (5, 50, 2)]]
    noise = rng.normal(0, 12, (height, width, 3))
    image = 150 + 70 * np.stack(waves, -1) + noise
    image[height // 3 : height // 2, width // 4 : width // 2] = [230, 20, 120]
    return image.clip(0, 255).astype("u1")


def add(name, rgb, **more):
    np.ascontiguousarray(rgb).tofile(folder / f"{name}.rgb")
    height, width, _ = rgb.shape
    cases.append({"name": name, "width": width, "height": height, **more})


def over_white(rgb, alpha):
    rgb, alpha = rgb.astype("u4"), alpha.astype("u4")[..., None]
    return ((rgb * alpha + 255 * (255 - alpha) + 127) // 255).astype("u1")


def grey(image):
    return np.repeat(image[..., None], 3, -1)


def tiffs():
    rgb = tissue(301, 423)
    deep = rgb.astype("u2") * 257 - (rgb % 7)
    alpha = tissue(301, 423, 1)[..., 0]
    rgba = np.dstack([rgb, alpha])

    def write(name, data, expected=None, **options):
        options = {"photometric": "rgb" if data.ndim == 3 else "minisblack", **options}
        tifffile.imwrite(folder / name, data, **options)
        add(name, rgb if expected is None else expected)

    def read(name, data, **options):
        """As `write`, where the codec loses something: the pixels that tifffile reads."""
        options = {"photometric": "rgb" if data.ndim == 3 else "minisblack", **options}
        tifffile.imwrite(folder / name, data, **options)
        back = tifffile.imread(folder / name)
        back = back.transpose(1, 2, 0) if back.shape[0] == 3 else back
        add(name, back if back.ndim == 3 else grey(back))

    tile, rows = {"tile": (64, 48)}, {"rowsperstrip": 37}
    packed = {"compression": "deflate"}
    predicted = {"predictor": True, **packed}
    upper = (deep >> 8).astype("u1")
    write("tiles.tif", rgb, **tile)
    write("strips.tif", rgb, **rows)
    write("one_strip.tif", rgb, rowsperstrip=301)
    write("one_strip_16.tif", deep, upper, rowsperstrip=301)
    write("one_strip_big_endian.tif", deep, upper, rowsperstrip=301, byteorder=">")
    write("one_strip_packed.tif", rgb, rowsperstrip=301, **packed)
    write("big.tif", rgb, bigtiff=True, **packed, **tile)
    write("big_endian.tif", rgb, bigtiff=True, byteorder=">", compression="lzw", **rows)
    write("lzw_predicted.tif", rgb, compression="lzw", predictor=True, **tile)
    write("deflate_predicted.tif", rgb, **predicted, **rows)
    write("deflate_16.tif", deep, upper, **predicted, **tile)
    planes = rgb.transpose(2, 0, 1)
    write("planes.tif", planes, rgb, planarconfig="separate", **packed, **tile)
    write("planes_strips.tif", planes, rgb, planarconfig="separate", **packed, **rows)
    write("grey.tif", rgb[..., 0], grey(rgb[..., 0]), compression="lzw", **tile)
    white = over_white(rgb, alpha)
    write("alpha.tif", rgba, white, extrasamples=["unassalpha"], **packed, **tile)
    for name, sampling in [("444", (1, 1)), ("422", (2, 1)), ("420", (2, 2)), ("411", (4, 1))]:
        # Tiles of JPEG are multiples of 16.
        options = {"subsampling": sampling, "compression": "jpeg", "compressionargs": {"level": 80}}
        read(f"jpeg_{name}.tif", rgb, tile=(64, 96), **options)
        read(f"jpeg_{name}_strips.tif", rgb, rowsperstrip=32, **options)
    read("jpeg_grey.tif", rgb[..., 1], compression="jpeg", **tile)
    as_rgb = {"level": 90, "outcolorspace": "rgb"}
    read("jpeg_rgb.tif", rgb, compression="jpeg", compressionargs=as_rgb, **tile)
    read("jpeg_planes.tif", planes, planarconfig="separate", compression="jpeg", **tile)
    read("jpeg_big.tif", rgb, compression="jpeg", bigtiff=True, **tile)

    # With the tables apart, as libtiff writes it.
    for mode in ["RGB", "YCbCr", "L"]:
        path = folder / f"jpeg_tables_{mode}.tif"
        Image.fromarray(rgb).convert(mode).save(path, compression="jpeg", quality=85)
        add(path.name, np.asarray(Image.open(path).convert("RGB")))


def pyramids():
    rgb = tissue(400, 600, 2)
    levels = [rgb, rgb[::2, ::2], rgb[::4, ::4]]
    options = {"photometric": "rgb", "tile": (64, 64), "compression": "deflate"}
    metadata = {"axes": "YXS", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
    metadata |= {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    with tifffile.TiffWriter(folder / "pyramid.ome.tif", bigtiff=True) as tif:
        tif.write(levels[0], subifds=2, metadata=metadata, **options)
        for level in levels[1:]:
            tif.write(level, subfiletype=1, **options)
    sizes = [[w, h] for h, w, _ in (level.shape for level in levels)]
    for i in (1, 2):
        add(f"pyramid.ome.tif.{i}", levels[i], level=i)
    add("pyramid.ome.tif", rgb, levels=sizes, pixel_size=0.25)

    # As slide scanners write it: a thumbnail comes before the levels, a label after them.
    path = folder / "scanner.svs"
    text = "Aperio Image Library\r\n600x400 (64x64) JPEG/RGB|AppMag = 20|MPP = 0.4990"
    options |= {"compression": "jpeg", "subsampling": (2, 1), "metadata": None}
    with tifffile.TiffWriter(path) as tif:
        tif.write(levels[0], description=text, **options)
        tif.write(levels[2], photometric="rgb", rowsperstrip=16, metadata=None)
        tif.write(levels[1], **options)
        tif.write(tissue(90, 80), photometric="rgb", compression="lzw", metadata=None)
    add("scanner.svs", tifffile.imread(path, key=0), levels=sizes, pixel_size=0.499)
    add("scanner.svs.1", tifffile.imread(path, key=2), level=1)
    add("scanner.svs.2", levels[2], level=2)

    per_cm = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(folder / "resolution.tif", rgb, photometric="rgb", **per_cm)
    add("resolution.tif", rgb, pixel_size=0.5)


def others():
    rgb = tissue(203, 317, 3)
    alpha = tissue(203, 317, 4)[..., 0]

    def write(name, image, expected=None, **options):
        image.save(folder / name, **options)
        if expected is None:
            expected = np.asarray(Image.open(folder / name).convert("RGB"))
        add(name, expected)

    image = Image.fromarray(rgb)
    for name, sampling in [("444", 0), ("422", 1), ("420", 2)]:
        write(f"{name}.jpg", image, subsampling=sampling, quality=80)
        write(f"{name}_progressive.jpg", image, subsampling=sampling, quality=90, progressive=True)
    write("restarts.jpg", image, restart_marker_blocks=7)
    write("grey.jpg", image.convert("L"))
    write("inks.jpg", image.convert("CMYK"))
    write("rgb.png", image)
    write("palette.png", image.quantize(17))
    write("bits.png", image.convert("1"))
    write("grey.png", image.convert("L"))
    write("alpha.png", Image.fromarray(np.dstack([rgb, alpha])), over_white(rgb, alpha))
    two = Image.fromarray(np.dstack([rgb[..., 0], alpha]), "LA")
    write("grey_alpha.png", two, over_white(grey(rgb[..., 0]), alpha))
    deep = rgb[..., 0].astype("u2") * 257 - (rgb[..., 0] % 5)
    write("deep.png", Image.fromarray(deep), grey((deep >> 8).astype("u1")))


def windows():
    """numpy's own padding and slicing of the picture `tiles.tif`."""
    image = tissue(301, 423)
    listed, pad = [], 700
    frame = ((pad, pad), (pad, pad), (0, 0))
    framed = {
        "reflect": np.pad(image, frame, mode="reflect"),
        "fill": np.pad(image, frame, constant_values=255),
    }

    def place(border, window, part):
        name = f"window{len(listed)}.rgb"
        np.ascontiguousarray(part).tofile(folder / name)
        size = [part.shape[1], part.shape[0]]
        listed.append({"window": window, "border": border, "file": name, "size": size})

    for window in [
        [-10, -7, 30, 20],
        [410, 290, 40, 50],
        [-5, 100, 600, 9],
        [-430, 40, 20, 20],
        [100, 50, 64, 64],
        [-20, -310, 25, 330],
    ]:
        x, y, width, height = window
        for border, wide in framed.items():
            part = wide[y + pad : y + pad + height, x + pad : x + pad + width]
            place(border, window, part)
        place("slice", window, image[y : y + height, x : x + width])
    (folder / "windows.json").write_text(json.dumps(listed))


if sys.argv[1] == "make":
    tiffs()
    pyramids()
    others()
    windows()
    (folder / "cases.json").write_text(json.dumps(cases))
    print(f"{len(cases)} pictures; tifffile {tifffile.__version__}, Pillow {PIL.__version__}")
else:
    Image.MAX_IMAGE_PIXELS = None
    picture = Image.open(sys.argv[2]).convert("RGB")
    Path(sys.argv[3]).write_bytes(picture.tobytes())
    print(f"{picture.width} x {picture.height}; Pillow {PIL.__version__}")
