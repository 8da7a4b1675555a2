// Checks the exercise of lesson 11 against vitral.
#include <bit>
#include <cmath>
#include <vector>

#include <fmt/format.h>

#include "autograd/ops.h"
#include "docs/course/exercises/11_exercise.h"
#include "tensor/profile.h"

using namespace vitral;

namespace {

bool check_bfloat16() {
  struct Kind {
    const char* what;
    std::uint32_t lower;
  };
  constexpr Kind kinds[] = {{"that are bfloat16 already", 0},
                            {"below the middle of two: the lower 16 bits are cut off", 0x7FFF},
                            {"above the middle of two: one more in the upper 16 bits", 0x8001},
                            {"in the middle of two: the upper 16 bits become even", 0x8000}};
  for (const bool nan : {false, true})
    for (const Kind& kind : kinds)
      for (std::uint32_t upper = 0; upper < 65536; ++upper) {
        const auto x = std::bit_cast<float>(upper << 16 | kind.lower);
        if (std::isnan(x) != nan) continue;
        const Tensor real = Tensor::from(std::vector<float>{x}, {1}).cast(DType::bfloat16);
        const std::uint16_t expected = *static_cast<const std::uint16_t*>(real.raw()), got = to_bfloat16(x);
        const bool right = nan ? (got & 0x7F80U) == 0x7F80U && (got & 0x7FU) != 0 : got == expected;
        if (right) continue;
        fmt::print("to_bfloat16: wrong: expected {:#06x} of {} ({:#010x}), got {:#06x}; try numbers {}\n",
                   expected, x, upper << 16 | kind.lower, got,
                   nan ? "that are NaN: rounding them can make them infinite or zero" : kind.what);
        return false;
      }
  fmt::print("to_bfloat16: right\n");
  return true;
}

bool check_number(const char* name, double got, double expected, const char* hint) {
  if (std::abs(got - expected) < 1e-9 * expected) {
    fmt::print("{}: right\n", name);
    return true;
  }
  fmt::print("{}: wrong: expected {:.6g}, got {:.6g}; {}\n", name, expected, got, hint);
  return false;
}

// What vitral counts when it runs f.
template <class F>
OperationProfile profile_of(F&& f) {
  Profile profile;
  {
    const Profile::Use use(profile);
    f();
  }
  return profile.operations().at(0);
}

bool check_intensities() {
  const Variable a(Tensor::full({64, 256}, 1)), b(Tensor::full({256, 32}, 1)), c(Tensor::full({64, 256}, 1));
  const OperationProfile sum = profile_of([&] { add(a, c); });
  const OperationProfile product = profile_of([&] { matmul(a, b); });
  const OperationProfile attended = profile_of([&] {
    neighbourhood_attention(Variable(Tensor::full({1, 64, 96}, 1)), 2, {.grid = {8, 8}, .window = 5});
  });
  bool right = check_number("add_intensity", add_intensity(), 64 * 256 / sum.bytes,
                            "one addition, two numbers read and one written");
  right &= check_number("product_intensity", product_intensity(64, 32, 256, 4), product.flops / product.bytes,
                        "M N K multiplications, as many additions; A, B and C once each");
  right &= check_number("product_intensity in bfloat16", product_intensity(64, 32, 256, 2),
                        2 * product.flops / product.bytes, "half the bytes are twice the intensity");
  right &=
      check_number("neighbourhood_attention_intensity", neighbourhood_attention_intensity(5),
                   64.0 * 32 * 25 * 4 / attended.bytes,
                   "a neighbour costs a token W multiplications and W additions in q k, and as many in v");
  return right;
}

}  // namespace

int main() {
  const bool bits = check_bfloat16(), intensities = check_intensities();
  return bits && intensities ? 0 : 1;
}
