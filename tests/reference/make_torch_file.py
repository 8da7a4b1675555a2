"""Writes tests/golden/tiny.pt with the structure of the original's checkpoints: model, optimiser and scheduler state
and an enum of a class that vitral does not know. Values are formulas, so the test needs no second file.

    python tests/reference/make_torch_file.py      (written with PyTorch 2.x; any version since 1.6 does)
"""
import collections
import enum
import pathlib
import sys
import types

import torch

module = types.ModuleType("_types")
sys.modules["_types"] = module
Names = enum.Enum("PretrainedViTNames", {"vit_b_32": "ViT-B/32"}, module="_types", qualname="PretrainedViTNames")
module.PretrainedViTNames = Names


def ramp(*shape, start=0, dtype=torch.float32):
    count = torch.Size(shape).numel()
    return ((torch.arange(count) + start) / 8).to(dtype).reshape(shape)


state = collections.OrderedDict()
state["conv1.weight"] = ramp(6, 3, 2, 2)
state["positional_embedding"] = torch.nn.Parameter(ramp(4, 6, start=100))
state["scale"] = ramp(1, start=8)
state["transposed"] = ramp(3, 4).t()
state["every_second"] = ramp(10)[1::2]
state["expanded"] = ramp(1, 3, start=5).expand(2, 3)
state["shares_conv1"] = state["conv1.weight"].reshape(-1)[6:18]
state["half"] = ramp(5, dtype=torch.float16)
state["bfloat"] = ramp(5, dtype=torch.bfloat16)
state["double"] = ramp(5, dtype=torch.float64)
state["steps"] = torch.tensor([1, -2, 1 << 40])
state["bytes"] = torch.tensor([0, 255], dtype=torch.uint8)
state["empty"] = torch.zeros(0, 4)
state._metadata = collections.OrderedDict([("", {"version": 1})])

parameter = torch.nn.Parameter(ramp(4, 6))
optimizer = torch.optim.AdamW([parameter], lr=1e-3)
parameter.grad = ramp(4, 6)
optimizer.step()
scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)
scheduler.step(1.5)
checkpoint = {
    "epoch": 12,
    "model_state_dict": state,
    "optimizer_state_dict": optimizer.state_dict(),
    "scheduler_state_dict": scheduler.state_dict(),
    "loss": 0.375,
    "huge": 1 << 100,
    "teacher": Names.vit_b_32,
}
target = pathlib.Path(__file__).parent.parent / "golden" / "tiny.pt"
target.parent.mkdir(exist_ok=True)
torch.save(checkpoint, target)
print(target, target.stat().st_size, "bytes")
