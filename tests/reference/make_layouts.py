"""Writes very small random CLIPs in the layouts in which transformers and open_clip leave their files, and what they give.

Usage: make_layouts.py OUTPUT_FOLDER        (tests/golden for the folder of this repository)

layouts/NAME: the files. layouts/expected.h5: images uint8 [3,8,8,3], texts; per layout image [3,E] and text [T,E] where it
has such a tower, the attributes path (what to load: NAME or a file in it) and, where no configuration lies there, heads and
activation. Tokens are those of tokenizer_merges.txt, which does not lie beside them. Every parameter is random. Weights are
float16 but where said otherwise; the results are computed from them in float64.
Needs torch, transformers, open_clip, regex. Written with PyTorch 2.15, transformers 5.24, open_clip 3.3.
"""
import argparse
import json
import pathlib
import shutil

import h5py
import numpy as np
import open_clip
import torch
import transformers
from open_clip.push_to_hf_hub import save_for_hf
from safetensors.torch import save_file
from tokenizer import Tokenizer

SEED = 1305
TEXTS = ["a photo of a cat", "two dogs", "", "A PHOTO of the ocean, at night"]
CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
VISION = dict(hidden_size=8, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=8, patch_size=4)
TEXT = dict(hidden_size=8, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, vocab_size=614,
            max_position_embeddings=12, bos_token_id=612, eos_token_id=613, pad_token_id=0)
OTHER_TEXT = dict(hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=20,
                  max_position_embeddings=12)  # of a family whose texts vitral does not read


def randomise(model, rng, dtype=torch.float16):
    for name, p in model.named_parameters():
        noise = rng.standard_normal(tuple(p.shape))
        if p.ndim == 1 and name.endswith("weight"):
            noise = 1 + 0.2 * noise
        elif name.endswith("bias"):
            noise = 0.2 * noise
        elif p.ndim > 1 and "embed" not in name:
            noise = noise / np.sqrt(np.prod(p.shape[1:]))
        p.data = torch.from_numpy(np.asarray(noise, np.float32)).to(dtype)
    return model.to(dtype).eval()


def pick(output):
    return output.pooler_output if hasattr(output, "pooler_output") else output


class Layouts:
    def __init__(self, folder, rng):
        self.folder, self.rng = folder, rng
        self.pixels = rng.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
        merges = pathlib.Path(__file__).parents[1] / "golden" / "tokenizer_merges.txt"
        tokenizer, context = Tokenizer(merges), TEXT["max_position_embeddings"]
        rows = [[TEXT["bos_token_id"], *tokenizer.encode(text)[:context - 2], TEXT["eos_token_id"]] for text in TEXTS]
        self.tokens = torch.tensor([row + [0] * (context - len(row)) for row in rows])
        self.file = h5py.File(folder / "expected.h5", "w")
        self.file.attrs["made_by"] = (f"tests/reference/make_layouts.py, seed {SEED}, torch {torch.__version__}, "
                                      f"transformers {transformers.__version__}, open_clip {open_clip.__version__}")
        self.file["images"] = self.pixels
        self.file["texts"] = TEXTS

    def place(self, name):
        (self.folder / name).mkdir()
        return self.folder / name

    def expect(self, name, image, text, mean=CLIP_MEAN, std=CLIP_STD, path=None, heads=0, activation=""):
        """image, text: functions of float64 pixels and of tokens; None: no such tower."""
        group = self.file.create_group(name)
        group.attrs["path"], group.attrs["heads"], group.attrs["activation"] = path or name, str(heads), activation
        x = (self.pixels / 255.0 - np.array(mean)) / np.array(std)
        with torch.no_grad():
            if image:
                group["image"] = pick(image(torch.from_numpy(x.transpose(0, 3, 1, 2)))).numpy().astype(np.float32)
            if text:
                group["text"] = pick(text(self.tokens)).numpy().astype(np.float32)


def clip_config(projection=6, vision={}, text={}):
    return transformers.CLIPConfig(vision_config=VISION | vision, text_config=TEXT | text, projection_dim=projection)


