// What a model says of texts all over one image: a map of cells for each text.
//
//   whole   the image is stretched to the S x S pixels that the model reads; cells are patches
//   slide   the image is brought to a short side of 1.5 S pixels, windows of S x S cut out of it every S / 2,
//           and the maps of all windows, brought to pixels, averaged where they lie over each other; cells
//           are the pixels of the resized image. The protocol of open-vocabulary segmentation without
//           training (SCLIP, arXiv 2312.01597; NACLIP, arXiv 2404.08181: 336, 224 and 112 pixels), by mmseg's
//           places: every S / 2 from the top left, the last ones moved inside
#pragma once
#include <cstdint>
#include <vector>

#include "tensor/tensor.h"

namespace vitral::infer {

enum class Protocol : std::uint8_t { whole, slide };
constexpr const char* name(Protocol p) { return p == Protocol::whole ? "whole" : "slide"; }

struct Windows {
  std::int64_t height = 0, width = 0, side = 0;  // pixels of the resized image, and of a window
  std::vector<std::int64_t> tops, lefts;         // every top with every left, row-major

  std::int64_t count() const { return static_cast<std::int64_t>(tops.size() * lefts.size()); }
};
/// Of an image of height x width pixels that is not smaller than one window; UsageError where it is.
Windows sliding_windows(std::int64_t height, std::int64_t width, std::int64_t side, std::int64_t stride);

/// uint8 [H,W,3] as the windows of a model of `size` pixels [K,S,S,3], K = 1 of the whole image. `windows`:
/// where they lie, undefined of the whole image. Error: an image so narrow that it would have more than
/// data::max_image_pixels.
Tensor cut_windows(const Tensor& image, int size, Protocol protocol, Windows& windows);

class ScoreMaps {
 public:
  /// cosines: float32 [K,T,rows*columns], of the patches of K windows.
  ScoreMaps(Tensor cosines, std::int64_t rows, std::int64_t columns, Windows windows = {});

  std::int64_t texts() const { return cosines_.dim(1); }
  std::int64_t rows() const { return is_whole() ? rows_ : windows_.height; }
  std::int64_t columns() const { return is_whole() ? columns_ : windows_.width; }
  /// float32 [rows(),columns()] of text t; lies in `buffer` where it has to be computed.
  const float* map(std::int64_t t, std::vector<float>& buffer) const;

 private:
  bool is_whole() const { return windows_.side == 0; }

  Tensor cosines_;
  std::int64_t rows_, columns_;
  Windows windows_;
};

}  // namespace vitral::infer
