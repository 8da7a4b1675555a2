"""Writes images.parquet, images_binary.parquet and no_images.parquet: images in Parquet files, as datasets of Hugging Face hold them.

Usage: make_parquet.py tests/golden

Made with pyarrow 26.0.1, Pillow 13.0.0. Image k is 6 x 7, its byte i is (40 k + 3 i) mod 256.
"""
import io
import pathlib
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

golden = pathlib.Path(sys.argv[1])


def image(k, kind="png"):
    file = io.BytesIO()
    pixels = (40 * k + 3 * np.arange(6 * 7 * 3)) % 256
    Image.fromarray(pixels.astype(np.uint8).reshape(6, 7, 3)).save(file, kind)
    return file.getvalue()


struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
rows = [
    {"bytes": image(0), "path": "cats/a.png"},
    None,
    {"bytes": image(2), "path": "again.png"},
    {"bytes": image(3), "path": None},
    {"bytes": image(4, "bmp"), "path": "again.png"},
    {"bytes": None, "path": "elsewhere.png"},
    {"bytes": b"no image", "path": "text.png"},
    {"bytes": image(7), "path": "3.png"},  # what row 3 would be called
]
sounds = [{"bytes": b"RIFF....WAVE", "path": "a.wav"}] * len(rows)
texts = ["a red cat", None, "two dogs", "", "naïve\n", "f", "g", "h"]
pq.write_table(
    pa.table({"sound": pa.array(sounds, struct), "image": pa.array(rows, struct), "caption": texts,
              "text": ["not this one"] * len(rows), "labels": [[k, k] for k in range(len(rows))]}),
    golden / "images.parquet", row_group_size=3, compression="snappy")
pq.write_table(
    pa.table({"id": ["x", "y"], "mask": pa.array([b"", b"\1"], pa.binary()),
              "picture": pa.array([image(0), image(1)], pa.large_binary()), "text": ["one", "two"]},
             schema=pa.schema([pa.field("id", pa.string()), pa.field("mask", pa.binary()),
                               pa.field("picture", pa.large_binary(), nullable=False), pa.field("text", pa.string())])),
    golden / "images_binary.parquet", compression="zstd", version="1.0", use_dictionary=False)
pq.write_table(pa.table({"id": ["x"], "data": pa.array([b"\1"], pa.binary()), "lists": [[b"\x89PNG\r\n\x1a\n"]]}),
               golden / "no_images.parquet")
