"""Writes clip_training.h5: a very small CLIP of transformers, its gradients and twenty steps of its training.

Usage: make_clip_training.py OUTPUT_FOLDER        (tests/golden for the file of this repository)

Groups and names, weights under OpenAI's: state/ before training; gradients/ of the loss of the first batch; images uint8
[4,B,S,S,3] and tokens int64 [4,B,L], batches that the steps take in turn, tokens behind the end of a text being -1;
image_embedding and text_embedding [B,E] of the first batch; losses [20], of torch.optim.AdamW with the attributes lr and
weight_decay, of each step before its update. Attributes image_heads, text_heads. Weights are random and far from a fresh
model's. Computed in float64, weights, gradients and embeddings stored as float32.
"""
import argparse
import pathlib

import h5py
import numpy as np
import torch
from transformers import CLIPConfig, CLIPModel

SIZE, BATCHES, BATCH, STEPS, EMBEDDING = 8, 4, 8, 20, 12
VISION = dict(hidden_size=16, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=SIZE, patch_size=4)
TEXT = dict(hidden_size=12, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=9,
            vocab_size=40, bos_token_id=38, eos_token_id=39, pad_token_id=39)
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073], dtype=torch.float64)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711], dtype=torch.float64)
LR, DECAY = 2e-3, 0.01
NAMES = [("encoder.layers.", "transformer.resblocks."), ("self_attn.", "attn."), ("layer_norm1.", "ln_1."),
         ("layer_norm2.", "ln_2."), ("mlp.fc1.", "mlp.c_fc."), ("mlp.fc2.", "mlp.c_proj."),
         ("embeddings.class_embedding", "class_embedding"), ("embeddings.patch_embedding.", "conv1."),
         ("embeddings.position_embedding.weight", "positional_embedding"),
         ("embeddings.token_embedding.", "token_embedding."), ("pre_layrnorm.", "ln_pre."), ("post_layernorm.", "ln_post."),
         ("final_layer_norm.", "ln_final."), ("vision_model.", "visual."), ("text_model.", "")]


def openai(tensors):
    """Tensors of transformers under OpenAI's names."""
    out = {}
    for name, t in tensors.items():
        if name == "logit_scale":
            out[name] = t.reshape(1)
        elif name == "visual_projection.weight":
            out["visual.proj"] = t.T
        elif name == "text_projection.weight":
            out["text_projection"] = t.T
        elif "position_ids" not in name and ".k_proj." not in name and ".v_proj." not in name:
            if ".q_proj." in name:
                t = torch.cat([tensors[name.replace(".q_proj.", f".{part}_proj.")] for part in "qkv"])
                name = name.replace("q_proj.", "in_proj_")
            for theirs, ours in NAMES:
                name = name.replace(theirs, ours)
            out[name] = t
    return {name: t.detach().numpy().astype(np.float32) for name, t in out.items()}


def make_batches(random):
    images = random.integers(0, 256, (BATCHES, BATCH, SIZE, SIZE, 3), dtype=np.uint8)
    length = TEXT["max_position_embeddings"]
    tokens = np.full((BATCHES, BATCH, length), -1, dtype=np.int64)
    for row in tokens.reshape(-1, length):
        n = random.integers(1, length - 1)
        row[0], row[1:1 + n], row[1 + n] = TEXT["bos_token_id"], random.integers(0, 38, n), TEXT["eos_token_id"]
    return images, tokens


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=pathlib.Path)
    output = parser.parse_args().output
    torch.manual_seed(1)
    model = CLIPModel(CLIPConfig(vision_config=VISION, text_config=TEXT, projection_dim=EMBEDDING)).double()
    assert model.config.vision_config.hidden_act == model.config.text_config.hidden_act == "quick_gelu"
    with torch.no_grad():
        for name, p in model.named_parameters():
            norm_weight = "norm" in name and name.endswith("weight")
            p.copy_(torch.randn(p.shape).double() * 0.25 + (1 if norm_weight else 0))
        model.logit_scale.fill_(2.0)
        for p in model.parameters():  # what is stored
            p.copy_(p.float().double())
    images, tokens = make_batches(np.random.default_rng(2))

    def features(i):
        pixels = ((torch.from_numpy(images[i]).double() / 255 - MEAN) / STD).permute(0, 3, 1, 2)
        ids = torch.from_numpy(np.where(tokens[i] < 0, TEXT["pad_token_id"], tokens[i]))
        return (model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output),
                model.text_projection(model.text_model(input_ids=ids).pooler_output))

    def loss_of(image, text):
        image, text = (x / x.norm(dim=-1, keepdim=True) for x in (image, text))
        logits = model.logit_scale.exp() * image @ text.T
        labels = torch.arange(len(logits))
        return (torch.nn.functional.cross_entropy(logits, labels) + torch.nn.functional.cross_entropy(logits.T, labels)) / 2

    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=DECAY)
    losses = []
    with h5py.File(output / "clip_training.h5", "w") as f:
        f.attrs.update(image_heads=VISION["num_attention_heads"], text_heads=TEXT["num_attention_heads"], lr=LR,
                       weight_decay=DECAY)
        f["images"], f["tokens"] = images, tokens
        for name, t in openai(dict(model.named_parameters())).items():
            f["state/" + name] = t
        for step in range(STEPS):
            image, text = features(step % BATCHES)
            loss = loss_of(image, text)
            optimizer.zero_grad()
            loss.backward()
            losses.append(loss.item())
            if step == 0:
                f["image_embedding"], f["text_embedding"] = (x.detach().numpy().astype(np.float32) for x in (image, text))
                for name, t in openai({name: p.grad for name, p in model.named_parameters()}).items():
                    f["gradients/" + name] = t
            optimizer.step()
        f["losses"] = np.array(losses)
    print(losses[0], losses[-1])


if __name__ == "__main__":
    main()
