"""Writes what the image processors of transformers (on Pillow) and open_clip make of small images, before normalising.

Usage: make_preprocessing.py OUTPUT_FOLDER        (tests/golden for the file of this repository)

preprocessing.h5: images/NAME uint8 [H,W,3]; cases/NAME/IMAGE uint8 [S,S,3], the attribute `config` of cases/NAME is the
processor's configuration as its library writes it, `library` says whose. Images of odd sizes, tiny and very narrow ones;
edges, squares, crops beyond the resized image.
Needs torch, torchvision, transformers, open_clip, h5py, and Pillow before 13, which scales very tall images along y
first (data/images/resize.h). Written with transformers 5.24, open_clip 3.3, Pillow 11.3.
"""
import argparse
import json
import pathlib

import h5py
import numpy as np
import open_clip
import PIL
import transformers
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

SEED = 1304
SIZES = (12, 12), (17, 24), (33, 16), (23, 23), (16, 21), (31, 16), (5, 3), (1, 1), (1, 60), (90, 2), (13, 40)
PIL_PROCESSORS = {
    "clip": CLIPImageProcessorPil(size={"shortest_edge": 12}, crop_size={"height": 12, "width": 12}),
    "clip_numbers": CLIPImageProcessorPil(size=12, crop_size=12),
    "clip_bilinear": CLIPImageProcessorPil(size={"shortest_edge": 12}, crop_size=12, resample=2),
    "clip_stretched": CLIPImageProcessorPil(size={"height": 15, "width": 15}, crop_size=12),
    "clip_no_crop": CLIPImageProcessorPil(size={"height": 12, "width": 12}, do_center_crop=False),
    "dinov2": BitImageProcessorPil(size={"shortest_edge": 14}, crop_size=11),
    "crop_beyond": BitImageProcessorPil(size={"shortest_edge": 9}, crop_size=12),
    "crop_beyond_odd": BitImageProcessorPil(size={"shortest_edge": 8}, crop_size=13),
    "siglip": SiglipImageProcessorPil(size={"height": 12, "width": 12}),
    "vit": ViTImageProcessorPil(size={"height": 12, "width": 12}),
}
OPEN_CLIP = {
    "open_clip": dict(size=12),
    "open_clip_bilinear": dict(size=12, interpolation="bilinear"),
    "open_clip_squash": dict(size=12, resize_mode="squash"),
    "open_clip_squash_bilinear": dict(size=11, resize_mode="squash", interpolation="bilinear"),
}


def picture(height, width, rng):
    smooth = rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)
    base = np.asarray(Image.fromarray(smooth).resize((width, height), Image.BICUBIC), np.int64)
    return np.clip(base + rng.integers(-40, 41, base.shape), 0, 255).astype(np.uint8)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=pathlib.Path)
    assert int(PIL.__version__.split(".")[0]) < 13
    rng = np.random.default_rng(SEED)
    images = {f"{h}x{w}": picture(h, w, rng) for h, w in SIZES}
    with h5py.File(parser.parse_args().output / "preprocessing.h5", "w", libver="latest") as file:
        file.attrs["made_by"] = (f"tests/reference/make_preprocessing.py, seed {SEED}, Pillow {PIL.__version__}, "
                                 f"transformers {transformers.__version__}, open_clip {open_clip.__version__}")
        for name, image in images.items():
            file[f"images/{name}"] = image

        def case(name, library, config, run):
            group = file.create_group(f"cases/{name}")
            group.attrs["library"], group.attrs["config"] = library, json.dumps(config)
            for image_name, image in images.items():
                group[image_name] = run(Image.fromarray(image))

        for name, processor in PIL_PROCESSORS.items():
            def run(image, processor=processor):
                pixels = processor(image, do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"][0]
                assert pixels.dtype == np.uint8
                return pixels.transpose(1, 2, 0)
            config = json.loads(processor.to_json_string())
            if name == "clip_numbers":  # as transformers wrote them until 4.20
                config.update(size=12, crop_size=12, feature_extractor_type="CLIPFeatureExtractor")
                del config["image_processor_type"]
            case(name, "transformers", config, run)
        for name, settings in OPEN_CLIP.items():
            transform = image_transform_v2(PreprocessCfg(**settings), is_train=False)

            def run(image, steps=transform.transforms[:-2]):  # not ToTensor and Normalize
                for step in steps:
                    image = step(image)
                return np.asarray(image)
            case(name, "open_clip", settings, run)


if __name__ == "__main__":
    main()
