// Checks the exercise of lesson 6 against vitral's patchify and the gradients of its trunk.
#include <cmath>

#include "docs/course/exercises/06_exercise.h"
#include "models/student/student.h"

using namespace vitral;

namespace {

// Prints the verdict.
bool report(const char* exercise, bool right, const std::string& why = "") {
  fmt::print("{}: {}\n", exercise, right ? "right" : "wrong: " + why);
  return right;
}

bool check_patchify() {
  Random random(1);
  for (const auto& [height, width, p] : {std::array{6, 6, 3}, {8, 12, 4}, {4, 4, 4}, {2, 3, 1}}) {
    const Tensor image = nn::uniform({1, 3, height, width}, 1, random);
    const Tensor real = vitral::patchify(Variable(image), p).value();
    std::vector<float> patches(static_cast<std::size_t>(image.numel()), 9);
    ::patchify(patches.data(), image.data<float>(), 3, height, width, p);
    for (std::size_t k = 0; k < patches.size(); ++k) {
      const float expected = real.data<float>()[k];
      if (patches[k] == expected) continue;
      const std::size_t size = 3 * static_cast<std::size_t>(p) * static_cast<std::size_t>(p);
      const char* hint =
          height == p && width == p ? "here the image is one patch: its numbers stay as they are"
          : height != width         ? "it is right where height and width are the same: which is which?"
                                    : "the channel is the slowest within a patch, x the fastest";
      return report("patchify", false,
                    fmt::format("image [3, {}, {}], p = {}: patches[{}][{}]: expected {:.4f}, got {:.4f}; {}",
                                height, width, p, k / size, k % size, expected, patches[k], hint));
    }
  }
  return report("patchify", true);
}

// By the gradients of the real trunk: they are exactly 0 where there is no way.
std::vector<char> real_field(int i, int side, int window, int dilation, int registers, int layers) {
  models::StudentConfig config{
      .image_size = 2 * side, .patch_size = 2, .width = 8, .layers = layers, .heads = 2, .window = window};
  config.dilation = dilation;
  config.registers = registers;
  models::Trunk trunk(config, Random(1));
  trunk.to(DType::float64);
  Random random(2);
  const std::int64_t places = std::int64_t{side} * side;
  const Tensor drawn = nn::normal({1, places, 12}, 1, random).cast(DType::float64);
  const Variable patches(drawn, true);
  sum(square(slice(trunk(patches), 1, i, i + 1))).backward();
  std::vector<char> field(static_cast<std::size_t>(places), 0);
  const std::vector<double> g = patches.grad().to_vector();
  for (std::size_t k = 0; k < g.size(); ++k)
    if (g[k] != 0) field[k / 12] = 1;
  return field;
}

bool check_field() {
  struct Case {
    int i, side, window, dilation, registers, layers;
  };
  for (const Case& c : {Case{0, 6, 3, 1, 0, 1},
                        {14, 6, 3, 1, 0, 2},
                        {35, 6, 5, 1, 0, 2},
                        {7, 6, 3, 2, 0, 3},
                        {0, 6, 3, 1, 2, 1},
                        {0, 6, 3, 1, 2, 2},
                        {8, 7, 3, 3, 0, 2}}) {
    const std::vector<char> expected = real_field(c.i, c.side, c.window, c.dilation, c.registers, c.layers);
    const std::vector<char> got = receptive_field(c.i, c.side, c.window, c.dilation, c.registers, c.layers);
    const std::string where =
        fmt::format("patch {} of {}x{}, window {}, dilation {}, {} registers, {} layers", c.i, c.side, c.side,
                    c.window, c.dilation, c.registers, c.layers);
    if (got.size() != expected.size())
      return report("receptive_field", false,
                    fmt::format("{}: expected {} values, got {}", where, expected.size(), got.size()));
    for (std::size_t j = 0; j < expected.size(); ++j)
      if ((got[j] != 0) != (expected[j] != 0))
        return report(
            "receptive_field", false,
            fmt::format("{}: patch {}: expected {}, got {}; {}", where, j, int{expected[j]}, int{got[j]},
                        c.registers == 0 ? "how far do so many layers reach, and stay on the grid?"
                        : c.layers == 1  ? "after one layer a register has brought nothing yet"
                                         : "a register has seen all patches a layer before"));
  }
  if (receptive_field(3, 2, 3, 1, 1, 0) != std::vector<char>{0, 0, 0, 1})
    return report("receptive_field", false, "0 layers: expected the patch itself alone");
  return report("receptive_field", true);
}

}  // namespace

int main() {
  const bool patches = check_patchify(), field = check_field();
  return patches && field ? 0 : 1;
}
