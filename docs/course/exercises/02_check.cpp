// Says whether the exercises of lesson 2 are right: beside vitral's tensors and its allocator.
#include <string>

#include "autograd/ops.h"
#include "docs/course/exercises/02_exercise.h"

namespace {

using exercise::Dims;
using vitral::Tensor;

bool all_right = true;

// Prints what is wrong with an exercise at the first number that is, else that it is right.
struct Exercise {
  explicit Exercise(const char* called) : name(called) {}
  ~Exercise() {
    if (right) fmt::print("{}: right\n", name);
    all_right = all_right && right;
  }
  Exercise(const Exercise&) = delete;
  Exercise& operator=(const Exercise&) = delete;

  template <class T>
  void expect(const std::string& what, const T& expected, const T& got, const std::string& hint) {
    if (!right || expected == got) return;
    right = false;
    fmt::print("{}: wrong: {}: expected {}, got {}. {}\n", name, what, expected, got, hint);
  }

  const char* name;
  bool right = true;
};

std::string joined(const Dims& numbers) { return fmt::format("{}", fmt::join(numbers, " ")); }

void check_strides() {
  Exercise exercise("1, strides");
  const std::pair<Dims, Dims> rows[] = {
      {{7}, {1}}, {{2, 3}, {3, 1}}, {{2, 3, 4}, {12, 4, 1}}, {{5, 1, 6, 2}, {12, 12, 2, 1}}};
  for (const auto& [shape, strides] : rows)
    exercise.expect(fmt::format("of [{}]", fmt::join(shape, ", ")), joined(strides),
                    joined(exercise::strides(shape)),
                    "The last is 1; each other is the product of all sizes behind it.");
}

void check_offset() {
  Exercise exercise("2, offset");
  exercise.expect<std::int64_t>("of 1 2 3 with strides 12 4 1", 23, exercise::offset({1, 2, 3}, {12, 4, 1}),
                                "12 + 2 4 + 3.");
  exercise.expect<std::int64_t>("of 1 3 2 with strides 12 1 4", 23, exercise::offset({1, 3, 2}, {12, 1, 4}),
                                "The same element, seen as [2, 4, 3].");
  exercise.expect<std::int64_t>("of 0 with strides 1", 0, exercise::offset({0}, {1}), "The first element.");
}

void check_permute() {
  Exercise exercise("3, permute");
  const auto compare = [&](const Dims& shape, const std::vector<std::size_t>& axes,
                           const vitral::Variable& real) {
    std::vector<float> x;
    for (std::int64_t i = 0; i < real.value().numel(); ++i) x.push_back(static_cast<float>(i));
    const std::vector<float> got = exercise::permute(x, shape, axes);
    const std::string what = fmt::format("[{}] by axes {}", fmt::join(shape, ", "), fmt::join(axes, " "));
    exercise.expect(what + ", how many elements", x.size(), got.size(), "As many as x has.");
    for (std::size_t i = 0; exercise.right && i < got.size(); ++i)
      exercise.expect(
          fmt::format("{}, element {} of the result", what, i), real.value().data<float>()[i], got[i],
          "The index is one in the new shape; the strides are those of x, in the order of `axes`.");
  };
  const auto counted = [](const vitral::Shape& shape) {
    Tensor x(shape);
    for (std::int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = static_cast<float>(i);
    return vitral::Variable(x);
  };
  compare({2, 3}, {1, 0}, permute(counted({2, 3}), {1, 0}));
  compare({2, 3, 4}, {2, 0, 1}, permute(counted({2, 3, 4}), {2, 0, 1}));
  compare({2, 3, 4, 5}, {0, 2, 3, 1}, permute(counted({2, 3, 4, 5}), {0, 2, 3, 1}));
}

void check_size_class() {
  Exercise exercise("4, size_class");
  for (const std::int64_t bytes :
       {1, 64, 65, 100, 128, 129, 161, 4096, 5000, 135168, 1 << 20, (1 << 20) + 1, 1100000, 5000000}) {
    const std::size_t before = vitral::allocator_stats(vitral::cpu).bytes_in_use;
    const Tensor t({bytes}, vitral::DType::uint8);
    exercise.expect(fmt::format("of {} bytes", bytes),
                    vitral::allocator_stats(vitral::cpu).bytes_in_use - before,
                    exercise::size_class(static_cast<std::size_t>(bytes)),
                    "The power of two is below `bytes`, not equal to it; the steps of that power are 4, or "
                    "32 above 1 MiB.");
  }
}

}  // namespace

int main() {
  check_strides();
  check_offset();
  check_permute();
  check_size_class();
  return all_right ? 0 : 1;
}
