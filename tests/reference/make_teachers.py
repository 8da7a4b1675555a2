"""Writes very small random SigLIP, SigLIP 2 (NaFlex) and DINOv2 models as transformers saves them, and what they give.

Usage: make_teachers.py OUTPUT_FOLDER        (tests/golden for the folders of this repository)

Folders siglip, siglip2, dinov2, dinov2_with_registers: config.json, model.safetensors and expected.h5: images [B,3,S,S]
(normalised), image_embedding, attention (what the embedding is made of: the mean over heads of the last attention that
the class token or SigLIP's probe takes part in); of the SigLIPs tokens and text_embedding, too. Every parameter is random, norms and biases
as well. Weights are stored as float32; the results are computed in float64.
Needs torch, transformers, h5py. Written with PyTorch 2.15, transformers 5.24.
"""
import argparse
import pathlib

import h5py
import numpy as np
import torch
import transformers

SEED = 1303
VISION = dict(hidden_size=16, intermediate_size=36, num_hidden_layers=2, num_attention_heads=2, patch_size=4)
TEXT = dict(hidden_size=16, intermediate_size=36, num_hidden_layers=2, num_attention_heads=2, vocab_size=60,
            max_position_embeddings=8, projection_size=16)
DINO = dict(hidden_size=16, mlp_ratio=3, num_hidden_layers=2, num_attention_heads=2, patch_size=4, image_size=24)


def randomise(model, rng):
    for name, p in model.named_parameters():
        noise = rng.standard_normal(tuple(p.shape))
        if p.ndim == 1 and name.endswith("weight"):
            noise = 1 + 0.2 * noise
        elif name.endswith("bias"):
            noise = 0.2 * noise
        elif p.ndim > 1 and "embed" not in name:
            noise = noise / np.sqrt(np.prod(p.shape[1:]))
        p.data = torch.from_numpy(np.asarray(noise, np.float32))


def save(model, folder, images, run):
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    with h5py.File(folder / "expected.h5", "w") as file, torch.no_grad():
        file.attrs["made_by"] = (f"tests/reference/make_teachers.py, seed {SEED}, torch {torch.__version__}, "
                                 f"transformers {transformers.__version__}")
        file["images"] = images.numpy()
        for name, value in run(model.double().eval(), images.double()).items():
            value = value.numpy()
            file[name] = value.astype(np.float32) if value.dtype == np.float64 else value


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=pathlib.Path)
    output = parser.parse_args().output
    rng = np.random.default_rng(SEED)

    def images(size):
        return torch.from_numpy(rng.standard_normal((2, 3, size, size)).astype(np.float32))

    tokens = torch.from_numpy(rng.integers(0, TEXT["vocab_size"], (3, TEXT["max_position_embeddings"])))

    def probed(model, *args):
        """What SigLIP's probe attends to."""
        head, hidden = model.vision_model.head, model.vision_model(*args).last_hidden_state
        return head.attention(head.probe.repeat(len(hidden), 1, 1), hidden, hidden)[1][:, 0]

    def siglip(model, x):
        return dict(attention=probed(model, x), tokens=tokens, image_embedding=model.vision_model(x).pooler_output,
                    text_embedding=model.text_model(tokens).pooler_output)

    def siglip2(model, x):
        b, _, s, _ = x.shape
        p = VISION["patch_size"]
        g = s // p
        patches = x.reshape(b, 3, g, p, g, p).permute(0, 2, 4, 3, 5, 1).reshape(b, g * g, -1)
        args = patches, torch.ones(b, g * g, dtype=torch.int32), torch.tensor([[g, g]] * b)
        out = model.vision_model(*args)
        return dict(attention=probed(model, *args), tokens=tokens, image_embedding=out.pooler_output,
                    text_embedding=model.text_model(tokens).pooler_output)

    def dinov2(model, x):
        out = model(x, output_attentions=True)
        attention = out.attentions[-1].mean(1)[:, 0, 1 + getattr(model.config, "num_register_tokens", 0):]
        return dict(image_embedding=out.pooler_output, attention=attention, at_16=model(x[:, :, :16, :16]).pooler_output)

    t = transformers
    for name, model, run, size in (
            ("siglip", t.SiglipModel(t.SiglipConfig(text_config=TEXT, vision_config=VISION | dict(image_size=16))), siglip, 16),
            ("siglip2", t.Siglip2Model(t.Siglip2Config(text_config=TEXT, vision_config=VISION | dict(num_patches=16))), siglip2, 16),
            ("dinov2", t.Dinov2Model(t.Dinov2Config(**DINO, attn_implementation="eager")), dinov2, 24),
            ("dinov2_with_registers",
             t.Dinov2WithRegistersModel(t.Dinov2WithRegistersConfig(num_register_tokens=3, **DINO, attn_implementation="eager")), dinov2, 24)):
        randomise(model, rng)
        save(model, output / name, images(size), run)


if __name__ == "__main__":
    main()
