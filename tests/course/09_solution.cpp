// Lesson 9: the solution.
#include <numeric>
#include <utility>

#include "docs/course/exercises/09_exercise.h"

__extension__ using Product = unsigned __int128;

std::uint64_t make_key(std::uint64_t seed, const std::vector<std::uint64_t>& parts) {
  std::uint64_t key = mix(seed);
  for (const std::uint64_t part : parts) key = mix(key ^ (part + 0xD1B54A32D192ED03));
  return key;
}

std::vector<std::int64_t> shuffled_order(std::uint64_t key, std::int64_t n) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  std::uint64_t counter = 0;
  for (std::size_t i = order.size(); i > 1; --i) {
    const auto r = static_cast<std::size_t>((Product{number(key, counter++)} * i) >> 64);
    std::swap(order[i - 1], order[r]);
  }
  return order;
}

CropPlace random_crop(std::uint64_t key, double flip, std::int64_t height, std::int64_t width,
                      std::int64_t size) {
  const auto uniform = [key](std::uint64_t k) { return static_cast<double>(number(key, k) >> 11) * 0x1p-53; };
  const auto place = [](double u, std::int64_t places) {
    return static_cast<std::int64_t>(u * static_cast<double>(places));
  };
  CropPlace crop;
  crop.mirrored = uniform(6) < flip;
  crop.top = place(uniform(11), height - size + 1);
  crop.left = place(uniform(12), width - size + 1);
  if (crop.mirrored) crop.left = width - size - crop.left;
  return crop;
}
