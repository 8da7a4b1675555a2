#!/usr/bin/python3
"""Writes tests/golden/pixels.h5: what Pillow 9.4 makes of small images (Debian 12: python3-pil, python3-h5py).

Run from the repository's root: /usr/bin/python3 tests/reference/make_pixels.py
The pictures are made by formula. CMYK JPEGs come from libturbojpeg, PNG kinds that Pillow cannot write from a few
lines here; what is stored beside them is always Pillow's own decode. The Gaussian blur is torchvision 0.14's
(gaussian_blur on a PIL image) in numpy.
"""
import ctypes
import io
import struct
import zlib

import h5py
import numpy as np
import PIL
from PIL import Image, ImageEnhance, ImageOps

OUT = "tests/golden/pixels.h5"


def picture(height, width, seed=0):
    """Smooth colours, hard edges and noise: [H,W,3] uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [127 + 100 * np.sin(2 * np.pi * (fx * x + fy * y) + p) for fx, fy, p in
             [(1.3, 0.4, 0.2), (0.3, 1.7, 1.1), (2.1, -1.2, 2.5)]]
    image = np.stack(waves, -1) + rng.normal(0, 4, (height, width, 3))
    image[height // 5:height // 2, width // 4:width // 2] = (250, 30, 12)
    image[height // 2:, 2 * width // 3:] *= 0.5
    return np.clip(image, 12, 250).astype(np.uint8)


def save(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(samples, depth, color, interlaced=False, palette=None):
    """A PNG of samples [H,W,C] at any depth and colour type, each row with another of the filters none and sub."""
    def rows(part):
        out = b""
        for number, row in enumerate(part):
            if depth == 16:
                packed = row.astype(">u2").tobytes()
            elif depth == 8:
                packed = row.astype(np.uint8).tobytes()
            else:
                bits = (row.reshape(-1, 1) >> np.arange(depth - 1, -1, -1)) & 1
                packed = np.packbits(bits.reshape(-1).astype(np.uint8)).tobytes()
            step = max(1, part.shape[2] * depth // 8)
            if number % 2:
                before = b"\0" * step + packed[:-step]
                packed = bytes((a - b) & 255 for a, b in zip(packed, before))
            out += bytes([number % 2]) + packed
        return out

    height, width, _ = samples.shape
    if interlaced:  # Adam7
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
        data = b"".join(rows(samples[y::dy, x::dx]) for y, x, dy, dx in passes if samples[y::dy, x::dx].size)
    else:
        data = rows(samples)
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, int(interlaced))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + (chunk(b"PLTE", palette) if palette else b"") +
            chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b""))


def ycck(cmyk, subsampling, quality=85):
    """A YCCK JPEG with an Adobe marker of inks [H,W,4] (inverted, as Adobe stores them), by libturbojpeg."""
    library = ctypes.CDLL("libturbojpeg.so.0")
    library.tjInitCompress.restype = ctypes.c_void_p
    handle = ctypes.c_void_p(library.tjInitCompress())
    data, size = ctypes.POINTER(ctypes.c_ubyte)(), ctypes.c_ulong()
    inks = np.ascontiguousarray(cmyk)
    status = library.tjCompress2(handle, inks.ctypes.data_as(ctypes.c_void_p), inks.shape[1], 0, inks.shape[0], 11,
                                 ctypes.byref(data), ctypes.byref(size), subsampling, quality, 0)
    assert status == 0
    return bytes(data[:size.value])


def encoded():
    big, small = picture(21, 27), picture(11, 19, 1)
    image, thumb = Image.fromarray(big), Image.fromarray(small)
    yield "jpeg_420", save(image, "JPEG", quality=75)
    yield "jpeg_444", save(image, "JPEG", quality=92, subsampling=0)
    yield "jpeg_422_progressive", save(image, "JPEG", quality=80, subsampling=1, progressive=True)
    yield "jpeg_grey", save(image.convert("L"), "JPEG", quality=80)
    yield "jpeg_cmyk", save(image.convert("CMYK"), "JPEG", quality=90)
    yield "jpeg_ycck", ycck(255 - np.asarray(image.convert("CMYK")), 0)
    yield "jpeg_ycck_420", ycck(np.concatenate([big, 200 - big[:, :, :1] // 2], 2), 2)
    yield "png_rgb", save(thumb, "PNG")
    yield "png_rgba", save(Image.merge("RGBA", [*thumb.split(), thumb.convert("L")]), "PNG")
    yield "png_grey", save(thumb.convert("L"), "PNG")
    yield "png_grey_alpha", save(thumb.convert("LA"), "PNG")
    yield "png_palette", save(thumb.quantize(40), "PNG")
    yield "png_palette_transparent", save(thumb.quantize(7), "PNG", transparency=2)
    yield "png_one_bit", save(thumb.convert("1"), "PNG")
    grey = small[:, :, :1].astype(np.uint16)
    wide = small.astype(np.uint16) * 257 + np.arange(19, dtype=np.uint16)[None, :, None]
    yield "png_grey_2", png(grey >> 6, 2, 0)
    yield "png_grey_4_interlaced", png(grey >> 4, 4, 0, interlaced=True)
    yield "png_grey_16", png(grey * 3, 16, 0)
    yield "png_grey_alpha_16", png(wide[:, :, :2], 16, 4)
    yield "png_rgb_16", png(wide, 16, 2)
    yield "png_rgb_16_interlaced", png(wide, 16, 2, interlaced=True)
    yield "png_rgba_16", png(np.concatenate([wide, wide[:, :, :1]], 2), 16, 6)
    yield "png_rgb_interlaced", png(small.astype(np.uint16), 8, 2, interlaced=True)
    yield "png_palette_1_interlaced", png(grey >> 7, 1, 3, interlaced=True, palette=bytes([200, 30, 7, 9, 90, 250]))
    yield "png_palette_2", png(grey >> 6, 2, 3, palette=bytes(range(100, 112)))
    yield "png_palette_4_short", png(grey >> 4, 4, 3, palette=bytes(range(120, 150)))  # 10 of 16 entries


def gaussian_blur(image, kernel_size, sigma):
    half = (kernel_size - 1) / 2
    x = np.linspace(-half, half, kernel_size, dtype=np.float32)
    line = np.exp(np.float32(-0.5) * (x / np.float32(sigma)) ** 2)
    line = line / line.sum(dtype=np.float32)
    kernel = line[:, None] * line[None, :]
    border = kernel_size // 2
    padded = np.pad(image.astype(np.float32), [(border, border), (border, border), (0, 0)], mode="reflect")
    height, width, _ = image.shape
    out = np.zeros(image.shape, np.float32)
    for dy in range(kernel_size):
        for dx in range(kernel_size):
            out += kernel[dy, dx] * padded[dy:dy + height, dx:dx + width]
    return np.round(out).astype(np.uint8)


def shortest_center_crop(image, size):
    """torchvision 0.14: Resize(size, BICUBIC), CenterCrop(size)."""
    width, height = image.size
    short = min(width, height)
    new = (int(size * width / short), int(size * height / short))
    if new != image.size:
        image = image.resize(new, Image.BICUBIC)
    left, top = round((new[0] - size) / 2), round((new[1] - size) / 2)
    return image.crop((left, top, left + size, top + size))


def main():
    with h5py.File(OUT, "w", libver="latest") as file:
        file.attrs["generator"] = "tests/reference/make_pixels.py"
        file.attrs["versions"] = f"Pillow {PIL.__version__}, numpy {np.__version__}"

        def put(name, array):
            file.create_dataset(name, data=np.asarray(array), compression="gzip", compression_opts=9, shuffle=False)

        for name, data in encoded():
            put(f"encoded/{name}", np.frombuffer(data, np.uint8))
            put(f"decoded/{name}", Image.open(io.BytesIO(data)).convert("RGB"))

        array = picture(28, 36, 2)
        image = Image.fromarray(array)
        put("image", image)
        put("jpeg_80", np.asarray(Image.open(io.BytesIO(save(image, "JPEG", quality=80)))))
        for filter_name, kind in ("bilinear", Image.BILINEAR), ("bicubic", Image.BICUBIC):
            for width, height in (20, 20), (41, 15), (36, 13), (5, 28), (1, 1), (43, 30):
                put(f"resize/{filter_name}/{width}x{height}", image.resize((width, height), kind))
        for shape in (24, 37), (33, 16), (23, 23), (16, 21), (31, 16):
            source = Image.fromarray(picture(*shape, seed=3))
            put(f"center_crop/{shape[1]}x{shape[0]}/image", source)
            put(f"center_crop/{shape[1]}x{shape[0]}/16", shortest_center_crop(source, 16))
        for factor in 0.0, 0.63, 1.37:
            put(f"brightness/{factor}", ImageEnhance.Brightness(image).enhance(factor))
            put(f"contrast/{factor}", ImageEnhance.Contrast(image).enhance(factor))
            put(f"saturation/{factor}", ImageEnhance.Color(image).enhance(factor))
        put("grayscale", image.convert("L").convert("RGB"))
        put("flip", ImageOps.mirror(image))
        for bits in 1, 3:
            put(f"posterize/{bits}", ImageOps.posterize(image, bits))
        put("autocontrast", ImageOps.autocontrast(image))
        for kernel, sigma in (5, 1.1), (5, 2.0), (9, 3.0):
            put(f"blur/{kernel}/{sigma}", gaussian_blur(array, kernel, sigma))
        pixels = np.arange(256, dtype=np.float32)[:, None] / np.float32(255)
        mean = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
        std = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
        put("normalised", (pixels - mean) / std)  # [256,3]


if __name__ == "__main__":
    main()
