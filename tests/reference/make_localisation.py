"""tests/golden/localisation.h5: segmentation and the pointing game as the field's own code computes them.

Written out from their sources, on random patches and labels:
  mmseg       models/segmentors/encoder_decoder.py (slide_inference), evaluation/metrics/iou_metric.py (intersect_and_union,
              total_area_to_metrics): windows, their mean, bilinear to the size of the labels, argmax, areas by torch.histc
  SCLIP       several texts a class: the highest; below a threshold: background
  TorchRay    benchmark/pointing_game.py: a point hits where the disc of 15 pixels around it meets the mask

  python tests/reference/make_localisation.py tests/golden/localisation.h5
"""
import sys

import h5py
import numpy as np
import torch
import torch.nn.functional as F

SIZE, GRID, WIDTH = 16, 4, 8
SHORT, STRIDE = 24, 8  # 1.5 and 0.5 times the size
CONCEPTS = 4
CONCEPT_OF = [0, 1, 1, 2, 3]  # of each text
TOLERANCE = 15
BACKGROUND = 0.35
IGNORE = 65535

rng = np.random.default_rng(16)
texts = rng.standard_normal((len(CONCEPT_OF), WIDTH)).astype(np.float32)


def cosines(patches):  # [K,N,D] -> [K,T,g,g]
    p = patches / np.linalg.norm(patches, axis=-1, keepdims=True)
    t = texts / np.linalg.norm(texts, axis=-1, keepdims=True)
    return torch.from_numpy((p @ t.T).transpose(0, 2, 1).reshape(len(p), len(t), GRID, GRID).astype(np.float64))


def windows(height, width):
    rows = max(height - SIZE + STRIDE - 1, 0) // STRIDE + 1
    columns = max(width - SIZE + STRIDE - 1, 0) // STRIDE + 1
    for i in range(rows):
        for j in range(columns):
            bottom, right = min(i * STRIDE + SIZE, height), min(j * STRIDE + SIZE, width)
            yield max(bottom - SIZE, 0), max(right - SIZE, 0)


def bilinear(maps, size):
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def slide(maps, height, width):
    preds = torch.zeros((1, maps.shape[1], height, width), dtype=torch.float64)
    count = torch.zeros((1, 1, height, width), dtype=torch.float64)
    for one, (top, left) in zip(maps, windows(height, width)):
        fine = bilinear(one[None], (SIZE, SIZE))
        preds += F.pad(fine, (left, width - left - SIZE, top, height - top - SIZE))
        count[:, :, top:top + SIZE, left:left + SIZE] += 1
    return preds / count


def of_concepts(maps):  # the highest of the texts
    return torch.stack([maps[:, [t for t, c in enumerate(CONCEPT_OF) if c == k]].amax(1) for k in range(CONCEPTS)], 1)


def areas(predicted, label, classes):
    keep = label != IGNORE
    predicted, label = predicted[keep], label[keep]
    hist = lambda x: torch.histc(x.float(), bins=classes, min=0, max=classes - 1)
    return torch.stack([hist(label), hist(predicted), hist(predicted[predicted == label])])


def metrics(total):  # labelled, predicted, both
    label, predicted, both = total.double()
    iou, accuracy = both / (label + predicted - both), both / label
    return [both.sum() / label.sum(), np.nanmean(iou.numpy()), np.nanmean(accuracy.numpy())]


def point_hits(maps, label, concept, size):
    fine = bilinear(maps[:, concept:concept + 1], size)[0, 0].numpy()
    # The map is flat beyond the outermost middles; of its highest pixels we take the one in the middle of the cell.
    cell = maps[0, concept].numpy().argmax()
    y = int((cell // maps.shape[3] + 0.5) / maps.shape[2] * size[0])
    x = int((cell % maps.shape[3] + 0.5) / maps.shape[3] * size[1])
    # The pixel that holds the middle of the cell is at most half a pixel off it.
    assert fine.max() - fine[min(y, size[0] - 1), min(x, size[1] - 1)] < 0.05
    v, u = np.meshgrid(np.arange(size[0]) - y, np.arange(size[1]) - x, indexing="ij")
    return bool(((label == concept + 1) & (v ** 2 + u ** 2 < TOLERANCE ** 2)).any())


def main(path):
    with h5py.File(path, "w") as f:
        f.attrs["generator"] = "tests/reference/make_localisation.py, torch " + torch.__version__
        f["texts"], f["concept_of"] = texts, CONCEPT_OF
        f.attrs["background"] = BACKGROUND
        sizes = [(45, 60), (64, 40), (48, 48)]
        totals = {}
        for i, size in enumerate(sizes):
            label = np.kron(rng.integers(0, CONCEPTS, (4, 5)), np.ones((16, 16), int))[: size[0], : size[1]]
            label[rng.random(size) < 0.05] = IGNORE
            label = np.where((label == 3) & (i != 1), 0, label)  # concept 2 in one image, concept 3 in none
            scale = SHORT / min(size)
            resized = [max(SHORT, int(s * scale + 0.5)) for s in size]
            count = len(list(windows(*resized)))
            g = f.create_group(f"image{i}")
            g["labels"], g["resized"] = label.astype(np.uint16), resized
            for protocol in ["whole", "slide"]:
                patches = rng.standard_normal((1 if protocol == "whole" else count, GRID * GRID, WIDTH)).astype(np.float32)
                g[protocol] = patches
                maps = cosines(patches)
                if protocol == "slide":
                    maps = slide(maps, *resized)
                fine = of_concepts(bilinear(maps, size))[0]
                score, best = fine.max(0)
                g[protocol + "_hits"] = [point_hits(of_concepts(maps), label, c, size) for c in range(CONCEPTS)]
                known = torch.from_numpy(label)
                # Without background: labels 1..C are classes 0..C-1, and 0 is ignored (mmseg's reduce_zero_label).
                plain = torch.where(known == 0, IGNORE, torch.where(known == IGNORE, IGNORE, known - 1))
                totals.setdefault(protocol, []).append(areas(best, plain, CONCEPTS))
                # With background: class 0.
                faint = torch.where(score < BACKGROUND, 0, best + 1)
                totals.setdefault(protocol + "_background", []).append(areas(faint, known, CONCEPTS + 1))
        for name, of_images in totals.items():
            total = torch.stack(of_images).sum(0)
            f[f"areas/{name}"] = total.numpy().astype(np.int64)
            f[f"metrics/{name}"] = metrics(total)
            print(name, total.tolist(), metrics(total))


main(sys.argv[1])
