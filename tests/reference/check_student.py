"""Checks the PyTorch reference (student.py) against golden files, every array of them.

Usage: check_student.py FOLDER        the folder holds student_masked.h5, student_unmasked.h5 or student_21m.h5

Prints the worst relative error |a - b| / |b| of each group and ends with status 1 if one is over its tolerance: forward
1e-5, gradients 1e-4, losses of 20 AdamW steps 1e-3, weights after them 1e-3. The loss does not depend on three parts of
the weights; their gradient is rounding, which AdamW blows up to the learning rate in any implementation, so they are left
out: `scale` (the loss normalises), the keys' third of each in_proj_bias (softmax ignores what is the same for all keys),
and in the last block the elements of mlp.c_proj.bias that become logits (softmax ignores what is the same for all tokens).
"""
import argparse
import pathlib
import sys

import h5py
import numpy as np
import torch

from student import Student, distillation_loss

FORWARD, GRADIENT, LOSSES, STATE = 1e-5, 1e-4, 1e-3, 1e-3
VARIANTS = {
    "default": {}, "temp_0.5": {"temperature": 0.5}, "no_same_norm": {"same_norm": False},
    "all": {"return_all_embeds": True}, "all_no_same_norm": {"return_all_embeds": True, "same_norm": False},
}
NOISE = 1e-6  # the largest gradient of `scale` that counts as rounding


def relative(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        raise SystemExit(f"shapes differ: {a.shape} and {b.shape}")
    return np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-300)


def tensors_of(group):
    """All arrays below an HDF5 group by name."""
    found = {}
    group.visititems(lambda name, item: found.__setitem__(name, item[()]) if isinstance(item, h5py.Dataset) else None)
    return found


class Report:
    """The worst error of each group, with the name where it is."""

    def __init__(self, title):
        self.rows, self.failed = {}, False
        print(title)

    def add(self, group, name, error, tolerance):
        worst = self.rows.get(group, (-1.0, "", tolerance, 0))
        count = worst[3] + 1
        self.rows[group] = (error, name, tolerance, count) if error > worst[0] else (*worst[:3], count)

    def compare(self, group, name, a, b, tolerance):
        self.add(group, name, relative(a, b), tolerance)

    def finish(self):
        for group, (error, name, tolerance, count) in self.rows.items():
            ok = error <= tolerance
            self.failed |= not ok
            print(f"  {group:14} {count:3} arrays  worst {error:.2e} at {name}{'' if ok else f'  OVER {tolerance:.0e}'}")
        return not self.failed


def gradients(model, x, t, norm=20.0):
    model.zero_grad(set_to_none=True)
    loss = distillation_loss(model(x)[0], t, norm)
    loss.backward()
    grads = {name: p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None}
    return loss.item(), grads


def without_noise(name, value, layers, heads):
    """The part of a trained parameter on which the loss depends."""
    if name == f"transformer.resblocks.{layers - 1}.mlp.c_proj.bias":
        return value.reshape(heads, -1)[:, :-1]
    if name.endswith("attn.in_proj_bias"):
        third = len(value) // 3
        return np.concatenate([value[:third], value[2 * third:]])
    return value


def check_small(path):
    report = Report(path.name)
    with h5py.File(path) as file:
        a = dict(file.attrs)
        state = {name: torch.from_numpy(value) for name, value in tensors_of(file["state"]).items()}
        model = Student(int(a["input_resolution"]), int(a["patch_size"]), int(a["output_dim"]), int(a["layers"]),
                        int(a["heads"]), "neighbourhood" if a["masked"] else "full", with_scale="scale" in state)
        model.load_state_dict(state, strict=True)
        x, t = torch.from_numpy(file["input"][()]), torch.from_numpy(file["target"][()])
        with torch.no_grad():
            for variant, options in VARIANTS.items():
                embedding, probs = model(x, **options)
                report.compare("forward", f"{variant}/embedding", embedding, file[f"forward/{variant}/embedding"], FORWARD)
                report.compare("forward", f"{variant}/probs", probs, file[f"forward/{variant}/probs"], FORWARD)
        for norm in (1, 20):
            report.compare("loss", f"norm_{norm}", gradients(model, x, t, norm)[0], file[f"loss/norm_{norm}"], FORWARD)

        _, grads = gradients(model, x, t)
        golden = tensors_of(file["grad"])
        if set(grads) != set(golden):
            raise SystemExit(f"{path}: gradients exist for other parameters: {sorted(set(grads) ^ set(golden))}")
        for name, value in golden.items():
            if name == "scale":
                report.add("grad scale", "both are rounding", max(abs(value.item()), abs(grads[name].item())), NOISE)
            else:
                report.compare("grad", name, grads[name], value, GRADIENT)

        with torch.no_grad():
            model.scale.fill_(12)
        report.compare("forward", "scale_12", model(x)[0].detach(), file["forward/scale_12/embedding"], FORWARD)
        report.compare("grad", "scale_12", gradients(model, x, t)[1]["scale"], file["grad_scale_12/scale"], GRADIENT)

        model.load_state_dict(state, strict=True)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
        losses = []
        for inputs, targets in zip(file["train/inputs"][()], file["train/targets"][()]):
            optimizer.zero_grad(set_to_none=True)
            loss = distillation_loss(model(torch.from_numpy(inputs).float())[0], torch.from_numpy(targets))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        golden = file["train/losses"][()]
        report.add("train losses", "each step", max(abs(np.array(losses) - golden) / golden), LOSSES)
        after = {name: value.numpy() for name, value in model.state_dict().items()}
        for name, value in tensors_of(file["train/state_after"]).items():
            if name != "scale":
                kept = [without_noise(name, v, int(a["layers"]), int(a["heads"])) for v in (after[name], value)]
                report.compare("train weights", name, *kept, STATE)
    return report.finish()


