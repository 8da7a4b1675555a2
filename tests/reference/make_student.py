"""Writes small golden files of the student: student_masked.h5 and student_unmasked.h5.

Usage: make_student.py OUTPUT_FOLDER        (tests/golden for the files of this repository)

Groups and names: state/ weights; input, target; forward/VARIANT/{embedding, probs}; forward/scale_12 (over the clamp at
10); loss/norm_1, norm_20; grad/ of the loss with norm 20; grad_scale_12/scale; train/: 20 AdamW steps (lr 1e-3, decay
0.01) on inputs [20,B,3,S,S] (float16) with targets, the loss of each step and the weights after. The weights are random
and far from a fresh model's, so that every bias and gain matters. Everything is computed in float64 and stored as float32,
so a float32 implementation is measured against the exact value. The gradient of `scale` is rounding only: not comparable.
"""
import argparse
import pathlib

import h5py
import numpy as np
import torch

from check_student import VARIANTS
from student import Student, distillation_loss

STEPS = 20
# The odd sizes reach the tails of vectorised loops: head sizes 5 and 7, 36 and 25 tokens.
FILES = {
    "student_masked.h5": dict(seed=101, attention="neighbourhood", image_size=18, patch_size=3, width=16, heads=4,
                              layers=2, batch=3, scale=1.75),
    "student_unmasked.h5": dict(seed=202, attention="full", image_size=20, patch_size=4, width=12, heads=2,
                                layers=3, batch=3, scale=3.25),
}


def random_state(model, rng, scale):
    state = {}
    for name, value in model.state_dict().items():
        shape = tuple(value.shape)
        noise = rng.standard_normal(shape)
        if name == "scale":
            drawn = np.full(shape, scale)
        elif name.endswith("bias"):
            drawn = 0.1 * noise
        elif ".ln_" in "." + name:
            drawn = 1 + 0.15 * noise
        elif name == "positional_embedding":
            drawn = 0.2 * noise
        else:
            drawn = noise / np.sqrt(np.prod(shape[1:]))
        state[name] = torch.from_numpy(drawn.astype(np.float32))  # exact in the file, then widened
    return state


def loss_and_gradients(model, x, t, norm=20.0):
    model.zero_grad(set_to_none=True)
    loss = distillation_loss(model(x)[0], t, norm)
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def write(path, seed, attention, image_size, patch_size, width, heads, layers, batch, scale):
    rng = np.random.default_rng(seed)
    model = Student(image_size, patch_size, width, layers, heads, attention).double()
    state = random_state(model, rng, scale)
    model.load_state_dict(state, strict=True)

    def normal(*shape, dtype=np.float32):
        return rng.standard_normal(shape).astype(dtype)

    def exact(array):
        return torch.from_numpy(array).double()

    with h5py.File(path, "w") as file:
        file.attrs.update(heads=heads, input_resolution=image_size, layers=layers, masked=attention != "full",
                          output_dim=width, patch_size=patch_size, width=width, generator="tests/reference/make_student.py",
                          torch=str(torch.__version__), computed_in="float64", seed=seed)

        def put(name, value):
            file[name] = value.detach().numpy().astype(np.float32)

        for name, value in state.items():
            put(f"state/{name}", value)
        x, t = normal(batch, 3, image_size, image_size), normal(batch, width)
        file["input"], file["target"] = x, t
        x, t = exact(x), exact(t)
        for variant, options in VARIANTS.items():
            embedding, probs = model(x, **options)
            put(f"forward/{variant}/embedding", embedding)
            put(f"forward/{variant}/probs", probs)
        for norm in (1, 20):
            loss, grads = loss_and_gradients(model, x, t, norm)
            file[f"loss/norm_{norm}"] = loss
        for name, value in grads.items():
            put(f"grad/{name}", value)

        with torch.no_grad():
            model.scale.fill_(12)
        put("forward/scale_12/embedding", model(x)[0])
        put("grad_scale_12/scale", loss_and_gradients(model, x, t)[1]["scale"])

        model.load_state_dict(state, strict=True)
        inputs = normal(STEPS, batch, 3, image_size, image_size, dtype=np.float16)
        targets = normal(STEPS, batch, width)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
        losses = []
        for step_input, step_target in zip(inputs, targets):
            optimizer.zero_grad(set_to_none=True)
            loss = distillation_loss(model(exact(step_input))[0], exact(step_target))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        file["train/inputs"], file["train/targets"], file["train/losses"] = inputs, targets, losses
        for name, value in model.state_dict().items():
            put(f"train/state_after/{name}", value)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB, losses {losses[0]:.4f} .. {losses[-1]:.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="where to write")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, options in FILES.items():
        write(folder / name, **options)


if __name__ == "__main__":
    main()
