"""Trains a tiny student in PyTorch and writes what came out, for the tests of the trainer.

Usage: make_run.py OUTPUT_FOLDER            (tests/golden for the files of this repository)
       make_run.py --check FOLDER           repeats a run in FOLDER (its three files) and prints how far apart they are

run_dataset.h5            12 synthetic smooth images 16x16 and embeddings [12,16] (not of unit length)
run_init.safetensors      fresh weights
run_expected.json         plain run, ReduceLROnPlateau with patience 0 and a coarse threshold, so that the rate changes:
                          loss of each step, validation loss and learning rate after each epoch
run_clip_expected.json    the same data and weights with torch's clip_grad_norm_, OneCycleLR (momentum left alone) and an
                          average of the weights, ema = decay * ema + (1 - decay) * weights after each step, from the
                          initial weights on: also the gradient norms before clipping, the rate of each step and the
                          final average of two tensors. The same numbers hold with micro-batches (train.accumulate 2).
Keys are those of the configuration. Computed in float64, so that float32 is measured against the exact value.
"""
import argparse
import json
import pathlib

import h5py
import numpy as np
import torch

from student import Student, distillation_loss, normalise_images
from tensor_files import read_safetensors, write_safetensors

IMAGES, SEED = 12, 303
MODEL = dict(image_size=16, patch_size=4, width=16, layers=2, heads=4, attention="neighbourhood", same_norm=True)
TRAIN = dict(batch_size=4, epochs=3, shuffle=False, augment="none", loss_norm=20, lr=1e-3, weight_decay=0.01)
PLATEAU = dict(name="reduce_on_plateau", patience=0, factor=0.5, threshold=0.5, min_lr=1e-6)
ONE_CYCLE = dict(name="one_cycle", warmup_fraction=0.3, start_factor=25, end_factor=1e4)
# Between the gradient norms (6 to 10): AdamW forgets a factor common to all steps, so clipping every step would hide it.
CLIP_NORM = 8.5
AVERAGED = ("ln_pre.weight", "transformer.resblocks.1.attn.out_proj.weight")


def smooth_images(rng, count, size):
    """uint8 [count,size,size,3]: a few low frequencies in each channel."""
    y, x = np.mgrid[0:size, 0:size] / size
    images = np.zeros((count, size, size, 3))
    for image in images:
        for channel in range(3):
            for _ in range(3):
                fy, fx, phase = rng.uniform(0, 1.5), rng.uniform(0, 1.5), rng.uniform(0, 2 * np.pi)
                image[..., channel] += rng.uniform(0.3, 1) * np.sin(2 * np.pi * (fy * y + fx * x) + phase)
    low, high = images.min(axis=(1, 2, 3), keepdims=True), images.max(axis=(1, 2, 3), keepdims=True)
    return np.round(255 * (images - low) / (high - low)).astype(np.uint8)


def teacher_embeddings(rng, images, width):
    """float32 [count,width]: a random projection of the image, so that there is something to learn."""
    pixels = images.reshape(len(images), -1) / 255 - 0.5
    embeddings = pixels @ rng.standard_normal((pixels.shape[1], width)) / np.sqrt(pixels.shape[1])
    return (8 * embeddings + rng.standard_normal(width)).astype(np.float32)


class Run:
    """A training run over batches in the order of the file; the last batch may be smaller."""

    def __init__(self, model_options, train, state, images, embeddings, dtype=torch.float64):
        self.model = Student(**model_options).to(dtype)
        self.model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in state.items()}, strict=True)
        self.x, self.t = normalise_images(images, dtype), torch.from_numpy(embeddings).to(dtype)
        self.train = train
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=train["lr"], weight_decay=train["weight_decay"])
        self.batches = torch.arange(len(images)).split(train["batch_size"])

    def loss(self, index):
        return distillation_loss(self.model(self.x[index])[0], self.t[index], self.train["loss_norm"])

    def validation_loss(self):
        """Mean over the images."""
        with torch.no_grad():
            return sum(self.loss(index).item() * len(index) for index in self.batches) / len(self.x)

    def step(self, index, accumulate=1, clip_norm=None):
        """-> loss of the step, norm of the gradients before clipping."""
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for part in index.chunk(accumulate):
            loss = self.loss(part) * (len(part) / len(index))
            loss.backward()
            total += loss.item()
        limit = float("inf") if clip_norm is None else clip_norm
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        self.optimizer.step()
        return total, norm.item()

    @property
    def lr(self):
        return self.optimizer.param_groups[0]["lr"]


def plain_run(model, train, *data, dtype=torch.float64):
    run, out = Run(model, train, *data, dtype=dtype), dict(step_losses=[], val_losses=[], lr_after_epoch=[])
    schedule = {key: value for key, value in train["scheduler"].items() if key != "name"}
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(run.optimizer, mode="min", threshold_mode="rel", **schedule)
    for _ in range(train["epochs"]):
        out["step_losses"] += [run.step(index)[0] for index in run.batches]
        out["val_losses"].append(run.validation_loss())
        scheduler.step(out["val_losses"][-1])
        out["lr_after_epoch"].append(run.lr)
    return out


