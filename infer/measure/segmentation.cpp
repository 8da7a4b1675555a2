#include "infer/measure/segmentation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/clones.h"
#include "infer/measure/patch_scores.h"

namespace vitral::infer {
namespace {

constexpr std::int32_t left_out = -1;

// One row of pixels: text t where its score is the highest so far.
VITRAL_CLONES void take_best(const float* first, const float* second, float amount, std::int32_t text,
                             float* __restrict best, std::int32_t* __restrict which, std::int64_t n) {
  for (std::int64_t x = 0; x < n; ++x) {
    const float score = first[x] + amount * (second[x] - first[x]);
    const bool better = score > best[x];
    best[x] = better ? score : best[x];
    which[x] = better ? text : which[x];
  }
}

double mean_of(const std::vector<PixelCounts>& classes, auto&& value) {
  double sum = 0;
  for (const PixelCounts& c : classes) sum += value(c);
  return classes.empty() ? 0 : sum / static_cast<double>(classes.size());
}

}  // namespace

LabelMap labels_of_boxes(std::span<const LabelledObject> objects, std::int64_t size) {
  LabelMap out{size, size, std::vector<std::uint16_t>(static_cast<std::size_t>(size * size), LabelMap::none)};
  // The pixels whose middles lie in [low, high).
  const auto first = [size](float edge) {
    return std::clamp(static_cast<std::int64_t>(std::ceil(double{edge} * static_cast<double>(size) - 0.5)),
                      std::int64_t{0}, size);
  };
  for (const LabelledObject& o : objects) {
    const auto label = static_cast<std::uint16_t>(o.concept_index + 1);
    for (std::int64_t y = first(o.box[1]); y < first(o.box[3]); ++y)
      for (std::int64_t x = first(o.box[0]); x < first(o.box[2]); ++x) {
        std::uint16_t& at = out.labels[static_cast<std::size_t>(y * size + x)];
        at = at == LabelMap::none || at == label ? label : LabelMap::ignore;
      }
  }
  return out;
}

double PixelCounts::iou() const {
  const std::int64_t either = labelled + predicted - both;
  return either > 0 ? static_cast<double>(both) / static_cast<double>(either) : 0;
}

void PixelCounts::add(const PixelCounts& more, std::int64_t times) {
  labelled += times * more.labelled;
  predicted += times * more.predicted;
  both += times * more.both;
}

void SegmentationResult::add(const ImageSegmentation& image, std::int64_t times) {
  ambiguous += times * image.ignored;
  for (std::size_t i = 0; i < image.classes.size(); ++i) {
    const auto c = static_cast<std::size_t>(image.classes[i]);
    (c < concepts.size() ? concepts[c] : background.value()).add(image.counts[i], times);
    pixels += times * image.counts[i].labelled;
  }
}

std::vector<PixelCounts> SegmentationResult::averaged() const {
  std::vector<PixelCounts> out = concepts;
  if (background) out.push_back(*background);
  std::erase_if(out,
                [this](const PixelCounts& c) { return c.labelled == 0 && !(on_masks && c.predicted > 0); });
  return out;
}

double SegmentationResult::mean_iou() const {
  return mean_of(averaged(), [](const PixelCounts& c) { return c.iou(); });
}

double SegmentationResult::chance() const {
  const auto classes = static_cast<double>(concepts.size() + (background ? 1 : 0));
  const double drawn = static_cast<double>(pixels) / classes;  // predictions of one class
  return mean_of(averaged(), [&](const PixelCounts& c) {
    const auto labelled = static_cast<double>(c.labelled);
    return labelled / classes / (labelled + drawn - labelled / classes);
  });
}

double SegmentationResult::pixel_accuracy() const {
  std::int64_t right = background ? background->both : 0;
  for (const PixelCounts& c : concepts) right += c.both;
  return pixels > 0 ? static_cast<double>(right) / static_cast<double>(pixels) : 0;
}

double SegmentationResult::mean_accuracy() const {
  std::vector<PixelCounts> labelled = averaged();
  std::erase_if(labelled, [](const PixelCounts& c) { return c.labelled == 0; });
  return mean_of(labelled, [](const PixelCounts& c) {
    return static_cast<double>(c.both) / static_cast<double>(c.labelled);
  });
}

Segmentation::Segmentation(std::int64_t concepts, std::vector<std::int64_t> concept_of,
                           std::optional<float> background)
    : concepts_(concepts), concept_of_(std::move(concept_of)), background_(background) {
  VITRAL_CHECK(concepts > 0 && concepts <= LabelMap::most_concepts,
               "segmentation: {} concepts, there must be 1..{}", concepts, LabelMap::most_concepts);
  for (const std::int64_t c : concept_of_)
    VITRAL_CHECK(c >= 0 && c < concepts + (background ? 1 : 0),
                 "segmentation: a text of concept {}, there are {}", c, concepts);
}

SegmentationResult Segmentation::nothing(bool on_masks) const {
  SegmentationResult out;
  out.on_masks = on_masks;
  out.concepts.resize(static_cast<std::size_t>(concepts_));
  if (background_) out.background.emplace();
  return out;
}

std::int32_t Segmentation::class_of(std::uint16_t label) const {
  if (label == LabelMap::ignore) return left_out;
  if (label == LabelMap::none) return background_ ? static_cast<std::int32_t>(concepts_) : left_out;
  VITRAL_CHECK(label <= concepts_, "segmentation: label {} is none of {} concepts", label, concepts_);
  return label - 1;
}

ImageSegmentation Segmentation::count(const LabelMap& labels,
                                      const std::vector<std::int32_t>& predicted) const {
  const auto classes = static_cast<std::size_t>(concepts_ + 1);
  std::vector<PixelCounts> counts(classes + 1);  // the last: predicted as nothing
  ImageSegmentation out;
  for (std::size_t p = 0; p < labels.labels.size(); ++p) {
    const std::int32_t label = class_of(labels.labels[p]);
    if (label == left_out) {
      out.ignored += labels.labels[p] == LabelMap::ignore ? 1 : 0;
      continue;
    }
    const auto own = static_cast<std::size_t>(label), guess = static_cast<std::size_t>(predicted[p]);
    ++counts[own].labelled;
    ++counts[guess].predicted;
    if (own == guess) ++counts[own].both;
  }
  for (std::size_t c = 0; c < classes; ++c)
    if (counts[c].labelled > 0 || counts[c].predicted > 0) {
      out.classes.push_back(static_cast<std::int64_t>(c));
      out.counts.push_back(counts[c]);
    }
  return out;
}

ImageSegmentation Segmentation::measure(const ScoreMaps& maps, const LabelMap& labels) const {
  VITRAL_CHECK(maps.texts() == static_cast<std::int64_t>(concept_of_.size()),
               "segmentation: maps of {} texts, there must be {}", maps.texts(), concept_of_.size());
  const auto pixels = labels.labels.size();
  const Upsampling up(maps.rows(), maps.columns(), labels.height, labels.width);
  std::vector<float> best(pixels, -std::numeric_limits<float>::infinity()), buffer,
      wide(static_cast<std::size_t>(maps.rows() * labels.width));
  std::vector<std::int32_t> which(pixels, left_out);
  for (std::int64_t t = 0; t < maps.texts(); ++t) {
    up.widen(maps.map(t, buffer), wide.data());
    for (std::int64_t y = 0; y < labels.height; ++y) {
      const auto [first, second, amount] = up.row(wide.data(), y);
      const std::int64_t at = y * labels.width;
      take_best(first, second, amount, static_cast<std::int32_t>(t), best.data() + at, which.data() + at,
                labels.width);
    }
  }
  const auto background = static_cast<std::int32_t>(concepts_);
  for (std::size_t p = 0; p < pixels; ++p) {
    std::int32_t& guess = which[p];
    if (background_ && best[p] < *background_)
      guess = background;
    else
      guess = guess == left_out ? background + 1
                                : static_cast<std::int32_t>(concept_of_[static_cast<std::size_t>(guess)]);
  }
  return count(labels, which);
}

ImageSegmentation Segmentation::ceiling(const LabelMap& labels, double rows, double columns) const {
  const auto cell = [](std::int64_t pixel, std::int64_t pixels, double cells) {
    return static_cast<std::size_t>((static_cast<double>(pixel) + 0.5) / static_cast<double>(pixels) * cells);
  };
  const auto across = static_cast<std::size_t>(std::ceil(columns)),
             classes = static_cast<std::size_t>(concepts_ + 1);
  std::vector<std::size_t> column;
  for (std::int64_t x = 0; x < labels.width; ++x) column.push_back(cell(x, labels.width, columns));
  std::vector<std::int64_t> seen(static_cast<std::size_t>(std::ceil(rows)) * across * classes, 0);
  // f of each pixel and the first of its cell's counts.
  const auto each = [&](auto&& f) {
    std::size_t p = 0;
    for (std::int64_t y = 0; y < labels.height; ++y) {
      const std::size_t row = cell(y, labels.height, rows) * across;
      for (std::int64_t x = 0; x < labels.width; ++x, ++p)
        f(p, (row + column[static_cast<std::size_t>(x)]) * classes);
    }
  };
  each([&](std::size_t p, std::size_t at) {
    const std::int32_t label = class_of(labels.labels[p]);
    if (label != left_out) ++seen[at + static_cast<std::size_t>(label)];
  });
  std::vector<std::int32_t> most(seen.size() / classes);
  for (std::size_t c = 0; c < most.size(); ++c) {
    const auto from = seen.begin() + static_cast<std::ptrdiff_t>(c * classes);
    most[c] =
        static_cast<std::int32_t>(std::max_element(from, from + static_cast<std::ptrdiff_t>(classes)) - from);
  }
  std::vector<std::int32_t> predicted(labels.labels.size());
  each([&](std::size_t p, std::size_t at) { predicted[p] = most[at / classes]; });
  return count(labels, predicted);
}

}  // namespace vitral::infer
