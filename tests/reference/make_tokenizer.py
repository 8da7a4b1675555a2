"""Writes tokenizer_merges.txt, a small vocabulary, and tokenizer_small.json, texts and their tokens in it.

Usage: make_tokenizer.py tests/golden

The merges are learned from the words below. The texts: all characters of Unicode 3.2 (which later versions left as they
are, as far as classes, normal form and lower case go), and strings drawn at random from the things that are treated
specially. Left out is U+0345: under IGNORECASE the package `regex` finds it in no class at all and drops it.
"""
import collections
import html.entities
import json
import pathlib
import random
import sys
import unicodedata

import regex

from tokenizer import END, START, Tokenizer, byte_names

WORDS = """a photo of a cat a photo of a dog a photo of the large cat a photo of the small dog photographer photographs
camera the camera of the photographer jumping running sitting a red shirt a green shirt it's isn't they're we've
straße naïve café Привет мир привет 東京タワー ασοδος οδος"""
MERGES = 100
SPECIAL = ["'s", "'T", "'re", "'VE", "'m", "'ll", "'D", "'\u017f", " ", "  ", "\n", "\t", "\x0b", "\x1c", "\x1f", "\x85", "\xa0",
           "\u200b", "\u2028", "\u180e", "\ufeff", "\u03a3", "\u0391\u03a3", "\u03a3.\u0391", "\u0130", START, END, "<|ENDOFTEXT|>",
           "&amp;amp;", "&amp;lt;", "&", "&#", "&#x", "&;", "e\u0301", "\u0301\u0327", "\u1112\u1161\u11ab", "photo", "camera"]


def learn_merges(words, count):
    """Byte-pair encoding: the most frequent pair first, of several the smallest."""
    names = byte_names()
    parts = [[names[b] for b in word.encode()] for word in words]
    for p in parts:
        p[-1] += "</w>"
    for _ in range(count):
        pairs = collections.Counter(pair for p in parts for pair in zip(p, p[1:]))
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        yield best
        for p in parts:
            for i in range(len(p) - 2, -1, -1):
                if tuple(p[i:i + 2]) == best:
                    p[i:i + 2] = ["".join(best)]


def characters():
    old = unicodedata.ucd_3_2_0
    return [chr(c) for c in range(0x110000) if old.category(chr(c)) not in ("Cn", "Co", "Cs") and c != 0x345]


def random_text(rng, alphabet, names):
    pieces = [
        lambda: rng.choice(alphabet), lambda: chr(rng.randrange(0x20, 0x7F)), lambda: rng.choice(SPECIAL),
        lambda: "&" + rng.choice(names), lambda: "&" + rng.choice(names)[:-1], lambda: f"&#{rng.randrange(300)};",
        lambda: f"&#x{rng.randrange(300):x}", lambda: rng.choice(["&#55296;", "&#1114112;", "&#99999999999;", "&#x1F600;"]),
        lambda: "".join(rng.choice("\u03a3\u03c3\u0391\u03b1.\u0301'\u02b01") for _ in range(4)),
        lambda: "".join(rng.choice("abcdehoptrs") for _ in range(rng.randrange(1, 12))),
    ]
    return "".join(rng.choice(pieces)() for _ in range(rng.randrange(10)))


def main(folder):
    merges = folder / "tokenizer_merges.txt"
    lines = [" ".join(pair) for pair in learn_merges(WORDS.lower().split(), MERGES)]
    merges.write_text("#version: 0.2, made by tests/reference/make_tokenizer.py\n" + "\n".join(lines) + "\n", encoding="utf-8")
    tokenizer = Tokenizer(merges)
    alphabet, names, rng = characters(), list(html.entities.html5), random.Random(4)
    # Ideographs and syllables are many and all alike: every 97th of them.
    some = [c for i, c in enumerate(alphabet) if not (0x3400 <= ord(c) <= 0xD7A3 or ord(c) > 0x1FFFF) or i % 97 == 0]
    texts = ["".join(f"x{c}'s" for c in some[i:i + 50]) for i in range(0, len(some), 50)]
    lists = len(texts) + len(names[::50])
    texts += [" ".join("&" + name + "&" + name[:-1] for name in names[i:i + 50]) for i in range(0, len(names), 50)]
    texts += [random_text(rng, alphabet, names) for _ in range(1000)]
    cases = []
    for i, text in enumerate(texts):
        tokens = tokenizer.encode(text)
        cases.append({"text": text, "tokens": tokens} | ({"decoded": tokenizer.decode(tokens)} if i >= lists else {}))
    made_by = (f"make_tokenizer.py, Python {sys.version.split()[0]}, Unicode {unicodedata.unidata_version}, "
               f"regex {regex.__version__}")
    with open(folder / "tokenizer_small.json", "w", encoding="utf-8") as file:
        file.write('{"made_by": ' + json.dumps(made_by) + ', "cases": [\n')
        file.write(",\n".join(json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in cases) + "\n]}\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
