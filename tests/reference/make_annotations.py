#!/usr/bin/env python3
"""Writes tests/golden/annotations: very small datasets as VOC, COCO, ADE20K and Cityscapes lay them out, and
annotations.h5: what pycocotools makes of polygons and run-length encodings, and of the masks of the COCO one.

Run with pip install pycocotools==2.0.11 pillow numpy h5py:  make_annotations.py tests/golden/annotations
"""
import json
import sys
from pathlib import Path

import h5py
import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

IGNORE = 65535
# "C" of VOC: the palette of the development kit.
PALETTE = [(n >> 0 & 1) * 128 if c == 0 else (n >> 1 & 1) * 128 if c == 1 else (n >> 2 & 1) * 128
           for n in range(256) for c in range(3)]


def photo(path, width, height, seed, orientation=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 20 + seed, y * 25, (x + y) * 10], -1).astype(np.uint8)
    exif = Image.Exif()
    if orientation:
        exif[274] = orientation
    Image.fromarray(pixels).save(path, exif=exif)


def numbers(path, values, palette=False, sixteen=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(values, np.uint16 if sixteen else np.uint8))
    if palette:
        image = image.convert("L")
        image = Image.frombytes("P", image.size, image.tobytes())
        image.putpalette(PALETTE)
    image.save(path)


def voc_xml(path, width, height, objects):
    """objects: name, (xmin, ymin, xmax, ymax) 1-based, difficult, more XML"""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = f"<annotation>\n<folder>VOC2012</folder><filename>{path.stem}.jpg</filename>\n"
    text += f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n"
    for name, box, difficult, more in objects:
        sides = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box))
        mark = "" if difficult is None else f"<difficult>{difficult}</difficult>"
        text += f"<object><name>{name}</name>{mark}<bndbox>{sides}</bndbox>{more}</object>\n"
    path.write_text(text + "</annotation>\n")


def write_voc(root):
    photo(root / "JPEGImages/2007_000001.jpg", 12, 8, 0)
    photo(root / "JPEGImages/2007_000002.jpg", 10, 10, 50)
    photo(root / "JPEGImages/2007_000003.jpg", 12, 8, 100, orientation=6)  # seen upright it is 8 x 12
    photo(root / "JPEGImages/2007_000004.jpg", 6, 6, 150)
    part = "<part><name>head</name><bndbox><xmin>7</xmin><ymin>5</ymin><xmax>8</xmax><ymax>6</ymax></bndbox></part>"
    voc_xml(root / "Annotations/2007_000001.xml", 12, 8,
            [("dog", (1, 1, 6, 4), 0, ""), ("person", (7, 5, 12, 8), 1, part)])
    voc_xml(root / "Annotations/2007_000002.xml", 10, 10, [])
    voc_xml(root / "Annotations/2007_000003.xml", 12, 8, [("cat", (10, 1, 13, 2.0), None, "")])  # a pixel over
    mask = np.zeros((8, 12), np.uint8)
    mask[:4, :6] = 12
    mask[4:, 6:] = 15
    mask[:, 6] = 255
    numbers(root / "SegmentationClass/2007_000001.png", mask, palette=True)
    mask = np.zeros((8, 12), np.uint8)
    mask[:2, 9:] = 8
    mask[7, 0] = 255
    numbers(root / "SegmentationClass/2007_000003.png", mask, palette=True)
    (root / "ImageSets/Main").mkdir(parents=True, exist_ok=True)
    (root / "ImageSets/Main/dog_val.txt").write_text("2007_000003 -1\n2007_000001  1\n")


def write_coco(root):
    photo(root / "images/one.jpg", 12, 8, 0)
    photo(root / "images/more/two.png", 10, 10, 50)
    photo(root / "images/three.jpg", 6, 6, 100)
    square = [2.0, 1.0, 10.0, 1.0, 10.0, 7.0, 2.0, 7.0]
    inner = [[4.2, 2.7, 8.6, 3.1, 6.1, 5.5], [8.0, 5.0, 9.5, 5.0, 9.5, 6.5, 8.0, 6.5]]
    crowd = np.zeros((8, 12), np.uint8, order="F")
    crowd[:, 9:] = 1
    corner = np.zeros((10, 10), np.uint8, order="F")
    corner[6:, 5:] = 1
    packed = coco_mask.encode(corner)
    packed = {"size": packed["size"], "counts": packed["counts"].decode()}
    runs = []
    flat, value = crowd.ravel(order="F"), 0
    for v in flat:
        if not runs or v != value:
            if not runs and v:
                runs.append(0)
            runs.append(0)
            value = v
        runs[-1] += 1
    file = {
        "info": {"description": "very small", "nested": [[{"id": 1}]]},
        "annotations": [  # before the images: any order is read
            {"id": 31, "image_id": 7, "category_id": 1, "bbox": [4.2, 2.7, 5.3, 3.8], "segmentation": inner, "iscrowd": 0,
             "area": 9.0},
            {"id": 30, "image_id": 7, "category_id": 18, "bbox": [2, 1, 8, 6], "segmentation": [square], "iscrowd": 0},
            {"id": 32, "image_id": 7, "category_id": 1, "bbox": [9, 0, 3, 8], "segmentation": {"counts": runs, "size": [8, 12]},
             "iscrowd": 1},
            {"id": 33, "image_id": 3, "category_id": 18, "bbox": [5, 6, 5.5, 4], "segmentation": packed, "iscrowd": 0},
            {"id": 34, "image_id": 3, "category_id": 1, "bbox": [0, 0, 2, 3], "iscrowd": 0},
        ],
        "images": [{"id": 7, "file_name": "one.jpg", "width": 12, "height": 8},
                   {"id": 3, "file_name": "more/two.png", "width": 10, "height": 10},
                   {"id": 5, "file_name": "three.jpg", "width": 6, "height": 6}],
        "categories": [{"id": 18, "name": "dog", "supercategory": "animal"}, {"id": 1, "name": "person"}],
    }
    (root / "instances.json").write_text(json.dumps(file))
    # Crowds and boxes without a mask first, then the larger before the smaller.
    one = np.zeros((8, 12), np.uint16)
    one[crowd == 1] = IGNORE
    for polygons, label in (([square], 1), (inner, 2)):
        one[coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, 8, 12))) == 1] = label
    two = np.zeros((10, 10), np.uint16)
    two[0:3, 0:2] = IGNORE
    two[corner == 1] = 1
    return {"one": one, "two": two, "three": np.zeros((6, 6), np.uint16)}


