"""Safetensors files in numpy, so that no package is needed.

Usage: from tensor_files import read_safetensors, write_safetensors     (a module, nothing to run)

Layout: uint64 length of the header, little endian; a JSON header {name: {dtype, shape, data_offsets}, "__metadata__":
{key: text}}; the tensors end to end. Format: https://github.com/huggingface/safetensors
"""
import json
import struct

import numpy as np

DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "U8": np.uint8}


def write_safetensors(path, tensors, metadata=None):
    """tensors: {name: array}; metadata: {key: text}. float32 and so on, never bfloat16."""
    names = {np.dtype(value): key for key, value in DTYPES.items()}
    header, offset = {"__metadata__": dict(metadata)} if metadata else {}, 0
    for name, array in tensors.items():
        header[name] = {"dtype": names[array.dtype], "shape": list(array.shape),
                        "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of 8
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in tensors.values():
            file.write(np.ascontiguousarray(array).tobytes())


def read_safetensors(path):
    """-> ({name: array}, metadata)."""
    with open(path, "rb") as file:
        data = file.read()
    if len(data) < 8 or (length := struct.unpack("<Q", data[:8])[0]) > len(data) - 8:
        raise ValueError(f"{path}: not a safetensors file")
    header = json.loads(data[8:8 + length])
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        if end > len(data):
            raise ValueError(f"{path}: {name}: the file is truncated")
        if entry["dtype"] not in DTYPES:
            raise ValueError(f"{path}: {name}: dtype {entry['dtype']} is not one of {', '.join(DTYPES)}")
        tensors[name] = np.frombuffer(data[begin:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors, metadata
