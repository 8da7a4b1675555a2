"""Writes tests/golden/tiny_torchscript.pt: an archive of torch.jit.save with the layout of OpenAI's CLIP files, that is float16
parameters in nested modules, code, constants, and the three numbers that their state dict holds as tensors.

    python tests/reference/make_torchscript.py      (values are formulas, so the test needs no second file)
"""
import pathlib

import torch
from torch import nn

WIDTH, LAYERS, PATCH, GRID, EMBED, VOCABULARY, CONTEXT = 8, 1, 4, 2, 6, 10, 5


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1 = nn.LayerNorm(WIDTH)
        self.c_fc = nn.Linear(WIDTH, 4 * WIDTH)

    def forward(self, x):
        return self.c_fc(self.ln_1(x))[..., : x.shape[-1]] * 1.702


class Visual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, PATCH, PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(WIDTH))
        self.positional_embedding = nn.Parameter(torch.zeros(GRID * GRID + 1, WIDTH))
        self.resblocks = nn.Sequential(*[Block() for _ in range(LAYERS)])
        self.proj = nn.Parameter(torch.zeros(WIDTH, EMBED))

    def forward(self, x):
        x = self.conv1(x).flatten(2).permute(0, 2, 1)
        x = torch.cat([self.class_embedding.expand(x.shape[0], 1, -1), x], dim=1) + self.positional_embedding
        return self.resblocks(x)[:, 0] @ self.proj


class Clip(nn.Module):
    def __init__(self):
        super().__init__()
        self.visual = Visual()
        self.token_embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.logit_scale = nn.Parameter(torch.zeros([]))
        for name, value in (("input_resolution", PATCH * GRID), ("context_length", CONTEXT), ("vocab_size", VOCABULARY)):
            self.register_buffer(name, torch.tensor(value))

    def forward(self, image):
        return self.visual(image) * self.logit_scale


model = Clip()
with torch.no_grad():
    for k, (name, parameter) in enumerate(sorted(model.named_parameters())):
        count = parameter.numel()
        parameter.copy_(((torch.arange(count) + k) % 64 / 8).reshape(parameter.shape))
model.half()
target = pathlib.Path(__file__).parent.parent / "golden" / "tiny_torchscript.pt"
torch.jit.script(model).save(str(target))
print(target, target.stat().st_size, "bytes")
for name, value in sorted(model.named_parameters()):
    print(name, tuple(value.shape))
