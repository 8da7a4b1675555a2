"""Writes clip.h5: both towers of a very small CLIP with OpenAI's names, and what they give.

Usage: make_clip.py OUTPUT_FOLDER        (tests/golden for the file of this repository)

Groups and names: state/ weights (the image tower's with "visual."); image, tokens; for each activation quick_gelu and
gelu: image_embedding, attention (the image tower's last block, averaged over heads), text_embedding, and in dense the image
tower's patches in the space of embeddings: vanilla, value (MaskCLIP), naclip, naclip_3 and naclip_6 (on grids of that many
places a side). Attributes image_heads, text_heads. Weights are random and far from a fresh model's. Computed in float64 and stored as float32.
"""
import argparse
import pathlib

import h5py
import numpy as np
import torch
from torch import nn
from torch.nn import functional

IMAGE = dict(size=20, patch=5, width=24, heads=3, layers=2)
TEXT = dict(context=9, vocabulary=50, width=16, heads=2, layers=2)
EMBEDDING = 12
ACTIVATIONS = {"quick_gelu": lambda x: x * torch.sigmoid(1.702 * x), "gelu": functional.gelu}


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.ModuleDict(dict(c_fc=nn.Linear(width, 4 * width), c_proj=nn.Linear(4 * width, width)))

    def forward(self, x, activation, mask):
        y = self.ln_1(x)
        attended, weights = self.attn(y, y, y, need_weights=True, average_attn_weights=True, attn_mask=mask)
        x = x + attended
        return x + self.mlp["c_proj"](activation(self.mlp["c_fc"](self.ln_2(x)))), weights


class Transformer(nn.Module):
    def __init__(self, width, heads, layers):
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads) for _ in range(layers))

    def forward(self, x, activation, mask=None):
        for block in self.resblocks:
            x, weights = block(x, activation, mask)
        return x, weights


class Visual(nn.Module):
    def __init__(self, size, patch, width, heads, layers):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(1 + (size // patch) ** 2, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Transformer(width, heads, layers)
        self.proj = nn.Parameter(torch.empty(width, EMBEDDING))

    def tokens(self, images):
        x = self.conv1(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1) + self.positional_embedding
        return self.ln_pre(x)

    def forward(self, images, activation):
        x, weights = self.transformer(self.tokens(images), activation)
        return self.ln_post(x[:, 0]) @ self.proj, weights

    def dense(self, images, activation):
        out = {"vanilla": self.ln_post(self.transformer(self.tokens(images), activation)[0][:, 1:]) @ self.proj}
        x, last = self.tokens(images), self.transformer.resblocks[-1]
        for block in self.transformer.resblocks[:-1]:
            x, _ = block(x, activation, None)
        _, k, v = (last.ln_1(x[:, 1:]) @ last.attn.in_proj_weight.T + last.attn.in_proj_bias).chunk(3, -1)
        out["value"] = self.ln_post(last.attn.out_proj(v)) @ self.proj
        n, (batch, _, width) = round(x.shape[1] ** 0.5), v.shape
        place = torch.stack(torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij"), -1).reshape(-1, 2)
        near = torch.exp(-((place[:, None] - place[None]).double() ** 2).sum(-1) / (2 * 5 ** 2))
        k, v = (y.reshape(batch, n * n, last.attn.num_heads, -1).transpose(1, 2) for y in (k, v))
        scores = k @ k.transpose(2, 3) / k.shape[-1] ** 0.5 + near
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, n * n, width)
        out["naclip"] = self.ln_post(last.attn.out_proj(mixed)) @ self.proj
        for side in (3, 6):
            grid = out["naclip"].transpose(1, 2).reshape(batch, -1, n, n)
            grid = functional.interpolate(grid, (side, side), mode="bilinear", align_corners=False)
            out[f"naclip_{side}"] = grid.flatten(2).transpose(1, 2)
        return out


class Clip(nn.Module):
    def __init__(self):
        super().__init__()
        self.visual = Visual(**IMAGE)
        width = TEXT["width"]
        self.token_embedding = nn.Embedding(TEXT["vocabulary"], width)
        self.positional_embedding = nn.Parameter(torch.empty(TEXT["context"], width))
        self.transformer = Transformer(width, TEXT["heads"], TEXT["layers"])
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, EMBEDDING))
        self.logit_scale = nn.Parameter(torch.empty([]))

    def encode_text(self, tokens, activation):
        n = tokens.shape[1]
        mask = torch.full((n, n), float("-inf"), dtype=torch.float64).triu(1)
        x, _ = self.transformer(self.token_embedding(tokens) + self.positional_embedding, activation, mask)
        return self.ln_final(x)[torch.arange(len(x)), tokens.argmax(-1)] @ self.text_projection


def random_state(model, rng):
    state = {}
    for name, value in model.state_dict().items():
        noise = rng.standard_normal(tuple(value.shape))
        if name.endswith("bias"):
            noise = 0.1 * noise
        elif ".ln_" in "." + name:
            noise = 1 + 0.15 * noise
        elif noise.ndim > 1 and "embedding" not in name:
            noise = noise / np.sqrt(np.prod(noise.shape[1:]))
        state[name] = torch.from_numpy(np.asarray(noise, np.float32))
    return state


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=pathlib.Path)
    rng = np.random.default_rng(303)
    model = Clip().double().eval()
    state = random_state(model, rng)
    model.load_state_dict(state)
    images = torch.from_numpy(rng.standard_normal((3, 3, IMAGE["size"], IMAGE["size"])).astype(np.float32))
    end = TEXT["vocabulary"] - 1
    tokens = torch.zeros(4, TEXT["context"], dtype=torch.int64)
    for i, length in enumerate((3, 1, 0, TEXT["context"] - 2)):
        tokens[i, 0], tokens[i, 1 + length] = end - 1, end
        tokens[i, 1:1 + length] = torch.from_numpy(rng.integers(0, end - 1, length))
    with h5py.File(parser.parse_args().output / "clip.h5", "w") as file, torch.no_grad():
        file.attrs.update(image_heads=IMAGE["heads"], text_heads=TEXT["heads"],
                          made_by=f"tests/reference/make_clip.py, seed 303, torch {torch.__version__}")
        for name, value in state.items():
            file["state/" + name] = value.numpy()
        file["image"], file["tokens"] = images.numpy(), tokens.numpy()
        for name, activation in ACTIVATIONS.items():
            embedding, attention = model.visual(images.double(), activation)
            file[f"{name}/image_embedding"] = embedding.numpy().astype(np.float32)
            file[f"{name}/attention"] = attention.numpy().astype(np.float32)
            for way, tokens_of_patches in model.visual.dense(images.double(), activation).items():
                file[f"{name}/dense/{way}"] = tokens_of_patches.numpy().astype(np.float32)
            file[f"{name}/text_embedding"] = model.encode_text(tokens, activation).numpy().astype(np.float32)


if __name__ == "__main__":
    main()
