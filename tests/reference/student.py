"""The student in plain PyTorch, as the original project writes it: the oracle of the tests and benchmarks.

Usage: from student import Student, distillation_loss, normalise_images     (a module, nothing to run)

Dimensions: B batch, N tokens, W width, H heads, W' = W + H internal width, D = W' / H head size, P patch size.
Names in the state dict are those of the original, so `load_state_dict(strict=True)` takes its checkpoints and vitral's.
"""
from collections import OrderedDict

import torch
from torch import nn

PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's, for RGB in 0..1
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)
LARGEST_SCALE = 10.0


class QuickGELU(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class ResidualAttentionBlock(nn.Module):
    """x += attn(ln_1(x)); x += mlp(ln_2(x)), tokens first: x [N,B,W']."""

    def __init__(self, width, heads, mask):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(OrderedDict([
            ("c_fc", nn.Linear(width, 4 * width)),
            ("gelu", QuickGELU()),
            ("c_proj", nn.Linear(4 * width, width)),
        ]))
        self.ln_2 = nn.LayerNorm(width)
        self.register_buffer("mask", mask, persistent=False)  # [N,N] added to the logits, or None

    def forward(self, x):
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=self.mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width, layers, heads, mask):
        super().__init__()
        self.resblocks = nn.Sequential(*[ResidualAttentionBlock(width, heads, mask) for _ in range(layers)])

    def forward(self, x):
        return self.resblocks(x)


def neighbourhood_mask(grid, window=3):
    """[N,N] float: 0 where token j lies in the window around token i (rows and columns of the grid), else -inf."""
    rows, columns = torch.arange(grid * grid) // grid, torch.arange(grid * grid) % grid
    apart = torch.maximum((rows[:, None] - rows).abs(), (columns[:, None] - columns).abs())
    return torch.zeros(grid * grid, grid * grid).masked_fill(apart > window // 2, float("-inf"))


class Student(nn.Module):
    """x [B,3,S,S] -> embedding [B,W] (or all patch embeddings [B,N,W]) and p [B,1,N].

    with_scale: whether the parameter `scale` exists; by default it does where same_norm is on.
    """

    def __init__(self, image_size=224, patch_size=28, width=512, layers=6, heads=16, attention="neighbourhood",
                 window=3, same_norm=True, with_scale=None):
        super().__init__()
        if attention not in ("neighbourhood", "full"):
            raise ValueError(f"attention: {attention!r} is neither neighbourhood nor full")
        if image_size % patch_size:
            raise ValueError(f"patch_size {patch_size} must divide image_size {image_size}")
        self.heads, self.same_norm = heads, same_norm
        internal = width + heads
        grid = image_size // patch_size
        self.conv1 = nn.Conv2d(3, internal, kernel_size=patch_size, stride=patch_size, bias=False)
        self.positional_embedding = nn.Parameter(internal**-0.5 * torch.randn(grid * grid, internal))
        self.ln_pre = nn.LayerNorm(internal)
        mask = neighbourhood_mask(grid, window) if attention == "neighbourhood" else None
        self.transformer = Transformer(internal, layers, heads, mask)
        self.ln_post = nn.LayerNorm(width)  # in the files, never used
        if same_norm if with_scale is None else with_scale:
            self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x, temperature=1.0, same_norm=None, return_all_embeds=False):
        same_norm = self.same_norm if same_norm is None else same_norm
        x = self.conv1(x).flatten(2).permute(0, 2, 1)  # [B,N,W']
        x = self.ln_pre(x + self.positional_embedding)
        x = self.transformer(x.permute(1, 0, 2)).permute(1, 0, 2)
        x = x.unflatten(2, (self.heads, -1))  # [B,N,H,D]
        p = (x[..., -1].mean(dim=2, keepdim=True).permute(0, 2, 1) / temperature).softmax(dim=-1)  # [B,1,N]
        e = x[..., :-1].flatten(2)  # [B,N,W]
        if same_norm:
            e = e / e.norm(dim=-1, keepdim=True) * self.scale.clamp(max=LARGEST_SCALE)
        return (e if return_all_embeds else (p @ e).squeeze(1)), p


def distillation_loss(y, t, norm=20.0):
    """norm * mean |y/|y| - t/|t||; y, t [B,W]."""
    return norm * (y / y.norm(dim=-1, keepdim=True) - t / t.norm(dim=-1, keepdim=True)).abs().mean()


def normalise_images(images, dtype=torch.float32):
    """uint8 [B,H,W,3] (an array) -> [B,3,H,W], CLIP's mean and std taken off."""
    x = torch.from_numpy(images).to(dtype).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(v, dtype=dtype).view(3, 1, 1) for v in (PIXEL_MEAN, PIXEL_STD))
    return (x - mean) / std
