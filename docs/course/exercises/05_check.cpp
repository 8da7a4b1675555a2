// Checks the exercise of lesson 5 against vitral's neighbourhood attention.
#include <cmath>

#include "docs/course/exercises/05_exercise.h"
#include "nn/nn.h"

using namespace vitral;
using Numbers = std::vector<double>;

namespace {

// Prints the verdict.
bool report(const char* exercise, bool right, const std::string& why = "") {
  fmt::print("{}: {}\n", exercise, right ? "right" : "wrong: " + why);
  return right;
}

const Neighbourhood cases[] = {{{8, 8}, 3, 1, 0}, {{8, 8}, 3, 2, 0}, {{5, 9}, 5, 2, 0}, {{4, 3}, 7, 3, 0}};

std::string text(const Neighbourhood& n) {
  return fmt::format("grid {} x {}, window {}, dilation {}", n.grid.rows, n.grid.columns, n.window,
                     n.dilation);
}

struct Sizes {
  explicit Sizes(const Neighbourhood& n)
      : rows(static_cast<int>(n.grid.rows)),
        columns(static_cast<int>(n.grid.columns)),
        window(static_cast<int>(n.window)),
        dilation(static_cast<int>(n.dilation)) {}
  int rows, columns, window, dilation;
};

bool check_sees() {
  for (const Neighbourhood& n : cases) {
    const Sizes s(n);
    for (int i = 0; i < s.rows * s.columns; ++i)
      for (int j = 0; j < s.rows * s.columns; ++j)
        if (const bool got = sees(i, j, s.rows, s.columns, s.window, s.dilation); got != n.sees(i, j))
          return report("sees", false,
                        fmt::format("{}: {} sees {}: expected {}, got {}; {}", text(n), i, j, !got, got,
                                    got ? "is it too far, or between two neighbours, or in the next row?"
                                        : "both directions count, also to the left and above"));
  }
  return report("sees", true);
}

bool check_attention() {
  constexpr std::int64_t size = 5;
  for (const Neighbourhood& n : cases)
    for (const double sharpness : {1.0, 20.0}) {
      const Sizes s(n);
      Random random(5);
      const std::int64_t tokens = n.tokens();
      const Tensor qkv = nn::normal({1, tokens, 3 * size}, sharpness, random).cast(DType::float64);
      Numbers parts[3], out(static_cast<std::size_t>(tokens * size), 0.5);
      for (std::int64_t t = 0; t < tokens; ++t)
        for (int part = 0; part < 3; ++part)
          for (int d = 0; d < size; ++d) parts[part].push_back(qkv.data<double>()[(t * 3 + part) * size + d]);
      const Numbers real = neighbourhood_attention(Variable(qkv), 1, n).value().to_vector();
      dilated_attention(out.data(), parts[0].data(), parts[1].data(), parts[2].data(), s.rows, s.columns,
                        size, s.window, s.dilation);
      for (std::size_t k = 0; k < real.size(); ++k)
        if (!(std::abs(out[k] - real[k]) < 1e-11 * sharpness))
          return report("dilated_attention", false,
                        fmt::format("{}: out[{}][{}]: expected {:.6f}, got {:.6f}; {}", text(n), k / 5, k % 5,
                                    real[k], out[k],
                                    std::isnan(out[k]) ? "exp() of a large score: take the maximum off"
                                    : s.dilation == 1  ? "the root of D, and only neighbours on the grid"
                                                       : "it is right for dilation 1"));
    }
  return report("dilated_attention", true);
}

bool check_neighbours() {
  for (const Neighbourhood& n : cases) {
    const Sizes s(n);
    for (int i = 0; i < s.rows * s.columns; ++i) {
      int expected = 0;
      for (int j = 0; j < s.rows * s.columns; ++j) expected += n.sees(i, j) ? 1 : 0;
      const int got = neighbours(i, s.rows, s.columns, s.window, s.dilation);
      if (got != expected)
        return report("neighbours", false,
                      fmt::format("{}: token {}: expected {}, got {}; fewer at the border, the token itself "
                                  "among them",
                                  text(n), i, expected, got));
    }
  }
  return report("neighbours", true);
}

}  // namespace

int main() {
  const bool seen = check_sees(), attended = check_attention(), counted = check_neighbours();
  return seen && attended && counted ? 0 : 1;
}
