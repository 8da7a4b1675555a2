"""Writes sentence_piece: a very small vocabulary of SigLIP's kind (spiece.model) and one of SigLIP 2's (tokenizer.model), both
trained by SentencePiece, and texts with their token numbers as transformers gives them.

Usage: make_sentence_piece.py tests/golden

Written with transformers 5.24.0, tokenizers 0.23.3, sentencepiece 0.2.3 (and protobuf) from seed 0. SigLIP: SiglipTokenizer on
a unigram model with T5's settings. SigLIP 2: Siglip2Tokenizer on byte pairs with Gemma's settings and special pieces, with the
options of google/siglip2-base-patch16-224's tokenizer_config.json. Rows are those of padding="max_length", truncation=True.
"""
import io
import json
import pathlib
import random
import sys
import tempfile

import sentencepiece
import tokenizers
import transformers

WORDS = """a photo of the an in on with and two three large small red green blue old young sitting running jumping standing
cat cats dog dogs horse bird man woman child people shirt hat table window street beach mountain river city night day
photograph photographer camera picture drawing painting it's isn't they're 10 2024 f/2.8 16:9 straße naïve café Émile Ångström
Привет мир здравствуй οδός ΟΔΟΣ Σίσυφος 東京 タワー 写真 猫 고양이 사진 안녕하세요 ไทย हिन्दी العربية ﷺ İstanbul ﬁne""".split()
CONTEXT = 64
SIGLIP2_CONFIG = {
    "add_bos_token": False, "add_eos_token": True, "bos_token": "<bos>", "do_lower_case": True, "eos_token": "<eos>",
    "model_input_names": ["input_ids"], "pad_token": "<pad>", "padding_side": "right", "tokenizer_class": "GemmaTokenizer",
    "unk_token": "<unk>"}
TEXTS = [
    "", " ", "\t\n ", "a", "A", "a photo of a cat", "A Photo Of A CAT", "  a  photo\tof\na   cat  ", "a photo of a cat.", "a photo, of: a cat!?",
    "it's a dog; isn't it?", "\"quoted\" (bracketed) [square] {curly} <angle>", "!!!", "... --- ___", "$ 5 + 5 = 10 % ^ ~ ` | \\ /", "snake_case_name",
    "hyphen-ated", "e-mail@example.com #tag", "“curly” ‘quotes’ – dash — em… ellipsis", "¿qué? ¡sí! «oui»", "straße naïve café", "STRASSE ÉMILE Ångström",
    "cafe\u0301 e\u0301", "ﬁne ﬂow Ⅷ ① ½ ㎏ ｆｕｌｌ", "ﷺ", "İstanbul ISTANBUL ıI", "ΟΔΟΣ ΟΔΟΣ. ΣΑΣ Σ", "Привет, МИР", "東京タワー", "猫の写真。", "고양이 사진", "ไทย", "हिन्दी",
    "العربية", "שלום", "😀", "a 😀😀 cat", "👨‍👩‍👧‍👦 family", "🏳️‍🌈🇩🇪", "\u200b zero \u200d width \ufeff", "non\u00a0breaking\u3000wide\u2028line\u0085next",
    "control\x01\x1c\x1fend", "\x1c\x1d both \x1e\x1f", "soft\u00adhyphen", "▁", "▁a▁cat", "a ▁ cat", "x▁▁y", "</s>", "<unk>", "<pad>", "<bos>", "<eos>", "<mask>",
    "a </s> cat", "</s>a cat</s>", "</s> </s></s>", "a<unk>cat", "a <unk> cat <unk>", "<UNK> </S>", "<bos>a cat<eos>", "<pad> <pad>a", "<start_of_turn>user\nhello<end_of_turn>",
    "<START_OF_TURN>", "<h1>Head</h1>", "<H1>Head</H1>", "[@BOS@] [@bos@]", "<unused5> x", "line\nline", "line\n\nline\n\n\n", "tab\tand\t\ttabs", "a  b   c    d     e",
    "a" + " " * 40 + "cat", "hahahahahaha", "=======", "aaaaaaaaaaaaaaaaaaaa", "000000 123456789", "<0x41> <0xE2>", "< pad>", "</s", "/s>", "\ud7ff\ue000\uf8ff\U0010ffff",
    "supercalifragilisticexpialidocious", "a photo of " * 40, "cat </s> " * 40, "猫" * 100, "😀" * 30, "x" * 500, "a " * 63, "a " * 62 + "cat",
]


def corpus(rng):
    return "\n".join(" ".join(rng.choice(WORDS) for _ in range(rng.randrange(2, 12))) for _ in range(4000))


def train(lines, **options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines.split("\n")), model_writer=model, num_threads=1,
                                             minloglevel=2, **options)
    return model.getvalue()


def siglip(lines, folder):
    (folder / "spiece.model").write_bytes(train(
        lines, model_type="unigram", vocab_size=180, character_coverage=0.9995, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        normalization_rule_name="nmt_nfkc"))
    return transformers.SiglipTokenizer(str(folder / "spiece.model"))


def siglip2(lines, folder):
    symbols = ["<mask>", "<2mass>", "[@BOS@]"] + [f"<unused{i}>" for i in range(10)] + ["<start_of_turn>", "<end_of_turn>"]
    symbols += ["\n" * i for i in range(1, 8)] + ["▁" * i for i in range(2, 32)] + ["<table>", "</table>", "<h1>", "</h1>", "<b>", "</b>"]
    (folder / "tokenizer.model").write_bytes(train(
        lines, model_type="bpe", vocab_size=700, byte_fallback=True, split_digits=True, allow_whitespace_only_pieces=True,
        normalization_rule_name="identity", add_dummy_prefix=False, remove_extra_whitespaces=False, pad_id=0, eos_id=1, bos_id=2,
        unk_id=3, pad_piece="<pad>", eos_piece="<eos>", bos_piece="<bos>", unk_piece="<unk>", user_defined_symbols=symbols))
    (folder / "tokenizer_config.json").write_text(json.dumps(SIGLIP2_CONFIG))
    return transformers.Siglip2Tokenizer.from_pretrained(folder, vocab_file=str(folder / "tokenizer.model"))


def main():
    out = pathlib.Path(sys.argv[1]) / "sentence_piece"
    out.mkdir(exist_ok=True)
    lines = corpus(random.Random(0))
    with tempfile.TemporaryDirectory() as scratch:
        for name, make, file in ("siglip", siglip, "spiece.model"), ("siglip2", siglip2, "tokenizer.model"):
            folder = pathlib.Path(scratch) / name
            folder.mkdir()
            tokenizer = make(lines, folder)
            rows = [tokenizer(t, padding="max_length", truncation=True, max_length=CONTEXT)["input_ids"] for t in TEXTS]
            (out / file).write_bytes((folder / file).read_bytes())
            made_by = f"make_sentence_piece.py, seed 0, transformers {transformers.__version__}, tokenizers {tokenizers.__version__}, " \
                      f"sentencepiece {sentencepiece.__version__}"
            (out / f"{name}.json").write_text(json.dumps({
                "made_by": made_by, "context": CONTEXT, "size": len(tokenizer), "rows": [[t, r] for t, r in zip(TEXTS, rows)]}))


if __name__ == "__main__":
    main()
