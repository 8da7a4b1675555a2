"""Writes vocabulary: texts, the byte pairs that the package `tokenizers` learns from them, and how transformers splits others.

Usage: make_vocabulary.py OUTPUT_FOLDER        (tests/golden for the files of this repository)
       make_vocabulary.py --check FOLDER       (which `vitral vocabulary tests/golden/vocabulary/texts.txt -o FOLDER` wrote)

vocabulary/texts.txt: a text a line. merges.txt: all merges of pairs that occur twice, by BpeTrainer, whose symbols are numbered as
CLIP's are: it decides between pairs of equal counts by these numbers. rows.json: [text, tokens] by CLIPTokenizer of transformers
on these merges. --check compares the merges, and the rows of AutoTokenizer on the files that vitral wrote.
Left out of the texts is what the two clean differently (docs/text.md): HTML's references, final sigmas, special tokens in capitals.
Needs transformers (5.24), tokenizers (0.23).
"""
import itertools
import json
import pathlib
import sys
import tempfile

import tokenizers
from tokenizers import models, trainers
from transformers import AutoTokenizer, CLIPTokenizer

from tokenizer import END, START, byte_names

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
THINGS = """apple, banana, sailboat, helicopter, dog, cat, whale, octopus, umbrella, athletic shoe, fire engine, snowman, hot air balloon,
ice cream, alarm clock, telescope, violin, mushroom, hedgehog, ladybug, tyrannosaurus, crescent moon, four leaf clover, teapot"""
WORDINGS = ["{a} {x}", "a photo of {a} {x} and {b} {y}", "there is {a} {x} next to {b} {y}", "The {x}'s colour isn't the {y}'s!",
            "{a} {x} -- {b} {y} ... 12 of 345", "A PICTURE: \u201c{x}\u201d & {y}"]
OTHERS = ["aaaa aaaaa aaaaaaa banana bananas", "na\u00efve caf\u00e9, cafe\u0301 stra\u00dfe", "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440 \u043c\u0438\u0440\u0430",
          "\u6771\u4eac\u30bf\u30ef\u30fc \u6771\u4eac", "\U0001f40b \U0001f40b\U0001f40b whale", "a\tb\u00a0c\u2003d   e", "don't they're we've I'll he'd I'm", "_x_y_ #1 $5.99 100%"]
UNSEEN = ["a zebra crossing the road", "xylophone", "", "   ", "42", "Whales and dogs, apples & sailboats.", "\U0001f9a9 flamingo", "aaaaaaaaaaa",
          "\u0416\u0443\u043a", "un caf\u00e9 na\u00efvement stra\u00dfenbahn", "it's theirs, isn't it?", START + " a cat " + END, "a" * 300]


def texts():
    things = [thing.strip() for thing in THINGS.split(",")]
    article = lambda thing: "an" if thing[0] in "aeiou" else "a"
    out = []
    for i, (x, wording) in enumerate(itertools.product(things, WORDINGS)):
        y = things[(7 * i + 3) % len(things)]
        out.append(wording.format(x=x, y=y, a=article(x), b=article(y)))
    return out + OTHERS * 2


def learned(lines):
    single = list(byte_names().values())
    symbols = single + [c + "</w>" for c in single]
    clip = CLIPTokenizer(vocab={END: 0}, merges=[]).backend_tokenizer
    tokenizer = tokenizers.Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = clip.normalizer, clip.pre_tokenizer
    trainer = trainers.BpeTrainer(vocab_size=1 << 20, min_frequency=2, special_tokens=symbols, end_of_word_suffix="</w>",
                                  show_progress=False)
    tokenizer.train_from_iterator(lines, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    assert [model["vocab"][symbol] for symbol in symbols] == list(range(512))
    return symbols, model["merges"]


def of_transformers(symbols, merges):
    tokens = symbols + ["".join(merge) for merge in merges] + [START, END]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}), encoding="utf-8")
        (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8")
        return CLIPTokenizer.from_pretrained(folder)


def rows_of(tokenizer, lines):
    return [[line, tokenizer(line)["input_ids"]] for line in [*dict.fromkeys(lines), *UNSEEN]]


def main(arguments):
    lines = texts()
    symbols, merges = learned(lines)
    rows = rows_of(of_transformers(symbols, merges), lines)
    if arguments[0] == "--check":
        folder = pathlib.Path(arguments[1])
        wrote = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]
        assert wrote == [" ".join(merge) for merge in merges][:len(wrote)], "other merges"
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert isinstance(tokenizer, CLIPTokenizer) and len(tokenizer) == 514 + len(wrote)
        expected = rows if len(wrote) == len(merges) else rows_of(of_transformers(symbols, merges[:len(wrote)]), lines)
        assert rows_of(tokenizer, lines) == expected, "other tokens"
        print(f"{folder}: {len(wrote)} of {len(merges)} merges and the tokens of {len(rows)} texts are those of tokenizers "
              f"{tokenizers.__version__}")
        return
    folder = pathlib.Path(arguments[0]) / "vocabulary"
    folder.mkdir(exist_ok=True)
    (folder / "texts.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "merges.txt").write_text(f"#version: 0.2, made by tests/reference/make_vocabulary.py, tokenizers {tokenizers.__version__}\n"
                                       + "".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8")
    with open(folder / "rows.json", "w", encoding="utf-8") as file:
        file.write("[\n" + ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows) + "\n]\n")


if __name__ == "__main__":
    main(sys.argv[1:])
