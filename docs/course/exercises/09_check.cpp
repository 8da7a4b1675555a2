// Lesson 9: compares the exercise with vitral.
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/random.h"
#include "data/images/augment.h"
#include "docs/course/exercises/09_exercise.h"

using namespace vitral;

namespace {

int wrong = 0;

void say(const char* what, const std::string& problem) {
  fmt::print("{}: {}\n", what, problem.empty() ? "right" : "wrong: " + problem);
  if (!problem.empty()) ++wrong;
}

std::string problem_of_keys() {
  for (std::uint64_t epoch = 0; epoch < 3; ++epoch) {
    const std::uint64_t expected = random_key(5, epoch, 7), got = make_key(5, {epoch, 7});
    if (got != expected)
      return fmt::format(
          "key of 5, {}, 7: expected {:016x}, got {:016x}; a part is added to the constant first, then "
          "comes ^ with the key, then mix()",
          epoch, expected, got);
  }
  return make_key(5, {}) == random_key(5) ? "" : "the key of a seed alone is mix(seed)";
}

std::string problem_of_orders() {
  for (const std::int64_t n : {1, 2, 5, 100}) {
    std::vector<std::int64_t> expected(static_cast<std::size_t>(n));
    std::iota(expected.begin(), expected.end(), std::int64_t{0});
    Random random(3, n);
    for (std::size_t i = expected.size(); i > 1; --i) std::swap(expected[i - 1], expected[random.below(i)]);
    const std::vector<std::int64_t> got = shuffled_order(random_key(3, n), n);
    if (got == expected) continue;
    if (n > 5) return fmt::format("an order of {}: the first ones are right, this is not", n);
    return fmt::format(
        "an order of {}: expected {}, got {}; the first swap is of position n - 1 and takes number 0 of "
        "the stream",
        n, expected, got);
  }
  return "";
}

std::string problem_of_crops() {
  data::AugmentConfig config;
  config.random_crop = true;
  config.flip = 0.5F;
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    Augmentation drawn;
    data::write_augmentation(reinterpret_cast<std::uint8_t*>(&drawn), config, 40, 60, 32, seed);
    const bool flipped = drawn.mirrored != 0;
    const CropPlace expected{drawn.top, flipped ? 60 - 32 - drawn.left : drawn.left, flipped};
    const CropPlace got = random_crop(random_key(seed), 0.5, 40, 60, 32);
    if (got.top == expected.top && got.left == expected.left && got.mirrored == expected.mirrored) continue;
    return fmt::format("crop {}: expected top {}, left {}, mirrored {}, got {}, {}, {}; {}", seed,
                       expected.top, expected.left, expected.mirrored, got.top, got.left, got.mirrored,
                       got.mirrored != expected.mirrored ? "number 6 mirrors"
                       : got.top != expected.top ? "number 11 is the top; there are height - size + 1 places"
                       : expected.mirrored       ? "of a mirrored one, left is width - size - left"
                                           : "number 12 is the left; there are width - size + 1 places");
  }
  return "";
}

}  // namespace

int main() {
  say("make_key", problem_of_keys());
  say("shuffled_order", problem_of_orders());
  say("random_crop", problem_of_crops());
  return wrong > 0 ? 1 : 0;
}
