#include "data/annotations/annotations.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace vitral::data {
namespace {

std::string name_of(const AnnotatedImage& image, const AnnotatedObject& object) {
  return fmt::format("{}: {} {} of {}", image.source, image.kind, object.id, image.name);
}

Runs runs_of(const Region& region, std::int64_t height, std::int64_t width) {
  if (region.ends.empty()) return region.runs;
  Runs all;
  std::uint32_t begin = 0;
  for (const std::uint32_t end : region.ends) {
    Runs runs = runs_of_polygon(std::span(region.corners).subspan(begin, end - begin), height, width);
    all = begin == 0 ? std::move(runs) : merge_runs(all, runs);
    begin = end;
  }
  return all;
}

void check_region(const AnnotatedImage& image, const AnnotatedObject& object, const Region& region,
                  std::int64_t height, std::int64_t width) {
  if (!region.runs.empty()) {
    if (region.height != height || region.width != width)
      throw_error(
          "{}: its mask is of {} x {} pixels but the image has {} x {}; give the images that it was made of",
          name_of(image, object), region.width, region.height, width, height);
    const auto covered = std::accumulate(region.runs.begin(), region.runs.end(), std::uint64_t{0});
    if (covered != static_cast<std::uint64_t>(height * width))
      throw_error("{}: the runs of its mask cover {} of {} pixels, it is damaged; write it again",
                  name_of(image, object), covered, height * width);
  }
  for (std::size_t k = 0; k < region.corners.size(); ++k) {
    const std::int64_t reach = 5 * (k % 2 == 0 ? width : height), at = region.corners[k];
    if (at < -reach || at > 2 * reach)
      throw_error("{}: a corner of its polygon lies at {} {}, far outside {} x {} pixels; correct it",
                  name_of(image, object), k % 2 == 0 ? "x" : "y", static_cast<double>(at) / 5, width, height);
  }
}

}  // namespace

void clip_boxes(AnnotatedImage& image, std::int64_t height, std::int64_t width) {
  for (AnnotatedObject& object : image.objects) {
    auto& [x0, y0, x1, y1] = object.box;
    const auto w = static_cast<double>(width), h = static_cast<double>(height);
    if (x0 > w || x1 < 0 || y0 > h || y1 < 0)
      throw_error("{}: its box ({}, {}, {}, {}) lies outside {} x {} pixels; correct or remove it",
                  name_of(image, object), x0, y0, x1, y1, width, height);
    x0 = std::clamp(x0, 0.0, w), x1 = std::clamp(x1, 0.0, w);
    y0 = std::clamp(y0, 0.0, h), y1 = std::clamp(y1, 0.0, h);
  }
}

LabelMap paint_objects(const AnnotatedImage& image, const std::vector<Region>& regions, std::int64_t height,
                       std::int64_t width) {
  LabelCanvas canvas(height, width);
  struct Layer {
    Runs runs;
    std::uint64_t area;
    std::uint16_t label;
  };
  std::vector<Layer> layers;
  for (std::size_t k = 0; k < image.objects.size(); ++k) {
    const AnnotatedObject& object = image.objects[k];
    check_region(image, object, regions[k], height, width);
    if (regions[k].empty()) {
      const auto [x0, y0, x1, y1] = object.box;
      canvas.paint_box(x0, y0, x1, y1, LabelMap::ignore);
      continue;
    }
    Runs runs = runs_of(regions[k], height, width);
    if (object.crowd) {
      canvas.paint(runs, LabelMap::ignore);
      continue;
    }
    const std::uint64_t area = area_of(runs);
    layers.push_back({std::move(runs), area, static_cast<std::uint16_t>(object.concept_index + 1)});
  }
  std::stable_sort(layers.begin(), layers.end(),
                   [](const Layer& a, const Layer& b) { return a.area > b.area; });
  for (const Layer& layer : layers) canvas.paint(layer.runs, layer.label);
  return canvas.finish();
}

}  // namespace vitral::data
