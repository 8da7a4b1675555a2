#include "infer/measure/segmentation.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "infer/measure/patch_scores.h"

namespace vitral::infer {
namespace {

// What a pixel may hold beside the number of a concept.
constexpr std::int32_t outside = -1, several = -2, nothing = -3;

// Labels of S x S pixels.
std::vector<std::int32_t> labels(std::span<const LabelledObject> objects, std::int64_t size) {
  std::vector<std::int32_t> out(static_cast<std::size_t>(size * size), outside);
  // The pixels whose middles lie in [low, high).
  const auto first = [size](float edge) {
    return std::clamp(static_cast<std::int64_t>(std::ceil(double{edge} * static_cast<double>(size) - 0.5)),
                      std::int64_t{0}, size);
  };
  for (const LabelledObject& o : objects) {
    const auto label = static_cast<std::int32_t>(o.concept_index);
    for (std::int64_t y = first(o.box[1]); y < first(o.box[3]); ++y)
      for (std::int64_t x = first(o.box[0]); x < first(o.box[2]); ++x) {
        std::int32_t& at = out[static_cast<std::size_t>(y * size + x)];
        at = at == outside || at == label ? label : several;
      }
  }
  return out;
}

struct Prediction {
  std::vector<std::int32_t> label;
  std::vector<float> score;
};

Prediction predictions(const Tensor& patches, const Tensor& concepts, std::int64_t rows, std::int64_t columns,
                       std::int64_t size) {
  const auto pixels = static_cast<std::size_t>(size * size);
  Prediction out{std::vector<std::int32_t>(pixels, nothing),
                 std::vector<float>(pixels, -std::numeric_limits<float>::infinity())};
  for (std::int64_t c = 0; c < concepts.dim(0); ++c) {
    const Tensor cosines = patch_cosines(patches, concepts.rows(c, c + 1).reshape({concepts.dim(1)}));
    const Tensor fine = upsample_scores(cosines.reshape({rows, columns}), size, size);
    const float* score = fine.data<float>();
    for (std::size_t p = 0; p < pixels; ++p)
      if (score[p] > out.score[p]) {
        out.score[p] = score[p];
        out.label[p] = static_cast<std::int32_t>(c);
      }
  }
  return out;
}

void add_counts(PixelCounts& to, const PixelCounts& more) {
  to.labelled += more.labelled;
  to.predicted += more.predicted;
  to.both += more.both;
}

// The classes that have a labelled pixel.
std::vector<PixelCounts> present(const SegmentationResult& r) {
  std::vector<PixelCounts> out = r.concepts;
  if (r.background) out.push_back(*r.background);
  std::erase_if(out, [](const PixelCounts& c) { return c.labelled == 0; });
  return out;
}

double mean_of(const std::vector<PixelCounts>& classes, auto&& value) {
  double sum = 0;
  for (const PixelCounts& c : classes) sum += value(c);
  return classes.empty() ? 0 : sum / static_cast<double>(classes.size());
}

}  // namespace

double PixelCounts::iou() const {
  const std::int64_t either = labelled + predicted - both;
  return either > 0 ? static_cast<double>(both) / static_cast<double>(either) : 0;
}

double SegmentationResult::mean_iou() const {
  return mean_of(present(*this), [](const PixelCounts& c) { return c.iou(); });
}

double SegmentationResult::chance() const {
  const auto classes = static_cast<double>(concepts.size() + (background ? 1 : 0));
  const double drawn = static_cast<double>(pixels) / classes;  // predictions of one class
  return mean_of(present(*this), [&](const PixelCounts& c) {
    const auto labelled = static_cast<double>(c.labelled);
    return labelled / classes / (labelled + drawn - labelled / classes);
  });
}

Segmentation::Segmentation(const Tensor& concepts, std::int64_t rows, std::int64_t columns,
                           std::int64_t pixels, std::optional<float> background)
    : concepts_(concepts), rows_(rows), columns_(columns), pixels_(pixels), background_(background) {
  check_concepts("segmentation", concepts, rows, columns);
  VITRAL_CHECK(pixels > 0 && pixels <= 1 << 14, "segmentation: {} pixels a side, there must be 1..16384",
               pixels);
  result_.concepts.resize(static_cast<std::size_t>(concepts.dim(0)));
  if (background) result_.background.emplace();
}

SegmentationResult Segmentation::measure(const Tensor& patches,
                                         std::span<const LabelledObject> objects) const {
  const std::vector<std::int32_t> label = labels(objects, pixels_);
  const Prediction predicted = predictions(patches, concepts_, rows_, columns_, pixels_);
  SegmentationResult out;
  out.concepts.resize(result_.concepts.size());
  PixelCounts background, none;
  const auto counts = [&](std::int32_t which) -> PixelCounts& {
    return which >= 0 ? out.concepts[static_cast<std::size_t>(which)] : which == outside ? background : none;
  };
  for (std::size_t p = 0; p < label.size(); ++p) {
    if (label[p] == several) ++out.ambiguous;
    if (label[p] == several || (label[p] == outside && !background_)) continue;
    const bool faint = background_ && predicted.score[p] < *background_;
    const std::int32_t guess = faint ? outside : predicted.label[p];
    ++out.pixels;
    ++counts(label[p]).labelled;
    ++counts(guess).predicted;
    if (guess == label[p]) ++counts(guess).both;
  }
  if (background_) out.background = background;
  return out;
}

void Segmentation::add(const Tensor& patch_embeddings, std::span<const LabelledObject> objects) {
  check_objects("segmentation", patch_embeddings, rows_, columns_, concepts_, objects);
  const std::int64_t images = patch_embeddings.dim(0);
  std::vector<std::vector<LabelledObject>> of_image(static_cast<std::size_t>(images));
  for (const LabelledObject& o : objects) of_image[static_cast<std::size_t>(o.image)].push_back(o);
  std::vector<SegmentationResult> measured(of_image.size());
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t i = 0; i < images; ++i) {
    const auto k = static_cast<std::size_t>(i);
    if (!of_image[k].empty())
      measured[k] =
          measure(patch_embeddings.rows(i, i + 1).reshape({rows_ * columns_, concepts_.dim(1)}), of_image[k]);
  }
  for (const SegmentationResult& m : measured) {
    for (std::size_t c = 0; c < m.concepts.size(); ++c) add_counts(result_.concepts[c], m.concepts[c]);
    if (m.background) add_counts(*result_.background, *m.background);
    result_.pixels += m.pixels;
    result_.ambiguous += m.ambiguous;
  }
}

}  // namespace vitral::infer
