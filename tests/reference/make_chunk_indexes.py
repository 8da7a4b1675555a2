#!/usr/bin/env python3
"""Writes tests/golden/chunk_indexes/*.h5: small chunked datasets in every kind of index that HDF5 has.

    python3 tests/reference/make_chunk_indexes.py tests/golden/chunk_indexes

Needs h5py (3.16, HDF5 2.0) and numpy. Every dataset is uint8 with whole rows in a chunk; element (row, i) is (7 row + i) mod
251 where it was written, and 255, the fill value, elsewhere.
"""
import pathlib
import sys

import h5py
import numpy as np


def rows(first, count, row):
    i = np.arange(int(np.prod(row, dtype=int))).reshape(row)
    return ((7 * np.arange(first, first + count).reshape((-1,) + (1,) * len(row)) + i) % 251).astype(np.uint8)


class File:
    def __init__(self, path, fcpl=None, **options):
        if fcpl:
            self.file = h5py.File(h5py.h5f.create(str(path).encode(), h5py.h5f.ACC_TRUNC, fcpl))
        else:
            self.file = h5py.File(path, "w", **options)
        self.file.attrs["generator"] = f"make_chunk_indexes.py, h5py {h5py.__version__}, HDF5 {h5py.version.hdf5_version}"

    def add(self, name, shape, chunk_rows=1, most=None, written=None, early=False, resize=(), attributes=0):
        """`written`: rows that are written at first, all by default; `resize`: extents after that, one after the other."""
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((chunk_rows,) + shape[1:])
        properties.set_fill_value(np.array(255, np.uint8))
        properties.set_obj_track_times(attributes % 2 == 1)
        if early:
            properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        unlimited = tuple(h5py.h5s.UNLIMITED if extent is None else extent for extent in most or shape)
        space = h5py.h5s.create_simple(shape, unlimited)
        dataset = h5py.Dataset(h5py.h5d.create(self.file.id, name.encode(), h5py.h5t.STD_U8LE, space, properties))
        for k in range(attributes):  # more than one block holds: the header goes on elsewhere
            dataset.attrs[f"note {k}"] = "x" * 100
        if written is None:
            dataset[...] = rows(0, shape[0], shape[1:])
        else:
            for row in written:
                dataset[row] = rows(row, 1, shape[1:])[0]
        for extent in resize:
            dataset.resize(extent, axis=0)


def fill(file, *large):
    file.add("dense", (150, 2), attributes=5)
    file.add("sparse", (150, 2), written=[149, 70, 3], attributes=4)
    file.add("partial", (7, 3), chunk_rows=3)
    file.add("single", (5, 4), chunk_rows=5)
    file.add("early", (20, 2), early=True)
    file.add("early_wider", (9, 2), most=(12, 5), early=True)
    file.add("unwritten", (5, 2), written=[])
    file.add("unwritten_single", (5, 2), chunk_rows=5, written=[])
    file.add("empty", (0, 2), most=(None, 2))
    file.add("line", (100,), chunk_rows=8)
    file.add("image", (70, 2, 3, 3), most=(None, 2, 3, 3))
    file.add("grown", (20, 2), most=(None, 2), resize=[90])
    file.add("shrunk", (100, 2), most=(None, 2), resize=[31])
    file.add("shrunk_grown", (100, 2), chunk_rows=3, most=(None, 2), resize=[31, 60])
    file.add("shrunk_grown_fixed", (100, 2), chunk_rows=3, most=(100, 2), resize=[31, 60])
    file.add("wider", (40, 2), most=(50, 5))
    file.add("endless_wider", (400, 2), most=(None, 5), written=range(0, 400, 3))
    file.add("wider_endless", (400, 2), most=(400, None), written=range(1, 400, 3))
    file.add("both", (150, 2), most=(None, None))
    file.add("both_sparse", (150, 2, 2), chunk_rows=4, most=(None, 2, None), written=[3, 70, 149])
    if "paged" in large:
        file.add("paged", (2500,), written=[5, 1000, 2100, 2499])
    if "far" in large:
        file.add("far", (140000,), most=(None,), written=[3, 4, 70, 131071, 133200, 139999])
    if "deep" in large:
        file.add("deep", (4500,), most=(None,))
    if "both_deep" in large:
        file.add("both_deep", (6000, 1), most=(None, None), written=range(0, 6000, 2))
    file.file.close()


def main(folder):
    folder = pathlib.Path(folder)
    folder.mkdir(exist_ok=True)
    fill(File(folder / "earliest.h5"), "deep")
    fill(File(folder / "v108.h5", libver=("v108", "v108")))
    fill(File(folder / "v110.h5", libver=("v110", "v110")), "paged", "far", "both_deep")
    fill(File(folder / "user_block.h5", libver=("v110", "v110"), userblock_size=512))
    sizes = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    sizes.set_sizes(4, 4)
    sizes.set_userblock(1024)
    fill(File(folder / "small_addresses.h5", sizes))


if __name__ == "__main__":
    main(sys.argv[1])
