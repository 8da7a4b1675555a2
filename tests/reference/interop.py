"""Loads weights written by vitral into the PyTorch reference, strictly, and compares embeddings of `vitral embed`.

Usage: interop.py WEIGHTS                                      a run folder, a checkpoint folder or a .safetensors file
       interop.py WEIGHTS --embeddings OUT.h5 --images FOLDER  also: OUT.h5 as `vitral embed WEIGHTS IMAGES... -o OUT.h5` wrote it

The configuration comes from __metadata__ (image_size, patch_size, width, layers, heads, attention, window, same_norm, with or
without "model." before them); what is missing there from the tensors, as every vitral command does it. Exit status 0 all
agrees, 1 it does not or a file is not usable, 2 wrong arguments, 77 (skipped) where torch, h5py or Pillow is not installed.
"""
import argparse
import math
import pathlib
import sys

try:
    import h5py
    import numpy as np
    import torch
    from PIL import Image
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

from check_student import relative
from student import Student, normalise_images
from tensor_files import read_safetensors

CHECKPOINT = "model.safetensors"
BATCH = 32  # images at once


def weights_file(path, checkpoint):
    """The model.safetensors of a run folder (the checkpoint that `latest` or `best` names), or the file itself."""
    if path.is_file():
        return path
    if (path / CHECKPOINT).is_file():
        return path / CHECKPOINT
    pointer = path / "checkpoints" / checkpoint
    if pointer.is_file():  # a file with the name of a checkpoint; a link to its folder is as good
        pointer = pointer.parent / pointer.read_text().strip()
    if (pointer / CHECKPOINT).is_file():
        return pointer / CHECKPOINT
    raise SystemExit(f"{path}: neither a .safetensors file nor a folder with {CHECKPOINT} or checkpoints/{checkpoint}")


def configuration(tensors, metadata):
    """Arguments of Student: those of the metadata, and for what is missing there sizes from the tensors."""
    width = len(tensors["ln_post.weight"])
    tokens, internal = tensors["positional_embedding"].shape
    patch_size = tensors["conv1.weight"].shape[-1]
    blocks = {name.split(".")[2] for name in tensors if name.startswith("transformer.resblocks.")}
    has_scale = "scale" in tensors
    found = dict(image_size=patch_size * math.isqrt(tokens), patch_size=patch_size, width=width, layers=len(blocks),
                 heads=internal - width, attention="neighbourhood" if has_scale else "full", window=3, same_norm=has_scale)
    given = {key.removeprefix("model."): value for key, value in metadata.items()}
    for key, default in found.items():
        if key not in given:
            continue
        text = given[key]
        if isinstance(default, bool):
            if text.lower() not in ("true", "false"):
                raise SystemExit(f"__metadata__: {key}: {text!r} is neither true nor false")
            found[key] = text.lower() == "true"
        else:
            found[key] = type(default)(text)
    return dict(found, with_scale=has_scale), sorted(key for key in found if key in given)


def load_image(path, size):
    """uint8 [size,size,3], resized as the validation transform does it."""
    image = Image.open(path).convert("RGB")
    return np.asarray(image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BILINEAR))


def find_image(name, folder):
    for candidate in (folder / name, folder / pathlib.Path(name).name, pathlib.Path(name)):
        if candidate.is_file():
            return candidate
    raise SystemExit(f"{name}: not in {folder}; give the folder of the embedded images as --images")


def compare(model, size, path, folder, tolerance):
    """Relative errors of every array of an embedding file; True if all are small."""
    with h5py.File(path) as file:
        names = [name.decode() if isinstance(name, bytes) else name for name in file["names"][()]]
        written = {key: file[key][()] for key in ("embeddings", "probs", "patch_embeddings") if key in file}
    computed = {key: [] for key in written}
    with torch.no_grad():
        for begin in range(0, len(names), BATCH):
            images = [load_image(find_image(name, folder), size) for name in names[begin:begin + BATCH]]
            patches, probs = model(normalise_images(np.stack(images)), return_all_embeds=True)
            for key, value in (("embeddings", (probs @ patches).squeeze(1)), ("probs", probs.squeeze(1)),
                               ("patch_embeddings", patches)):
                if key in computed:
                    computed[key].append(value.numpy())
    ok = True
    for key, value in written.items():
        reference = np.concatenate(computed[key])
        each = [relative(a, b) for a, b in zip(value, reference, strict=True)]
        worst = int(np.argmax(each))
        good = each[worst] <= tolerance  # a NaN is not good
        print(f"{key}: {len(names)} images, relative error {relative(value, reference):.2e}, worst {each[worst]:.2e} "
              f"at {names[worst]}{'' if good else f', OVER {tolerance:.0e}'}")
        ok &= bool(good)
    return ok


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=pathlib.Path)
    parser.add_argument("--checkpoint", choices=("latest", "best"), default="latest", help="which one of a run folder")
    parser.add_argument("--embeddings", type=pathlib.Path, help="output of vitral embed")
    parser.add_argument("--images", type=pathlib.Path, help="folder of the images embedded there")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    arguments = parser.parse_args()
    if (arguments.embeddings is None) != (arguments.images is None):
        parser.error("--embeddings and --images go together")

    path = weights_file(arguments.weights, arguments.checkpoint)
    tensors, metadata = read_safetensors(path)
    options, from_metadata = configuration(tensors, metadata)
    model = Student(**options)
    try:
        model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in tensors.items()}, strict=True)
    except RuntimeError as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 1
    print(f"{path}: {len(tensors)} tensors, {sum(v.size for v in tensors.values())} values, loaded strictly into {options}")
    print(f"from __metadata__: {', '.join(from_metadata) or 'nothing'}; the rest from the tensors")
    if any(not np.isfinite(value).all() for value in tensors.values()):
        print("some weights are not finite", file=sys.stderr)
        return 1
    if arguments.embeddings is None:
        return 0
    ok = compare(model, options["image_size"], arguments.embeddings, arguments.images, arguments.tolerance)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
