"""Runs an ONNX model that vitral exported in ONNX Runtime and compares its outputs.

Usage: check_onnx.py MODEL.onnx VALUES.safetensors [TOLERANCE]    images [B,3,S,S] and the expected embedding, probs, patch_embeddings

All images at once and one at a time (the batch is dynamic). Relative error |a - b| / |b| of each output at most TOLERANCE
(1e-5), else exit status 1. With the package onnx installed its checker looks at the model, too.
"""
import sys

import numpy as np
import onnxruntime

from tensor_files import read_safetensors

OUTPUTS = ("embedding", "probs", "patch_embeddings")


def main(path, values, tolerance=1e-5):
    try:
        import onnx
        onnx.checker.check_model(path, full_check=True)
        checked = f"checked by onnx {onnx.__version__}"
    except ImportError:
        checked = "onnx is not installed"
    tensors, _ = read_safetensors(values)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images = tensors["images"]
    whole = session.run(OUTPUTS, {"images": images})
    parts = [session.run(OUTPUTS, {"images": images[i:i + 1]}) for i in range(len(images))]
    worst = 0.0
    for name, got, single in zip(OUTPUTS, whole, zip(*parts)):
        for value in (got, np.concatenate(single)):
            if value.shape != tensors[name].shape:
                sys.exit(f"{name}: shape {value.shape}, expected {tensors[name].shape}")
            error = float(np.linalg.norm((value - tensors[name]).ravel()) / np.linalg.norm(tensors[name].ravel()))
            worst = max(worst, error)
            if not error <= float(tolerance):
                sys.exit(f"{name}: relative error {error:.1e}")
    print(f"relative error {worst:.1e}, {checked}, ONNX Runtime {onnxruntime.__version__}")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
