"""Compares a .pt file written by vitral with a .safetensors file of the same tensors, bit for bit.

Usage: check_torch_file.py FILE.pt FILE.safetensors        (exit status 1 where they differ)
"""
import json
import struct
import sys

import torch

TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
         "U8": torch.uint8}


def raw_safetensors(path):
    """{name: (dtype, shape, bytes)}"""
    with open(path, "rb") as file:
        data = file.read()
    begin = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:begin])
    header.pop("__metadata__", None)
    return {name: (TYPES[e["dtype"]], tuple(e["shape"]), data[begin + e["data_offsets"][0]:begin + e["data_offsets"][1]])
            for name, e in header.items()}


def main(pt, safetensors):
    state = torch.load(pt, weights_only=True)
    expected = raw_safetensors(safetensors)
    if type(state).__name__ != "OrderedDict" or set(state) != set(expected):
        sys.exit(f"{pt}: {type(state).__name__} of {sorted(state)}, expected {sorted(expected)}")
    for name, tensor in state.items():
        dtype, shape, raw = expected[name]
        got = bytes(tensor.contiguous().flatten().view(torch.uint8).tolist()) if tensor.numel() else b""
        if (tensor.dtype, tuple(tensor.shape), got) != (dtype, shape, raw):
            sys.exit(f"{pt}: {name}: {tensor.dtype} {tuple(tensor.shape)} differs from {dtype} {shape}")
        if tensor.requires_grad or not tensor.is_contiguous():
            sys.exit(f"{pt}: {name}: not a plain contiguous tensor")
    print(f"{len(state)} tensors, equal; PyTorch {torch.__version__}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
