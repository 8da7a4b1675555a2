#include "data/annotations/rasterise.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <utility>

namespace vitral::data {
namespace {

constexpr int scale = 5;

struct Point {
  int x = 0, y = 0;
};

// The points of the line from a to b, both included, one for each step along its longer side; calls
// take(Point) in that order. The shorter side is computed from the end with the smaller coordinate, so that a
// line has the same points in both directions.
template <class Take>
void walk_line(Point a, Point b, Take&& take) {
  const int dx = std::abs(b.x - a.x), dy = std::abs(b.y - a.y);
  const bool flat = dx >= dy;
  const bool turned = flat ? a.x > b.x : a.y > b.y;
  const auto [from, to] = turned ? std::pair(b, a) : std::pair(a, b);
  const int steps = std::max(dx, dy);
  if (steps == 0) return take(a);
  const double slope =
      flat ? static_cast<double>(to.y - from.y) / dx : static_cast<double>(to.x - from.x) / dy;
  for (int d = 0; d <= steps; ++d) {
    const int t = turned ? steps - d : d;
    // NOLINTBEGIN(bugprone-incorrect-roundings): as pycocotools rounds
    if (flat)
      take(Point{from.x + t, static_cast<int>(from.y + slope * t + .5)});
    else
      take(Point{static_cast<int>(from.x + slope * t + .5), from.y + t});
    // NOLINTEND(bugprone-incorrect-roundings)
  }
}

}  // namespace

bool to_fifths(double pixels, std::int32_t& fifths) {
  const double value = scale * pixels + .5;
  if (!(std::abs(value) < 1 << 28)) return false;
  fifths = static_cast<std::int32_t>(value);
  return true;
}

Runs runs_of_polygon(std::span<const std::int32_t> corners, std::int64_t height, std::int64_t width) {
  // Where the outline crosses the middle of a column of pixels: the number of the first pixel below.
  std::vector<std::uint32_t> crossings;
  const std::size_t count = corners.size() / 2;
  bool begun = false;
  Point last;
  for (std::size_t j = 0; j < count; ++j) {
    const std::size_t next = j + 1 == count ? 0 : j + 1;
    walk_line({corners[2 * j], corners[2 * j + 1]}, {corners[2 * next], corners[2 * next + 1]}, [&](Point p) {
      const Point before = std::exchange(last, p);
      if (!std::exchange(begun, true) || p.x == before.x) return;
      const double column = ((p.x < before.x ? p.x : p.x - 1) + .5) / scale - .5;
      if (std::floor(column) != column || column < 0 || column > static_cast<double>(width - 1)) return;
      const double y = (std::min(p.y, before.y) + .5) / scale - .5;
      const double row = std::ceil(std::clamp(y, 0.0, static_cast<double>(height)));
      crossings.push_back(static_cast<std::uint32_t>(static_cast<std::int64_t>(column) * height +
                                                     static_cast<std::int64_t>(row)));
    });
  }
  crossings.push_back(static_cast<std::uint32_t>(height * width));
  std::sort(crossings.begin(), crossings.end());
  std::adjacent_difference(crossings.begin(), crossings.end(), crossings.begin());
  Runs runs{crossings.front()};
  for (std::size_t j = 1; j < crossings.size(); ++j) {
    if (crossings[j] > 0)
      runs.push_back(crossings[j]);
    else if (++j < crossings.size())  // two crossings at one place: the inside stays as it was
      runs.back() += crossings[j];
  }
  return runs;
}

Runs merge_runs(const Runs& a, const Runs& b) {
  struct Reader {
    const Runs& runs;
    std::size_t next = 0;
    std::uint64_t left = 0;
    bool inside = true;

    void take(std::uint64_t n) {
      left -= n;
      while (left == 0 && next < runs.size()) {
        left = runs[next++];
        inside = !inside;
      }
    }
  } one{a}, other{b};
  one.take(0);
  other.take(0);
  Runs out;
  bool inside = false;
  std::uint32_t run = 0;
  while (one.left > 0 && other.left > 0) {
    if ((one.inside || other.inside) != inside) {
      out.push_back(std::exchange(run, 0));
      inside = !inside;
    }
    const std::uint64_t n = std::min(one.left, other.left);
    run += static_cast<std::uint32_t>(n);
    one.take(n);
    other.take(n);
  }
  out.push_back(run);
  return out;
}

bool decode_runs(std::string_view text, Runs& runs) {
  constexpr std::int64_t longest = std::int64_t{1} << 32;
  runs.clear();
  for (std::size_t at = 0; at < text.size();) {
    // Five bits a character from the lowest on; 32 says that there are more, 16 of the last is the sign.
    std::int64_t value = 0;
    for (int shift = 0;; shift += 5) {
      if (at == text.size() || shift > 35) return false;
      const int bits = static_cast<unsigned char>(text[at++]) - '0';
      if (bits < 0 || bits > 63) return false;
      value |= static_cast<std::int64_t>(bits & 31) << shift;
      if ((bits & 32) != 0) continue;
      if ((bits & 16) != 0) value -= std::int64_t{1} << (shift + 5);
      break;
    }
    if (runs.size() > 2) value += runs[runs.size() - 2];
    if (value < 0 || value >= longest) return false;
    runs.push_back(static_cast<std::uint32_t>(value));
  }
  return true;
}

std::uint64_t area_of(const Runs& runs) {
  std::uint64_t area = 0;
  for (std::size_t k = 1; k < runs.size(); k += 2) area += runs[k];
  return area;
}

LabelCanvas::LabelCanvas(std::int64_t height, std::int64_t width)
    : height_(height), width_(width), columns_(static_cast<std::size_t>(height * width), LabelMap::none) {}

void LabelCanvas::paint(const Runs& runs, std::uint16_t label) {
  auto at = columns_.begin();
  for (std::size_t k = 0; k < runs.size(); ++k) {
    const auto n = std::min(static_cast<std::ptrdiff_t>(runs[k]), columns_.end() - at);
    if (k % 2 == 1) std::fill(at, at + n, label);
    at += n;
  }
}

void LabelCanvas::paint_box(double x0, double y0, double x1, double y1, std::uint16_t label) {
  const auto pixel = [](double v, std::int64_t end) {
    return static_cast<std::int64_t>(std::clamp(v, 0.0, static_cast<double>(end)));
  };
  const std::int64_t top = pixel(std::floor(y0), height_), bottom = pixel(std::ceil(y1), height_);
  for (std::int64_t x = pixel(std::floor(x0), width_); x < pixel(std::ceil(x1), width_); ++x)
    std::fill(columns_.begin() + x * height_ + top, columns_.begin() + x * height_ + std::max(top, bottom),
              label);
}

LabelMap LabelCanvas::finish() const {
  LabelMap map{height_, width_, {}};
  map.labels.resize(columns_.size());
  for (std::int64_t y = 0; y < height_; ++y)
    for (std::int64_t x = 0; x < width_; ++x)
      map.labels[static_cast<std::size_t>(y * width_ + x)] =
          columns_[static_cast<std::size_t>(x * height_ + y)];
  return map;
}

}  // namespace vitral::data