def stream(k, n):
    """n doubles in -1..1: splitmix64 of the index, in stream k."""
    u64 = np.uint64
    with np.errstate(over="ignore"):
        z = (np.arange(n, dtype=u64) + u64((k << 40) % 2**64)) * u64(0x9E3779B97F4A7C15)
        z += u64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> u64(30))) * u64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> u64(27))) * u64(0x94D049BB133111EB)
        z ^= z >> u64(31)
    return 2.0 * ((z >> u64(11)).astype(np.float64) * 2.0**-53) - 1.0


def formula_state(model, base):
    """Weights by formula: parameter number k in sorted name order uses stream(base + k)."""
    state = {}
    for k, (name, value) in enumerate(sorted(model.state_dict().items())):
        shape = tuple(value.shape)
        u = stream(base + k, value.numel()).reshape(shape)
        if name == "scale":
            u = np.full(shape, 2.0)
        elif name.endswith("bias"):  # in_proj_bias, too
            u = 0.02 * u
        elif ".ln_" in "." + name:
            u = 1 + 0.1 * u
        elif name == "positional_embedding":
            u = 0.04 * u
        else:
            u = u * np.sqrt(3 / np.prod(shape[1:]))
        state[name] = torch.from_numpy(u.astype(np.float32))
    return state


def check_full(path):
    ok = True
    with h5py.File(path) as file:
        base = int(file.attrs["stream_base"])
        x = torch.from_numpy((2 * stream(base + 900, 2 * 3 * 224 * 224)).astype(np.float32)).view(2, 3, 224, 224)
        t = torch.from_numpy(stream(base + 901, 2 * 512).astype(np.float32)).view(2, 512)
        for variant, attention in (("masked", "neighbourhood"), ("unmasked", "full")):
            report = Report(f"{path.name}: {variant}")
            golden = file[variant]
            model = Student(attention=attention)
            model.load_state_dict(formula_state(model, base), strict=True)
            with torch.no_grad():
                embedding, probs = model(x)
                patches, _ = model(x, return_all_embeds=True)
            for name, value in (("embedding", embedding), ("probs", probs), ("patch_embeddings", patches)):
                report.compare("forward", name, value, golden[name], FORWARD)
            loss, grads = gradients(model, x, t)
            report.compare("loss", "norm 20", loss, golden["loss"], FORWARD)
            heads, norms = tensors_of(golden["grad_head"]), tensors_of(golden["grad_norm"])
            if set(grads) != set(heads) or set(grads) != set(norms):
                raise SystemExit(f"{path}: gradients exist for other parameters than in {variant}")
            for name in heads:
                if name == "scale":
                    report.add("grad scale", "both are rounding", max(abs(norms[name]), abs(grads[name].item())), NOISE)
                    continue
                report.compare("grad norm", name, np.linalg.norm(grads[name].astype(np.float64)), norms[name], GRADIENT)
                report.compare("grad head", name, grads[name].ravel()[:8], heads[name], GRADIENT)
            ok &= report.finish()
    return ok


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="folder with golden files")
    folder = parser.parse_args().folder
    print(f"torch {torch.__version__}")
    checks = {"student_masked.h5": check_small, "student_unmasked.h5": check_small, "student_21m.h5": check_full}
    present = [name for name in checks if (folder / name).exists()]
    if not present:
        parser.error(f"{folder}: none of {', '.join(checks)} is there")
    results = [checks[name](folder / name) for name in present]
    print("all within tolerance" if all(results) else "FAILED")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
