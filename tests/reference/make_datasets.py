#!/usr/bin/env python3
"""Writes tests/golden/layouts_*.h5: the same five images and embeddings in every layout that a dataset may have, and captions.

    /usr/bin/python3 tests/reference/make_datasets.py tests/golden

Needs h5py, numpy and Pillow. Image i, row y, column x, channel c is (37 i + 11 y + 5 x + 3 c) mod 256; embedding i,
element d is (7 i + d - 10) / 8, which float16 holds exactly.
"""
import io
import sys

import h5py
import numpy as np
from PIL import Image

N, H, W, D = 5, 4, 6, 7
i, y, x, c = np.ogrid[:N, :H, :W, :3]
IMAGES = ((37 * i + 11 * y + 5 * x + 3 * c) % 256).astype(np.uint8)
EMBEDDINGS = ((7 * np.arange(N)[:, None] + np.arange(D)[None] - 10) / 8).astype(np.float32)


def png(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return np.frombuffer(buffer.getvalue(), np.uint8)


FILES = [png(image) for image in IMAGES]


def create(folder, name, **options):
    file = h5py.File(f"{folder}/layouts_{name}.h5", "w", **options)
    file.attrs["generator"] = f"make_datasets.py, h5py {h5py.__version__}, HDF5 {h5py.version.hdf5_version}"
    return file


def plain(folder, name, images={}, embeddings={}, dtype="<f4", **options):
    with create(folder, name, **options) as f:
        f.create_dataset("images", data=IMAGES, **images)
        f.create_dataset("embeddings", data=EMBEDDINGS.astype(dtype), **embeddings)


def flat(folder, name, offset_dtype="u8", **options):
    with create(folder, name) as f:
        f.create_dataset("encoded/bytes", data=np.concatenate(FILES), **options)
        offsets = np.cumsum([0] + [len(b) for b in FILES]).astype(offset_dtype)
        f.create_dataset("encoded/offsets", data=offsets)
        f.create_dataset("embeddings", data=EMBEDDINGS)
        f.create_dataset("names", data=np.array([f"image {k}.png".encode() for k in range(N)]))  # fixed length


def vlen(folder, name, dataset={}, **options):
    with create(folder, name, **options) as f:
        encoded = f.create_dataset("encoded", (N,), h5py.vlen_dtype(np.uint8), **dataset)
        for k in reversed(range(N)):
            encoded[k] = FILES[k]
        f.create_dataset("embeddings", data=EMBEDDINGS)


def compact(folder):
    with create(folder, "compact") as f:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_layout(h5py.h5d.COMPACT)
        for name, data in (("images", IMAGES), ("embeddings", EMBEDDINGS)):
            space = h5py.h5s.create_simple(data.shape)
            kind = h5py.h5t.py_create(data.dtype)
            h5py.h5d.create(f.id, name.encode(), kind, space, properties).write(space, space, data)


def views(folder):
    with create(folder, "views") as f:
        f.create_dataset("images", data=IMAGES, chunks=(1, H, W, 3))
        # View v adds v / 2; the plain view stands last.
        f.create_dataset("embeddings", data=(EMBEDDINGS[:, None] + np.arange(3)[None, :, None] / 2).astype("f2"))
        seeds = np.arange(N * 3, dtype=np.uint64).reshape(N, 3) + np.uint64(2**63)
        seeds[:, 2] = 0
        f.create_dataset("view_seeds", data=seeds)
        f.create_dataset("names", data=[f"größe {k}.png" for k in range(N)])
        f.create_dataset("concepts/names", data=["red circle", "blue ring"])
        f.create_dataset("concepts/embeddings", data=EMBEDDINGS[:2])
        f.create_dataset("objects/image", data=np.array([0, 0, 4], np.int32))
        f.create_dataset("objects/concept", data=np.array([1, 0, 1], np.int64))
        f.create_dataset("objects/box", data=np.array([[0, 0, 0.5, 1], [0.25, 0, 1, 1], [0, 0.5, 1, 1]], np.float32))
        f.attrs["teacher"] = "formula"
        f.attrs["transform"] = "a transform/1"


CAPTIONS = [["a cat", "größe", ""], ["", "", ""], ["x", "", "y"], ["one", "two", "three"], ["", "", "last"]]


def captions(folder, name, data=np.array(CAPTIONS, object), dtype=h5py.string_dtype(), **options):
    with create(folder, name) as f:
        f.create_dataset("images", data=IMAGES, chunks=(1, H, W, 3))
        f.create_dataset("captions", data=data, dtype=dtype, **options)


def main(folder):
    plain(folder, "contiguous")
    plain(folder, "chunked", {"chunks": (1, H, W, 3), "maxshape": (None, H, W, 3)}, {"chunks": (2, D)})
    plain(folder, "rows", {"chunks": (2, H, W, 3)}, {"chunks": (3, D)}, "<f2")
    plain(folder, "split", {"chunks": (1, 2, W, 3)}, {"chunks": (2, 3)}, "<f8")
    plain(folder, "gzip", {"chunks": (1, H, W, 3), "compression": "gzip"}, {"compression": "gzip", "shuffle": True}, "<f8")
    plain(folder, "big_endian", dtype=">f4")
    plain(folder, "float64", dtype="<f8")
    plain(folder, "latest", {"chunks": (1, H, W, 3)}, {"chunks": (1, D), "maxshape": (None, D)}, libver="latest")
    plain(folder, "single_chunk", {"chunks": (N, H, W, 3)}, {"chunks": (N, D), "maxshape": (None, None)}, libver="latest")
    plain(folder, "userblock", {"chunks": (1, H, W, 3)}, userblock_size=512)
    compact(folder)
    flat(folder, "flat")
    flat(folder, "flat_chunked", "<i4", chunks=(50,), maxshape=(None,))
    flat(folder, "flat_gzip", ">u8", compression="gzip", chunks=(64,))
    vlen(folder, "vlen")
    vlen(folder, "vlen_chunked", {"chunks": (2,), "maxshape": (None,)})
    vlen(folder, "vlen_gzip", {"chunks": (2,), "compression": "gzip"})
    vlen(folder, "vlen_userblock", userblock_size=1024)
    views(folder)
    captions(folder, "captions")
    captions(folder, "captions_chunked", chunks=(2, 3), maxshape=(None, 3))
    captions(folder, "captions_split", chunks=(2, 2))
    captions(folder, "captions_gzip", chunks=(2, 3), compression="gzip")
    captions(folder, "captions_fixed", np.char.encode(CAPTIONS, "utf-8"), None)
    captions(folder, "captions_one", [row[2] for row in CAPTIONS])


if __name__ == "__main__":
    main(sys.argv[1])
