"""CLIP's tokeniser (openai/CLIP, clip/simple_tokenizer.py) in plain Python, of ftfy only the normal form C.

Needs the package `regex`. Slow: every merge looks at the whole word.
"""
import gzip
import html
import pathlib
import unicodedata

import regex

START, END = "<|startoftext|>", "<|endoftext|>"
MOST_MERGES = 49152 - 256 - 2
WORDS = regex.compile(r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE)


def byte_names():
    """The character that each byte is written as; those that can be seen come first."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    unseen = [b for b in range(256) if b not in seen]
    return {b: chr(b) for b in seen} | {b: chr(256 + i) for i, b in enumerate(unseen)}


def clean(text):
    text = unicodedata.normalize("NFC", text)
    text = html.unescape(html.unescape(text)).strip()
    return regex.sub(r"\s+", " ", text).strip().lower()


class Tokenizer:
    def __init__(self, path):
        data = pathlib.Path(path).read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        lines = data.decode("utf-8").rstrip("\n").split("\n")[1:MOST_MERGES + 1]
        merges = [tuple(line.split()) for line in lines]
        self.bytes = byte_names()
        single = list(self.bytes.values())
        vocabulary = single + [c + "</w>" for c in single] + ["".join(m) for m in merges] + [START, END]
        self.numbers = {token: i for i, token in enumerate(vocabulary)}
        self.ranks = {merge: i for i, merge in enumerate(merges)}

    def split(self, word):
        """The tokens of one word, as text."""
        if word in (START, END):
            return [word]
        parts = [self.bytes[b] for b in word.encode("utf-8")]
        parts[-1] += "</w>"
        while len(parts) > 1:
            pair = min(zip(parts, parts[1:]), key=lambda p: self.ranks.get(p, len(self.ranks)))
            if pair not in self.ranks:
                break
            merged, i = [], 0
            while i < len(parts):
                both = tuple(parts[i:i + 2]) == pair
                merged.append(pair[0] + pair[1] if both else parts[i])
                i += 2 if both else 1
            parts = merged
        return parts

    def encode(self, text):
        return [self.numbers[token] for word in WORDS.findall(clean(text)) for token in self.split(word)]

    def decode(self, numbers):
        tokens = {number: token for token, number in self.numbers.items()}
        byte_of = {c: b for b, c in self.bytes.items()}
        data = bytes(byte_of[c] for number in numbers for c in tokens[number])
        return data.decode("utf-8", errors="replace").replace("</w>", " ")