def of_transformers(out):
    rng = out.rng

    def both(name, model, **how):
        m = model.double()
        out.expect(name, lambda x: m.get_image_features(pixel_values=x), lambda t: m.get_text_features(input_ids=t), **how)

    # float32, nested configuration, the activation that is left out of it.
    model = randomise(transformers.CLIPModel(clip_config()), rng, torch.float32)
    model.save_pretrained(out.place("transformers_clip"))
    both("transformers_clip", model)

    # GELU, heads of its own, as transformers 4 saved it: pytorch_model.bin with position_ids, here int32; bfloat16.
    model = randomise(transformers.CLIPModel(clip_config(
        8, dict(hidden_act="gelu", num_attention_heads=4), dict(hidden_act="gelu", num_attention_heads=1))),
        rng, torch.bfloat16)
    folder = out.place("transformers_bin_gelu")
    model.config.save_pretrained(folder)
    positions = {f"{tower}.embeddings.position_ids": torch.arange(n, dtype=torch.int32)[None]
                 for tower, n in (("text_model", 12), ("vision_model", 5))}
    torch.save(model.state_dict() | positions, folder / "pytorch_model.bin")
    both("transformers_bin_gelu", model)

    # A tower alone has a flat configuration; mean and std of the preprocessor, once in either file.
    model = randomise(transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(
        **VISION | dict(hidden_act="gelu", num_attention_heads=4), projection_dim=5)), rng)
    model.save_pretrained(out.place("transformers_image_alone"))
    transformers.CLIPImageProcessor(
        image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.3, 0.4], size=8, crop_size=8).save_pretrained(
        out.folder / "transformers_image_alone")
    m = model.double()
    out.expect("transformers_image_alone", lambda x: m(x).image_embeds, None, [0.5, 0.4, 0.3], [0.2, 0.3, 0.4])
    model = randomise(transformers.CLIPTextModelWithProjection(transformers.CLIPTextConfig(
        **TEXT | dict(hidden_act="gelu", num_attention_heads=1), projection_dim=7)), rng)
    model.save_pretrained(out.place("transformers_text_alone"))
    n = model.double()
    out.expect("transformers_text_alone", None, lambda t: n(t).text_embeds)

    # Cut into shards, by transformers and as version 4 did it.
    model = randomise(transformers.CLIPModel(clip_config()), rng)
    folder = out.place("transformers_shards")
    model.save_pretrained(folder, max_shard_size="9KB")
    processor = transformers.CLIPImageProcessor(image_mean=[0.5] * 3, image_std=[0.25] * 3, size=8, crop_size=8)
    (folder / "processor_config.json").write_text(
        json.dumps({"processor_class": "CLIPProcessor", "image_processor": json.loads(processor.to_json_string())}))
    assert len(list(folder.glob("model-*.safetensors"))) == 2
    both("transformers_shards", model, mean=[0.5] * 3, std=[0.25] * 3)
    model = randomise(transformers.CLIPModel(clip_config()), rng)
    folder = out.place("transformers_bin_shards")
    model.config.save_pretrained(folder)
    names = list(model.state_dict())
    parts = {f"pytorch_model-0000{i + 1}-of-00002.bin": names[i::2] for i in range(2)}
    for file, part in parts.items():
        torch.save({k: model.state_dict()[k].clone() for k in part}, folder / file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(
        {"metadata": {"total_size": 1}, "weight_map": {k: file for file, part in parts.items() for k in part}}))
    both("transformers_bin_shards", model)

    # Models that hold a CLIP, or its image tower.
    model = randomise(transformers.CLIPSegForImageSegmentation(transformers.CLIPSegConfig(
        vision_config=VISION, text_config=TEXT, projection_dim=6, reduce_dim=4, decoder_num_attention_heads=1,
        decoder_intermediate_size=4, extract_layers=[0, 1], conditional_layer=0)), rng)
    model.save_pretrained(out.place("transformers_clipseg"))
    s = model.double().clip
    out.expect("transformers_clipseg", lambda x: s.get_image_features(x), lambda t: s.get_text_features(t))
    alt = transformers.AltCLIPModel(transformers.AltCLIPConfig(
        vision_config=VISION | dict(hidden_act="gelu"), text_config=OTHER_TEXT | dict(project_dim=8), projection_dim=6))
    chinese = transformers.ChineseCLIPModel(transformers.ChineseCLIPConfig(
        vision_config=VISION, text_config=OTHER_TEXT, projection_dim=6))
    meta = transformers.MetaClip2Model(transformers.MetaClip2Config(
        vision_config=VISION, text_config=TEXT | dict(vocab_size=20, eos_token_id=2), projection_dim=6))
    dual = transformers.VisionTextDualEncoderModel(transformers.VisionTextDualEncoderConfig(
        projection_dim=6, vision_config=dict(model_type="clip_vision_model", **VISION),
        text_config=dict(model_type="bert", **OTHER_TEXT)))
    for name, model in dict(altclip=alt, chinese_clip=chinese, metaclip_2=meta, dual_encoder=dual).items():
        randomise(model, rng).save_pretrained(out.place(f"transformers_{name}"))
        out.expect(f"transformers_{name}", model.double().get_image_features, None)


