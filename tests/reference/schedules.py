"""Writes tests/golden/schedules.json: learning rates as PyTorch computes them.

    python3 tests/reference/schedules.py > tests/golden/schedules.json
"""
import json
import random
import sys

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau


def optimizer(lr):
    return torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def rates(make, lr, steps):
    opt = optimizer(lr)
    scheduler = make(opt)
    out = []
    for step in range(steps):
        out.append(opt.param_groups[0]["lr"])
        opt.step()
        if step + 1 < steps:
            scheduler.step()
    return out


def plateau(losses, lr, **settings):
    opt = optimizer(lr)
    scheduler = ReduceLROnPlateau(opt, mode="min", threshold_mode="rel", **settings)
    out = []
    for loss in losses:
        scheduler.step(loss)
        out.append(opt.param_groups[0]["lr"])
    return out


random.seed(1)
losses = [round(1 / (1 + 0.1 * i) + random.uniform(-0.02, 0.02), 6) for i in range(60)]
flat = [0.5] * 40
cases = []
for name, series, lr, settings in [
    ("falling", losses, 1e-3, dict(patience=1, factor=0.5, threshold=1e-3, min_lr=1e-6)),
    ("patience 0", losses, 3e-3, dict(patience=0, factor=0.3, threshold=1e-2, min_lr=1e-4)),
    # So far down that the last reductions are within eps of the rate before.
    ("flat", flat, 1e-6, dict(patience=1, factor=0.5, threshold=1e-3, min_lr=0.0)),
]:
    cases.append(dict(name=name, losses=series, lr=lr, **settings, after=plateau(series, lr, **settings)))

cycles = []
for total, fraction, start, end in [(1, 0.3, 25.0, 1e4), (20, 0.3, 25.0, 1e4), (37, 0.45, 10.0, 100.0),
                                    (12, 0.0, 25.0, 1e4), (12, 1.0, 25.0, 1e4)]:
    make = lambda opt: OneCycleLR(opt, max_lr=2e-3, total_steps=total, pct_start=fraction, anneal_strategy="cos",
                                  cycle_momentum=False, div_factor=start, final_div_factor=end)
    cycles.append(dict(total_steps=total, warmup_fraction=fraction, start_factor=start, end_factor=end, lr=2e-3,
                       rates=rates(make, 2e-3, total)))

cosine = dict(lr=1e-3, min_lr=1e-5, total_steps=25,
              rates=rates(lambda opt: CosineAnnealingLR(opt, T_max=25, eta_min=1e-5), 1e-3, 25))
json.dump(dict(generator="tests/reference/schedules.py", torch=torch.__version__, plateau=cases, one_cycle=cycles,
               cosine=cosine), sys.stdout, separators=(",", ":"))
print()