def write_label_maps(root):
    ade = root / "ade"
    photo(ade / "images/val/1.jpg", 6, 4, 0)
    photo(ade / "images/val/2.jpg", 4, 4, 50)
    photo(ade / "images/val/3.jpg", 4, 4, 100)
    numbers(ade / "annotations/val/1.png", [[0, 1, 1, 2, 3, 255], [0] * 6, [3] * 6, [2] * 6])
    numbers(ade / "annotations/val/2.png", [[0, 300, 1, 2]] * 4, sixteen=True)
    (ade / "classes.txt").write_text("wall\nbuilding, edifice\nsky\n")
    city = root / "cityscapes"
    stem = "frankfurt/frankfurt_000000_000294_"
    photo(city / f"leftImg8bit/{stem}leftImg8bit.png", 4, 2, 0)
    numbers(city / f"gtFine/{stem}gtFine_labelTrainIds.png", [[0, 1, 1, 255], [2, 0, 0, 0]])
    numbers(city / f"gtFine/{stem}gtFine_labelIds.png", [[7, 8, 8, 3], [11, 7, 7, 7]])
    numbers(city / f"gtFine/{stem}gtFine_color.png", np.zeros((2, 4, 3)))
    (city / "classes.txt").write_text("road\nsidewalk\nbuilding\n")


def polygons_of(rng):
    """Whole and broken coordinates, beyond the image, turned both ways, with points that are there twice."""
    for k in range(60):
        height, width = (int(v) for v in rng.integers(1, 40, 2))
        count = int(rng.integers(3, 12))
        corners = rng.uniform(-3, 1, (count, 2)) + rng.uniform(0, 1, (count, 2)) * [width + 4, height + 4]
        if k % 4 == 1:
            corners = np.round(corners)
        if k % 4 == 2:
            corners = np.round(corners, 1)
        if k % 4 == 3:
            corners = np.round(corners * 10) / 10 + 0.05
        if k % 5 == 0:
            corners[1] = corners[0]
        yield height, width, corners


def main(folder):
    root = Path(folder)
    write_voc(root / "voc")
    masks = write_coco(root / "coco")
    write_label_maps(root)
    rng = np.random.default_rng(0)
    options = {"compression": None}
    with h5py.File(root / "annotations.h5", "w") as f:
        f.attrs["made_by"] = "make_annotations.py, pycocotools 2.0.11"
        for name, labels in masks.items():
            f.create_dataset(f"coco/{name}", data=labels.astype(np.int64))
        corners, begins, sizes, texts, masks_of = [], [0], [], [], []
        for height, width, polygon in polygons_of(rng):
            runs = coco_mask.frPyObjects([polygon.ravel().tolist()], height, width)
            corners.append(polygon.ravel())
            begins.append(begins[-1] + polygon.size)
            sizes.append((height, width))
            texts.append(runs[0]["counts"].decode())
            masks_of.append(coco_mask.decode(runs)[..., 0].ravel())
        f.create_dataset("polygons/corners", data=np.concatenate(corners))
        f.create_dataset("polygons/begins", data=np.array(begins))
        f.create_dataset("polygons/sizes", data=np.array(sizes))
        f.create_dataset("polygons/runs", data=texts)  # compressed, as pycocotools writes them
        f.create_dataset("polygons/masks", data=np.concatenate(masks_of).astype(np.uint8))
        # The union of each two that follow one another, on a canvas for both.
        merged = []
        for k in range(0, 20, 2):
            two = [corners[k].tolist(), corners[k + 1].tolist()]
            merged.append(coco_mask.merge(coco_mask.frPyObjects(two, 40, 40))["counts"].decode())
        f.create_dataset("merged", data=merged)
        # Runs of many lengths, so that numbers of one to six characters are there.
        lengths = [[0, 5, 3], [3, 1, 2, 100000, 7], [50, 2000, 70, 4, 900000, 1], [0, 1 << 20, 12], [1, 31, 32, 33, 15, 16, 17]]
        for k, runs in enumerate(lengths):
            total = sum(runs)
            text = coco_mask.frPyObjects({"counts": runs, "size": [total, 1]}, total, 1)["counts"].decode()
            f.create_dataset(f"compressed/{k}/text", data=[text])
            f.create_dataset(f"compressed/{k}/runs", data=np.array(runs))


if __name__ == "__main__":
    main(sys.argv[1])