def clipped_run(model, train, *data, accumulate=1, dtype=torch.float64):
    run, out = Run(model, train, *data, dtype=dtype), dict(step_losses=[], lr_of_step=[], grad_norms=[], val_losses=[])
    schedule = train["scheduler"]
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        run.optimizer, max_lr=train["lr"], total_steps=train["epochs"] * len(run.batches),
        pct_start=schedule["warmup_fraction"], div_factor=schedule["start_factor"],
        final_div_factor=schedule["end_factor"], anneal_strategy="cos", cycle_momentum=False)
    average = {name: value.clone() for name, value in run.model.state_dict().items()}
    for _ in range(train["epochs"]):
        for index in run.batches:
            out["lr_of_step"].append(run.lr)
            loss, norm = run.step(index, accumulate, train["clip_norm"])
            scheduler.step()
            for name, value in run.model.state_dict().items():
                average[name] = train["ema"] * average[name] + (1 - train["ema"]) * value
            out["step_losses"].append(loss)
            out["grad_norms"].append(norm)
        out["val_losses"].append(run.validation_loss())  # of the weights, not of their average
    out["ema"] = {name: dict(shape=list(average[name].shape), values=average[name].flatten().tolist()) for name in AVERAGED}
    return out


def worst(a, b):
    a, b = np.array(a), np.array(b)
    return float(np.max(np.abs(a - b) / np.abs(b)))


def load(folder):
    state, _ = read_safetensors(folder / "run_init.safetensors")
    with h5py.File(folder / "run_dataset.h5") as file:
        return state, file["images"][()], file["embeddings"][()]


def check(folder):
    data = load(folder)
    expected = json.loads((folder / "run_expected.json").read_text())
    for dtype in (torch.float64, torch.float32):
        got = plain_run(expected["model"], expected["train"], *data, dtype=dtype)
        first = slice(0, 8)
        print(f"{dtype}: first 8 steps {worst(got['step_losses'][first], expected['step_losses'][first]):.1e}, all steps "
              f"{worst(got['step_losses'], expected['step_losses']):.1e}, validation "
              f"{worst(got['val_losses'], expected['val_losses']):.1e}, learning rates "
              f"{'equal' if got['lr_after_epoch'] == expected['lr_after_epoch'] else 'DIFFER'}")
    if not (folder / "run_clip_expected.json").exists():
        return
    expected = json.loads((folder / "run_clip_expected.json").read_text())
    for dtype, accumulate in ((torch.float64, 2), (torch.float32, 1)):
        got = clipped_run(expected["model"], expected["train"], *data, dtype=dtype, accumulate=accumulate)
        errors = {key: worst(got[key], expected[key]) for key in ("step_losses", "grad_norms", "lr_of_step", "val_losses")}
        errors["ema"] = max(worst(got["ema"][name]["values"], expected["ema"][name]["values"]) for name in AVERAGED)
        print(f"{dtype}, clipped, accumulate {accumulate}: " + ", ".join(f"{key} {e:.1e}" for key, e in errors.items()))


def write(folder):
    rng = np.random.default_rng(SEED)
    torch.manual_seed(SEED)
    folder.mkdir(parents=True, exist_ok=True)
    made_by = dict(generator="tests/reference/make_run.py", torch=str(torch.__version__), seed=SEED)
    images = smooth_images(rng, IMAGES, MODEL["image_size"])
    embeddings = teacher_embeddings(rng, images, MODEL["width"])
    with h5py.File(folder / "run_dataset.h5", "w") as file:
        file.attrs.update(made_by)
        file.create_dataset("images", data=images, chunks=(1, *images.shape[1:]))
        file["embeddings"] = embeddings
    state = {name: value.numpy() for name, value in Student(**MODEL).state_dict().items()}
    write_safetensors(folder / "run_init.safetensors", state, {"format": "pt"})

    data = load(folder)
    made_by = dict(made_by, computed_in="float64")
    for name, run, train in (
            ("run_expected.json", plain_run, dict(TRAIN, scheduler=PLATEAU)),
            ("run_clip_expected.json", clipped_run, dict(TRAIN, lr=2e-3, scheduler=ONE_CYCLE, clip_norm=CLIP_NORM, ema=0.9))):
        train["val"] = "the training file"
        result = run(MODEL, train, *data)
        text = json.dumps(dict(made_by=made_by, model=MODEL, train=train, **result), indent=1)
        (folder / name).write_text(text + "\n")
    for path in sorted(folder.glob("run_*")):
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")
    check(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="where to write, or what to check")
    parser.add_argument("--check", action="store_true", help="repeat the run in the folder, write nothing")
    arguments = parser.parse_args()
    (check if arguments.check else write)(arguments.folder)


if __name__ == "__main__":
    main()
