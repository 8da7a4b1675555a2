#!/usr/bin/env python3
"""Writes tests/golden/images.h5: small files of every image format and what Pillow makes of them.

Run from the repository's root, with pip install pillow==12.0.0 pillow-heif==1.8.1 numpy h5py (Pillow's wheels bring
libjpeg-turbo 3.1, libwebp 1.6, libtiff 4.7, libavif 1.3): python3 tests/reference/make_images.py
Expected is ImageOps.exif_transpose(Image.open(file)).convert("RGB"). Pictures are made by formula (seed 0). Kinds that
Pillow does not write, and damage that it reads over, come from a few lines here.
"""
import io
import struct
import zlib

import h5py
import numpy as np
import PIL
import pillow_heif
from PIL import Image, ImageOps

from make_pixels import chunk, picture, png, save

OUT = "tests/golden/images.h5"
ORIENTATION = 274


def exif(orientation, order="<"):
    """A TIFF header and a directory of one entry."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "IHHHIHHI", 8, 1, ORIENTATION, 3, 1, orientation, 0, 0)


def bmp(rows, bits, size, palette=b"", compression=0, masks=b"", height=None, header=40):
    """rows: the stored pixels as they are."""
    width, tall = size
    head = struct.pack("<IiiHHIIiiII", header, width, height or tall, 1, bits, compression, len(rows), 0, 0,
                       len(palette) // 4, 0) + masks
    if header == 12:
        head = struct.pack("<IHHHH", 12, width, tall, 1, bits)
    start = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + head + palette + rows


def padded(rows):
    """Rows from the lowest up, each filled up to four bytes."""
    return b"".join(row.tobytes() + b"\0" * (-len(row.tobytes()) % 4) for row in rows[::-1])


def bitmaps(rgb):
    height, width = rgb.shape[:2]
    wide = rgb.astype(np.uint16)
    r, g, b = wide[..., 0], wide[..., 1], wide[..., 2]
    colors = np.random.default_rng(0).integers(0, 256, (16, 4)).astype(np.uint8)
    numbers = (rgb[..., 0] // 16).astype(np.uint8)
    runs = b""
    for row in numbers[::-1]:
        half = width // 2 // 2 * 2  # a run for each pixel, then pixels as they are
        runs += b"".join(bytes([1, n]) for n in row[:half])
        rest = row[half:].tobytes()
        runs += bytes([0, len(rest)]) + rest + b"\0" * (len(rest) % 2) + b"\0\0"
    runs4 = b"".join(b"".join(bytes([2, (a << 4) | c]) for a, c in zip(row[::2], row[1::2])) + b"\0\0"
                     for row in numbers[::-1, :width // 2 * 2])
    even = (width // 2 * 2, height)
    return {
        "bmp_565": bmp(padded((r >> 3 << 11 | g >> 2 << 5 | b >> 3).astype("<u2")), 16, (width, height), compression=3,
                       masks=struct.pack("<III", 0xF800, 0x7E0, 0x1F)),
        "bmp_555": bmp(padded((r >> 3 << 10 | g >> 3 << 5 | b >> 3).astype("<u2")), 16, (width, height)),
        "bmp_top_down": bmp(padded(rgb[::-1, :, ::-1]), 24, (width, height), height=-height),
        "bmp_os2": bmp(padded(rgb[:, :, ::-1]), 24, (width, height), header=12),
        "bmp_4": bmp(padded(np.packbits((numbers[..., None] >> np.arange(3, -1, -1) & 1).reshape(height, -1), 1)), 4,
                     (width, height), palette=colors.tobytes()),
        "bmp_rle8": bmp(runs + b"\0\1", 8, (width, height), palette=colors.tobytes(), compression=1),
        "bmp_rle4": bmp(runs4 + b"\0\1", 4, even, palette=colors.tobytes(), compression=2),
    }


def netpbm(rgb):
    height, width = rgb.shape[:2]
    head = b"# a comment\n%d %d\n" % (width, height)
    grey, bits = rgb[..., 1], (rgb[..., 0] > 120).astype(np.uint8)

    def words(numbers):
        return b" ".join(b"%d" % v for v in numbers.reshape(-1))

    return {
        "pnm_1": b"P1\n" + head + words(bits),
        "pnm_2": b"P2 " + head + b"255\n" + words(grey),
        "pnm_2_deep": b"P2\n" + head + b"1000\n" + words(grey.astype(int) * 3),
        "pnm_3": b"P3\n" + head + b"255\n" + words(rgb),
        "pnm_4": b"P4\n" + head + np.packbits(bits, 1).tobytes(),
        "pnm_5": b"P5\n" + head + b"255\n" + grey.tobytes(),
        "pnm_5_100": b"P5\n" + head + b"100\n" + (grey // 3).tobytes(),
        "pnm_5_deep": b"P5\n" + head + b"65535\n" + (grey.astype(">u2") * 2).tobytes(),
        "pnm_6": b"P6\n" + head + b"255\n" + rgb.tobytes(),
        "pnm_6_deep": b"P6\n" + head + b"4095\n" + (rgb.astype(">u2") * 16).tobytes(),
    }


def tiff(rgb, order="<", planar=1):
    """RGB of 16 bits, with one sample or all samples a strip."""
    height, width = rgb.shape[:2]
    samples = rgb.astype(order + "u2") * 257
    data = (samples if planar == 1 else samples.transpose(2, 0, 1)).tobytes()
    strips = 1 if planar == 1 else 3
    tags = [(256, 4, [width]), (257, 4, [height]), (258, 3, [16] * 3), (259, 3, [1]), (262, 3, [2]),
            (273, 4, None), (277, 3, [3]), (278, 4, [height]),
            (279, 4, [len(data) // strips] * strips), (284, 3, [planar])]
    start = 8 + 2 + 12 * len(tags) + 4
    extra, entries = b"", b""
    offset = start + 64  # room for what is longer than four bytes
    for tag, kind, values in tags:
        if values is None:
            values = [offset + i * len(data) // strips for i in range(strips)]
        packed = struct.pack(order + ("H" if kind == 3 else "I") * len(values), *values)
        if len(packed) > 4:
            value = struct.pack(order + "I", start + len(extra))
            extra += packed
        else:
            value = packed + b"\0" * (4 - len(packed))
        entries += struct.pack(order + "HHI", tag, kind, len(values)) + value
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return (mark + struct.pack(order + "IH", 8, len(tags)) + entries + b"\0" * 4).ljust(start) + extra.ljust(64) + data


def damaged_jpegs(rgb):
    """Warnings that leave the pixels whole."""
    image = Image.fromarray(rgb)
    good = save(image, "JPEG", quality=85)
    progressive = save(image, "JPEG", quality=85, progressive=True)
    restarts = save(image, "JPEG", quality=85, restart_marker_blocks=1)
    last_tables = progressive.rindex(b"\xff\xc4")
    next_scan = progressive.index(b"\xff\xda", last_tables)
    scan, adobe = good.index(b"\xff\xda"), b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\5"
    return {
        "jpeg_no_end": good[:-2],
        "jpeg_no_end_zeros": good[:-2] + b"\0" * 96,
        "jpeg_between_segments": good[:scan] + b"\x12\x34" + good[scan:],
        "jpeg_jfif_0": good.replace(b"JFIF\0\1", b"JFIF\0\0", 1),
        "jpeg_adobe_5": good[:2] + adobe + good[good.index(b"\xff\xdb"):],
        "jpeg_scan_0_0": good[:scan + 11] + b"\0\0\0" + good[scan + 14:],
        "jpeg_progressive_padding": progressive[:next_scan] + b"\0\0" + progressive[next_scan:],
        "jpeg_restart_padding": restarts.replace(b"\xff\xd1", b"\0\0\xff\xd1", 1),
    }


def odd_pngs(rgb):
    """Metadata, end marks and palettes that do not touch the pixels."""
    good = png(rgb, 8, 2)
    end = good.index(b"IEND") - 4
    pixels = good.index(b"IDAT") - 4

    def with_chunk(data):
        return good[:pixels] + data + good[pixels:]

    bits = (rgb[..., :1] // 128).astype(np.uint8)
    return {
        "png_no_end": good[:end],
        "png_end_damaged": good[:-1] + b"\0",
        "png_end_with_data": good[:end] + chunk(b"IEND", b"x"),
        "png_text_damaged": with_chunk(chunk(b"tEXt", b"a\0b")[:-4] + b"\0\0\0\0"),
        "png_many_texts": with_chunk(chunk(b"tEXt", b"a\0b") * 1001),
        "png_exif_empty": with_chunk(chunk(b"eXIf", b"")),
        "png_profile_damaged": with_chunk(chunk(b"iCCP", b"name\0\0nothing")),
        "png_palette_longer": png(bits, 1, 3, palette=picture(1, 3).reshape(3, 3).tobytes()),
    }


def gif_with_offset(rgb):
    """A frame that leaves part of its canvas free: all of it has colour 0."""
    small = Image.fromarray(rgb[:8, :10]).quantize(16)
    data = bytearray(save(small, "GIF"))
    data[6:10] = struct.pack("<HH", 18, 14)  # the canvas
    frame = data.index(b",\0\0\0\0")
    data[frame + 1:frame + 5] = struct.pack("<HH", 5, 3)
    return bytes(data)


def files():
    rgb = picture(21, 30)
    image = Image.fromarray(rgb)
    alpha = image.copy()
    alpha.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 30).astype(np.uint8), (21, 1))))
    other, palette = Image.fromarray(rgb[::-1]), image.quantize(32)
    grey16 = Image.fromarray((rgb[..., 0].astype(np.uint16) * 3))
    out = {
        "webp_lossy": save(image, "WEBP", quality=80),
        "webp_lossless": save(image, "WEBP", lossless=True),
        "webp_alpha": save(alpha, "WEBP", quality=80),
        "webp_alpha_lossless": save(alpha, "WEBP", lossless=True, exact=True),
        "webp_animated": save(image, "WEBP", save_all=True, append_images=[other], lossless=True),
        "webp_exif": save(image, "WEBP", lossless=True, exif=exif(6)),
        "gif": save(palette, "GIF"),
        "gif_not_interlaced": save(palette, "GIF", interlace=0),
        "gif_transparent": save(palette, "GIF", transparency=3),
        "gif_grey": save(image.convert("L"), "GIF"),
        "gif_animated": save(palette, "GIF", save_all=True, append_images=[other.quantize(32)]),
        "gif_offset": gif_with_offset(rgb),
        "bmp_1": save(image.convert("1"), "BMP"),
        "bmp_8": save(palette, "BMP"),
        "bmp_grey": save(image.convert("L"), "BMP"),
        "bmp_24": save(image, "BMP"),
        "bmp_32": save(alpha, "BMP"),
        "tiff_1": save(image.convert("1"), "TIFF"),
        "tiff_fax": save(image.convert("1"), "TIFF", compression="group4"),
        "tiff_grey": save(image.convert("L"), "TIFF"),
        "tiff_grey_16": save(grey16, "TIFF"),
        "tiff_palette": save(palette, "TIFF", compression="packbits"),
        "tiff_rgb": save(image, "TIFF"),
        "tiff_lzw": save(image, "TIFF", compression="tiff_lzw"),
        "tiff_deflate": save(image, "TIFF", compression="tiff_adobe_deflate"),
        "tiff_jpeg": save(image, "TIFF", compression="jpeg"),
        "tiff_alpha": save(alpha, "TIFF"),
        "tiff_cmyk": save(image.convert("CMYK"), "TIFF"),
        "tiff_16": tiff(rgb),
        "tiff_16_big": tiff(rgb, ">"),
        "tiff_exif": save(image, "TIFF", tiffinfo={ORIENTATION: 8}),
        "avif_444": save(image, "AVIF", quality=90, subsampling="4:4:4"),
        "avif_420": save(image, "AVIF", quality=80),
        "avif_alpha": save(alpha, "AVIF", quality=80, subsampling="4:4:4"),
        "avif_exif": save(image, "AVIF", quality=80, subsampling="4:4:4", exif=exif(6)),
    }
    good = png(rgb, 8, 2)
    end = good.index(b"IEND") - 4
    out["png_exif"] = good[:end] + chunk(b"eXIf", exif(5, ">")) + good[end:]
    for i in range(1, 9):
        out[f"jpeg_exif_{i}"] = save(image, "JPEG", quality=85, exif=b"Exif\0\0" + exif(i, "<>"[i % 2]))
    out["jpeg_exif_9"] = save(image, "JPEG", quality=85, exif=b"Exif\0\0" + exif(9))
    out["jpeg_exif_cut"] = save(image, "JPEG", quality=85, exif=b"Exif\0\0" + exif(6)[:15])
    for part in (bitmaps(rgb), netpbm(rgb), damaged_jpegs(rgb), odd_pngs(rgb)):
        out.update(part)
    return out


def heic(rgb):
    """pillow_heif's own; AVIF stays with Pillow."""
    image = Image.fromarray(rgb)
    out = {}
    for name, chroma in (("heic_444", 444), ("heic_420", 420)):
        file = io.BytesIO()
        pillow_heif.from_pillow(image).save(file, quality=80, chroma=chroma)
        out[name] = file.getvalue()
    return out


# Whole, but not for Pillow: what it makes of the same without the fault.
WITHOUT_FAULT = {
    "jpeg_no_end": lambda data: data + b"\xff\xd9",
    "png_text_damaged": lambda data: data[:41 - 8] + data[data.index(b"IDAT") - 4:],
}


def main():
    samples = files()
    samples.update(heic(picture(40, 56)))
    pillow_heif.register_heif_opener()
    with h5py.File(OUT, "w", libver="latest") as file:
        file.attrs["generator"] = f"make_images.py, Pillow {PIL.__version__}, pillow-heif {pillow_heif.__version__}"
        for name, data in samples.items():
            image = Image.open(io.BytesIO(WITHOUT_FAULT.get(name, bytes)(data)))
            file[f"encoded/{name}"] = np.frombuffer(data, np.uint8)
            file[f"decoded/{name}"] = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    print(OUT, len(samples), "files")


if __name__ == "__main__":
    main()
