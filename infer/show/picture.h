// The activation picture: what each patch of an image says about a concept. One row an image: the image, then
// a heat map for each concept over a grey version of it, with the highest patch framed and the labelled box.
//
//   ActivationRow row{image, {{"red circle", scores, box}}, "val 17"};     // scores: float32 [rows,columns]
//   data::write_png("activations.png", draw_activations({row}));
//
// Scores (cosines) are interpolated bilinearly between the middles of patches. All heat maps share one range,
// shown on the scale bar, so that panels can be compared. Weights (a softmax over patches, attention) are
// drawn as the original does it: each patch of the image as bright as its share of the largest weight, which
// stands over the panel.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "infer/measure/objects.h"
#include "infer/show/canvas.h"
#include "tensor/tensor.h"

namespace vitral::infer {

enum class PanelKind {
  scores,  // a heat map
  weights  // the image, darkened; values not below 0
};

struct ActivationPanel {
  std::string label;       // what the scores are about; UTF-8
  Tensor scores;           // float32 [rows,columns]
  std::optional<Box> box;  // where the concept is, if that is known
  PanelKind kind = PanelKind::scores;
};

struct ActivationRow {
  Tensor image;  // uint8 [H,W,3], of any size
  std::vector<ActivationPanel> panels;
  std::string title;  // over the image
};

struct ActivationOptions {
  int cell = 192;             // pixels a side of the square that an image fits into
  std::optional<float> low;   // scores drawn darkest and brightest; default: the extremes of all panels,
  std::optional<float> high;  // but low at least 0 where anything is above 0
  std::string caption = "cosine of patch and concept";  // beside the scale bar
};

/// uint8 [H,W,3]. UsageError: no images, an image or scores of another shape or dtype, low >= high, a picture
/// of more than 2^27 pixels.
Tensor draw_activations(std::span<const ActivationRow> rows, const ActivationOptions& options = {});

/// Black over purple and orange to pale yellow, evenly brighter: t in 0..1. The colour map "inferno" of
/// matplotlib (Smith and van der Walt 2015, CC0), interpolated between ten of its colours.
Colour heat_colour(float t);

/// The image with each patch as bright as its share of the largest weight: uint8 [H,W,3], each channel
/// rounded down, as visualize_attention_patches() of the original's src/utils.py. weights float32
/// [rows,columns], not below 0; where none is positive and finite the image is black.
Tensor darken(const Tensor& image, const Tensor& weights);

}  // namespace vitral::infer
