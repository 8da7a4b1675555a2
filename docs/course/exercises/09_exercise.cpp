// Lesson 9: fill in the three functions; `scripts/course 9 check` says whether they are right.
#include "docs/course/exercises/09_exercise.h"

std::uint64_t make_key(std::uint64_t /*seed*/, const std::vector<std::uint64_t>& /*parts*/) {
  // Begin here: mix() the seed, then each part into what is there.
  return 0;
}

std::vector<std::int64_t> shuffled_order(std::uint64_t /*key*/, std::int64_t n) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  // Begin here: order[i] = i, then swap from the end.
  return order;
}

CropPlace random_crop(std::uint64_t /*key*/, double /*flip*/, std::int64_t /*height*/, std::int64_t /*width*/,
                      std::int64_t /*size*/) {
  // Begin here: a function that gives u_k.
  return {};
}
