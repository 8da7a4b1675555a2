"""Writes clip_tokenizer.json and siglip2_tokenizer.json, the only files that transformers 5 saves of these tokenisers, and
clip_tokenizer_rows.json, texts and their tokens.

Usage: make_tokenizer_json.py tests/golden

Written with transformers 5.24.0, tokenizers 0.23.3, sentencepiece 0.2.3. CLIP: CLIPTokenizer with the merges of
tokenizer_merges.txt (make_tokenizer.py). SigLIP 2: Siglip2Tokenizer with sentence_piece/tokenizer.model, whose rows
(make_sentence_piece.py) are this file's, too.
"""
import json
import pathlib
import shutil
import sys
import tempfile

import transformers

from make_sentence_piece import SIGLIP2_CONFIG
from tokenizer import byte_names

TEXTS = ["", "a", "a photo of a cat", "A Photo  of\n a\tCAT.", "it's they're isn't", "naïve café", "Привет мир", "東京タワー", "😀 a 😀", "cat!!! ...",
         "1234 10", "photographer photographs the camera", "e\u0301", "<|startoftext|>", "<|endoftext|>", "a <|endoftext|> cat", "<|ENDOFTEXT|>",
         "</w>", "a</w>", "x" * 100, "a " * 100]


def main():
    out = pathlib.Path(sys.argv[1])
    merges = [tuple(line.split()) for line in (out / "tokenizer_merges.txt").read_text().split("\n")[1:] if line]
    names = byte_names()
    written = list(names.values())
    tokens = written + [c + "</w>" for c in written] + [a + b for a, b in merges] + ["<|startoftext|>", "<|endoftext|>"]
    clip = transformers.CLIPTokenizer(vocab={t: i for i, t in enumerate(tokens)}, merges=merges)
    with tempfile.TemporaryDirectory() as scratch:
        clip.save_pretrained(scratch)
        shutil.copy(f"{scratch}/tokenizer.json", out / "clip_tokenizer.json")
    rows = [[t, clip(t, truncation=True, max_length=77)["input_ids"]] for t in TEXTS]
    (out / "clip_tokenizer_rows.json").write_text(json.dumps({"made_by": f"make_tokenizer_json.py, transformers {transformers.__version__}", "rows": rows}))
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copy(out / "sentence_piece" / "tokenizer.model", scratch)
        (pathlib.Path(scratch) / "tokenizer_config.json").write_text(json.dumps(SIGLIP2_CONFIG))
        tokenizer = transformers.Siglip2Tokenizer.from_pretrained(scratch, vocab_file=f"{scratch}/tokenizer.model")
        tokenizer.save_pretrained(f"{scratch}/saved")
        shutil.copy(f"{scratch}/saved/tokenizer.json", out / "siglip2_tokenizer.json")


if __name__ == "__main__":
    main()
