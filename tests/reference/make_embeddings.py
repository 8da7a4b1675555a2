"""Writes embeddings.npz and embeddings_compressed.npz: arrays as NumPy stores them, always with zip64 fields.

Usage: make_embeddings.py tests/golden

Made with NumPy 2.4.6, seed 0: rows [3, 5]; beside them the same in other types, and what is refused.
"""
import pathlib
import sys

import numpy as np

golden = pathlib.Path(sys.argv[1])
rows = np.random.default_rng(0).integers(-8, 8, (3, 5)).astype(np.float32) / 4
np.savez(golden / "embeddings.npz", rows)
np.savez_compressed(golden / "embeddings_compressed.npz", float32=rows, float64=rows[:, None].astype(np.float64),
                    float16=rows.astype(np.float16), ints=rows.astype(np.int64), columns=np.asfortranarray(rows),
                    big_endian=rows.astype(">f4"))
