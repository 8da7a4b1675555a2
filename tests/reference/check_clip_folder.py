"""Compares a folder that `vitral convert CLIP FOLDER/` wrote, as transformers loads it, with what vitral makes of the CLIP.

Usage: check_clip_folder.py FOLDER texts.h5 images.h5
       vitral convert CLIP FOLDER/
       vitral embed --text 'a cat' 'two dogs at night' --clip CLIP -o texts.h5
       vitral pack photos -o images.h5 --size S; vitral teach images.h5 --teacher CLIP      (S: the pixels that the CLIP reads)

By AutoModel, AutoTokenizer and AutoImageProcessor; embeddings must be within 1e-5.
Needs torch, transformers (5.24), h5py.
"""
import sys

import h5py
import numpy as np
import torch
import transformers


def pick(output):
    return output.pooler_output if hasattr(output, "pooler_output") else output


def compare(what, got, expected):
    error = np.linalg.norm(got.numpy() - expected) / np.linalg.norm(expected)
    print(f"{what}: {len(expected)} embeddings within {error:.1e}")
    assert got.shape == expected.shape and error < 1e-5, what


@torch.no_grad()
def main(folder, texts_file, images_file):
    model, info = transformers.AutoModel.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    assert isinstance(model, transformers.CLIPModel) and not any(info.values()), info
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert isinstance(tokenizer, transformers.CLIPTokenizer), type(tokenizer)
    with h5py.File(texts_file) as file:
        texts, expected = [text.decode() for text in file["texts"]], file["embeddings"][:]
    assert tokenizer.model_max_length == model.config.text_config.max_position_embeddings
    tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    compare("texts", pick(model.get_text_features(**tokens)), expected)

    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    with h5py.File(images_file) as file:
        images, expected = file["images"][:], file["embeddings"][:]
    pixels = processor(images=list(images), return_tensors="pt")["pixel_values"]
    assert pixels.shape[2:] == images.shape[1:3], "pack the images with --size of the pixels that the CLIP reads"
    compare("images", pick(model.get_image_features(pixel_values=pixels)), expected)


if __name__ == "__main__":
    main(*sys.argv[1:])
