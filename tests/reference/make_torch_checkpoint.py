"""Writes a checkpoint as the original's training loop saves it, and what that loop goes on with, for the tests of
`vitral train --resume FILE.pt`.

Usage: make_torch_checkpoint.py OUTPUT_FOLDER        (tests/golden for the files of this repository; reads run_dataset.h5 there)

run_torch.pt               torch.save of epoch, model_state_dict, optimizer_state_dict (AdamW), scheduler_state_dict
                           (ReduceLROnPlateau in the middle of its patience) and losses, after two epochs in float32
run_torch_expected.json    the configuration, and of the three epochs after them the loss of each step, the validation loss
                           and the learning rate after it
"""
import json
import pathlib
import sys

import torch

from make_run import Run, TRAIN, load
from student import Student

MODEL = dict(image_size=16, patch_size=4, width=16, layers=1, heads=2, attention="neighbourhood", same_norm=True)
PLATEAU = dict(patience=1, factor=0.5, threshold=0.5, min_lr=1e-6)
EPOCHS, SAVED_EPOCH, SEED = 5, 1, 404


def main(folder):
    torch.manual_seed(SEED)
    state = {name: value.numpy() for name, value in Student(**MODEL).state_dict().items()}
    run = Run(MODEL, TRAIN, state, *load(folder)[1:], dtype=torch.float32)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(run.optimizer, "min", **PLATEAU)
    out = dict(step_losses=[], val_losses=[], lr_after_epoch=[])
    for epoch in range(EPOCHS):
        losses, val_loss = [run.step(index)[0] for index in run.batches], run.validation_loss()
        scheduler.step(val_loss)
        if epoch > SAVED_EPOCH:
            out["step_losses"] += losses
            out["val_losses"].append(val_loss)
            out["lr_after_epoch"].append(run.lr)
        if epoch == SAVED_EPOCH:
            torch.save({"epoch": epoch, "model_state_dict": run.model.state_dict(),
                        "optimizer_state_dict": run.optimizer.state_dict(),
                        "scheduler_state_dict": scheduler.state_dict(),
                        "loss_y_train": sum(losses) / len(losses), "loss_y_val": val_loss}, folder / "run_torch.pt")
    train = dict(TRAIN, epochs=EPOCHS, scheduler=dict(name="reduce_on_plateau", **PLATEAU))
    made_by = dict(generator="tests/reference/make_torch_checkpoint.py", torch=str(torch.__version__), seed=SEED)
    text = json.dumps(dict(made_by=made_by, model=MODEL, train=train, **out), indent=1)
    (folder / "run_torch_expected.json").write_text(text + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