def of_open_clip(out):
    class NoTokenizer:
        def save_pretrained(self, folder):
            pass

    def made(quick_gelu, custom=False, heads=4, pixels=None):
        vision = dict(image_size=8, layers=2, width=8, head_width=8 // heads, patch_size=4)
        text = dict(context_length=12, vocab_size=614, width=8, heads=2, layers=2)
        cls = open_clip.CustomTextCLIP if custom else open_clip.CLIP
        model = cls(6, open_clip.CLIPVisionCfg(**vision), open_clip.CLIPTextCfg(**text), quick_gelu=quick_gelu)
        open_clip.model.set_model_preprocess_cfg(model, vars(open_clip.transform.PreprocessCfg(size=8, **pixels or {})))
        config = dict(embed_dim=6, vision_cfg=vision, text_cfg=text) | (dict(quick_gelu=True) if quick_gelu else {})
        return randomise(model, out.rng), config

    def expect(name, model, **how):
        m = model.double()
        out.expect(name, m.encode_image, m.encode_text, **how)

    def state(model):
        return {k: v.contiguous() for k, v in model.state_dict().items()}

    pixels = dict(mean=(0.5, 0.5, 0.5), std=(0.3, 0.4, 0.5), resize_mode="squash", interpolation="bilinear")
    model, config = made(quick_gelu=False, pixels=pixels)
    save_for_hf(model, NoTokenizer(), config, out.place("open_clip_gelu"), safe_serialization=True)
    expect("open_clip_gelu", model, mean=pixels["mean"], std=pixels["std"])
    model, config = made(quick_gelu=True)
    save_for_hf(model, NoTokenizer(), config, out.place("open_clip_bin"), safe_serialization=False)
    expect("open_clip_bin", model)

    model, _ = made(quick_gelu=False, heads=2)
    folder = out.place("open_clip_training")
    torch.save({"epoch": 3, "name": "run", "state_dict": {"module." + k: v for k, v in state(model).items()},
                "optimizer": {"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]}}, folder / "epoch_3.pt")
    expect("open_clip_training", model, path="open_clip_training/epoch_3.pt", heads=2, activation="gelu")
    model, _ = made(quick_gelu=True, custom=True, heads=2)
    save_file(state(model), out.place("open_clip_text_prefix") / "weights.safetensors")
    expect("open_clip_text_prefix", model, path="open_clip_text_prefix/weights.safetensors", heads=2)
    model, _ = made(quick_gelu=True, heads=2)
    torch.save({"epoch": 1, "global_step": 7, "pytorch-lightning_version": "2.5.0",
                "state_dict": {"model._orig_mod." + k: v for k, v in state(model).items()}
                | {"loss.temperature": torch.ones(1)}}, out.place("lightning") / "last.ckpt")
    expect("lightning", model, path="lightning/last.ckpt", heads=2)
    model, _ = made(quick_gelu=True, heads=2)
    torch.save({"model_ema": state(model), "args": {"lr": 1.0}}, out.place("average") / "checkpoint.pth")
    expect("average", model, path="average/checkpoint.pth", heads=2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=pathlib.Path)
    folder = parser.parse_args().output / "layouts"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    torch.manual_seed(SEED)
    out = Layouts(folder, np.random.default_rng(SEED))
    of_transformers(out)
    of_open_clip(out)
    out.file.close()


if __name__ == "__main__":
    main()
