// Lesson 11: what a number costs. bfloat16 by hand, its error an operation, what backward keeps in memory,
// where operations stand under the machine's roofline, and a sum whose bits do not depend on who adds.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <functional>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "models/student/student.h"
#include "nn/nn.h"
#include "train/adamw.h"
#include "train/exchange.h"

using namespace vitral;

bool holds = true;
void expect(bool what, const char* text) {
  if (!what) fmt::print("does not hold: {}\n", text);
  holds = holds && what;
}

// The upper half of x, rounded to the nearest, ties to even.
std::uint16_t to_bfloat16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  // To round a NaN could make it infinite.
  if (std::isnan(x)) return static_cast<std::uint16_t>((bits >> 16) | 0x40U);
  constexpr std::uint32_t half = 0x8000U;      // the middle of two numbers
  const std::uint32_t below = bits & 0xFFFFU;  // what is cut off
  std::uint32_t upper = bits >> 16;
  if (below > half || (below == half && upper % 2 == 1)) ++upper;  // a carry into the exponent is right
  return static_cast<std::uint16_t>(upper);
}

float from_bfloat16(std::uint16_t b) { return std::bit_cast<float>(std::uint32_t{b} << 16); }
float rounded(float x) { return from_bfloat16(to_bfloat16(x)); }

void show_bits() {
  fmt::print("{:>12}  {}  {:8}  {:7}  {:>12}\n", "float32", "s", "exponent", "mantissa", "bfloat16");
  for (const float x : {1.0F, 1.0F / 3, 257.0F, 3.14159265F, 65504.0F, 1e-38F}) {
    const std::uint16_t b = to_bfloat16(x);
    fmt::print("{:12.7g}  {}  {:08b}  {:07b}   {:12.7g}\n", x, b >> 15, b >> 7 & 0xFF, b & 0x7F,
               from_bfloat16(b));
  }
  // Every upper half with the lower halves that decide: below, at and above the middle.
  std::vector<float> all;
  for (std::uint32_t upper = 0; upper < 65536; ++upper)
    for (const std::uint32_t lower : {0U, 1U, 0x7FFFU, 0x8000U, 0x8001U, 0xFFFFU})
      all.push_back(std::bit_cast<float>(upper << 16 | lower));
  const Tensor real = Tensor::from(all, {static_cast<std::int64_t>(all.size())}).cast(DType::bfloat16);
  const auto* bits = static_cast<const std::uint16_t*>(real.raw());
  std::size_t equal = 0;
  for (const float x : all) equal += *bits++ == to_bfloat16(x) ? 1 : 0;
  fmt::print("{} of {} numbers rounded as vitral rounds them\n\n", equal, all.size());
  expect(equal == all.size(), "bfloat16 by hand has vitral's bits");
}

// Root mean square of the difference beside that of the right result.
double error(const std::vector<double>& y, const std::vector<double>& right) {
  double off = 0, all = 0;
  for (std::size_t i = 0; i < y.size(); ++i) off += std::pow(y[i] - right[i], 2), all += right[i] * right[i];
  return std::sqrt(off / all);
}

// x [64,528] w [528,64] as it would be if every sum were a bfloat16, too.
std::vector<double> product_in_bfloat16(const std::vector<double>& x, const std::vector<double>& w) {
  std::vector<double> y;
  for (std::size_t r = 0; r < 64; ++r)
    for (std::size_t c = 0; c < 64; ++c) {
      float sum = 0;
      for (std::size_t k = 0; k < 528; ++k)
        sum = rounded(sum + static_cast<float>(x[r * 528 + k] * w[k * 64 + c]));
      y.push_back(sum);
    }
  return y;
}

void show_errors() {
  Random random(1);  // numbers that are bfloat16 already
  const Tensor x = nn::normal({64, 528}, 1, random).cast(DType::bfloat16);
  const Tensor w = nn::normal({528, 64}, 1, random).cast(DType::bfloat16);
  const auto in = [&](DType t, const auto& operation) {
    return operation(Variable(x.cast(t)), Variable(w.cast(t))).value().to_vector();
  };
  const auto show = [&](const char* name, const auto& operation) {
    const std::vector<double> right = in(DType::float64, operation);
    const double single = error(in(DType::float32, operation), right);
    const double brain = error(in(DType::bfloat16, operation), right);
    fmt::print("{:19}  {:.0e}      {:.4f}\n", name, single, brain);
    expect(single < 1e-6 && brain > 1e-4 && brain < 4e-3, "bfloat16 is off by one rounding of the result");
  };
  const auto product = [](const Variable& a, const Variable& b) { return matmul(a, b); };
  fmt::print("error of             float32    bfloat16\n");
  show("x + x / 3", [](const Variable& a, const Variable&) { return add(a, affine(a, 1.0 / 3)); });
  show("softmax of 528", [](const Variable& a, const Variable&) { return softmax(a); });
  show("product, 528 terms", product);
  const double sums = error(product_in_bfloat16(x.to_vector(), w.to_vector()), in(DType::float64, product));
  fmt::print("  each sum rounded, too         {:.4f}\n", sums);
  expect(sums > 0.02, "sums in bfloat16 are worse");
  float count = 0;
  for (int i = 0; i < 1000; ++i) count = rounded(count + 1);
  const double real = sum(Variable(Tensor::full({1000}, 1, DType::bfloat16))).item();
  fmt::print("1 + 1 + ..., 1,000 times: {} in bfloat16, {} by vitral's sum\n\n", count, real);
  expect(count == 256 && real == 1000, "ones add up to 256 in bfloat16");
}

// One block of a transformer, written with the operations that it is made of. W = 512, 64 tokens, 16 heads.
struct Block : nn::Module {
  Random random{0};
  nn::LayerNorm& ln_1 = child<nn::LayerNorm>("ln_1", 512);
  nn::LayerNorm& ln_2 = child<nn::LayerNorm>("ln_2", 512);
  nn::Linear& qkv = child<nn::Linear>("qkv", 512, 1536, random);
  nn::Linear& out = child<nn::Linear>("out", 512, 512, random);
  nn::Linear& up = child<nn::Linear>("up", 512, 2048, random);
  nn::Linear& down = child<nn::Linear>("down", 2048, 512, random);

  Variable operator()(const Variable& x) const {
    const Variable a = neighbourhood_attention(qkv(ln_1(x)), 16, {.grid = {8, 8}, .window = 3});
    const Variable s = add(x, out(a));
    return add(s, down(quick_gelu(up(ln_2(s)))));
  }
};

void show_memory() {
  const Block block;
  const Variable x(Tensor::full({4, 64, 512}, 0.5), true);
  const auto in_use = [] { return static_cast<double>(allocator_stats(cpu).bytes_in_use); };
  fmt::print("kept for backward, in numbers a token and unit of width\n");
  for (const bool recipes : {false, true}) {
    const KeepResults keep(!recipes);
    const double before = in_use();
    const Variable y = block(block(x)), loss = sum(y);
    const double kept = (in_use() - before) / static_cast<double>(x.value().bytes()) / 2;
    loss.backward();
    const double by_hand = recipes ? 10 : 16;  // the page's table
    fmt::print("  {:15} {:4.0f} by hand, {:6.3f} by the allocator\n", recipes ? "with recipes" : "without",
               by_hand, kept);
    expect(std::abs(kept - by_hand) < 0.05, "the bytes that backward keeps are those counted by hand");
  }
  fmt::print("\n");
}

std::vector<OperationProfile> profile_of(const std::function<void()>& work) {
  work();  // finds no memory yet
  Profile profile;
  const Profile::Use use(profile);
  for (int i = 0; i < 5; ++i) work();
  return profile.operations();
}

// Operations of what has no count in its contract: so many a number of all its tensors.
double flops_of(const OperationProfile& o) {
  if (o.name == "neighbourhood_attention") return o.bytes / 4 * 36 / 4;
  if (o.name == "add_layer_norm") return o.bytes / 4 * 9 / 4;
  if (o.name == "adamw") return o.bytes / 4 * 14 / 4;
  return o.flops;
}

// One layer of the 21.4M student, 16 images.
std::vector<OperationProfile> measure_step() {
  models::Student student({.layers = 1});
  train::AdamW optimizer(student);
  Random random(3);
  const Variable x(nn::normal({16, 64, 2352}, 1, random)), target(nn::normal({16, 512}, 1, random));
  return profile_of([&] {
    const Variable loss = distillation_loss(student.embed(x), target);
    student.zero_grad();
    loss.backward();
    optimizer.step();
  });
}

void show_roofline(const std::string& path) {
  Random random(4);
  const Variable numbers(Tensor::full({1 << 24}, 1));  // 64 MB
  const Variable x(nn::normal({2048, 528}, 1, random)), w(nn::normal({2112, 528}, 1, random));
  const OperationProfile pass = profile_of([&] { affine(numbers, 2); })[0];
  const OperationProfile product = profile_of([&] { linear(x, w, {}); })[0];
  const double gbs = pass.bytes / pass.seconds / 1e9, gflops = product.flops / product.seconds / 1e9;
  fmt::print("memory: {:.0f} GB/s; products: {:.0f} GFLOP/s; so the ridge is at {:.0f} FLOP a byte\n", gbs,
             gflops, gflops / gbs);

  const auto at_x = [](double intensity) { return 160 + 100 * std::log10(intensity); };
  const auto at_y = [](double rate) { return 330 - 100 * std::log10(rate); };
  std::ofstream svg(path);
  svg << "<svg xmlns='http://www.w3.org/2000/svg' width='740' height='470' font-family='sans-serif' "
         "font-size='12'><rect width='740' height='470' fill='white'/>\n"
         "<text x='5' y='15'>GFLOP/s</text><text x='225' y='462'>FLOP a byte</text>\n";
  for (const double v : {0.1, 1.0, 10.0, 100.0, 1000.0})
    svg << fmt::format(
        "<path d='M{0} 30V430M60 {1}H460' stroke='#ddd'/><text x='{0}' y='445'>{2}</text>"
        "<text x='25' y='{1}'>{2}</text>\n",
        at_x(v), at_y(v), v);
  svg << fmt::format("<path d='M{} {}L{} {}H460' fill='none' stroke='black' stroke-width='2'/>\n", at_x(0.1),
                     at_y(0.1 * gbs), at_x(gflops / gbs), at_y(gflops));

  fmt::print("{:34}{:>12}{:>10}\n", "", "FLOP/byte", "GFLOP/s");
  std::vector<OperationProfile> operations = measure_step();
  const auto rate = [](const OperationProfile& o) { return flops_of(o) / o.seconds / 1e9; };
  std::ranges::sort(operations, std::greater(), rate);
  double line = 90;  // names stand in a column, each with a line to its dot
  for (const OperationProfile& o : operations) {
    if (flops_of(o) == 0) continue;
    const double intensity = flops_of(o) / o.bytes;
    fmt::print("{:34}{:12.1f}{:10.1f}\n", o.name, intensity, rate(o));
    svg << fmt::format(
        "<path d='M{0:.1f} {1:.1f}L490 {2}' stroke='#aaa'/><circle cx='{0:.1f}' cy='{1:.1f}' r='5' "
        "fill='#c8501e'/><text x='494' y='{3}'>{4}</text>\n",
        at_x(intensity), at_y(rate(o)), line, line + 4, o.name);
    line += 26;
  }
  svg << "</svg>\n";
}

// ((g0 + g1) + (g2 + g3)) + ...: of a power of two of slices.
float tree(std::span<const float> g) {
  if (g.size() == 1) return g[0];
  const std::size_t half = g.size() / 2;
  return tree(g.first(half)) + tree(g.last(half));
}

float in_a_row(std::span<const float> g) { return std::accumulate(g.begin(), g.end(), 0.0F); }

// Each process adds up its own slices, and then somebody what they all have.
float of_processes(std::size_t processes, std::span<const float> g, float (*add)(std::span<const float>)) {
  std::vector<float> sums;
  for (std::size_t own = g.size() / processes, p = 0; p < processes; ++p)
    sums.push_back(add(g.subspan(p * own, own)));
  return add(sums);
}

void show_tree() {
  constexpr std::size_t slices = 8, weights = 4096;
  Random first(0);
  nn::Projection model(64, 64, first);
  train::Exchange exchange(alone(), slices, model);
  std::vector<std::array<float, slices>> g(weights);
  for (std::size_t k = 0; k < slices; ++k) {
    Random random(5, k);
    const Tensor slice = nn::normal({64, 64}, 1, random);
    for (std::size_t i = 0; i < weights; ++i) g[i][k] = slice.data<float>()[i];
    model.zero_grad();
    sum(mul(model.weight, Variable(slice))).backward();  // d loss / d w = slice
    exchange.add();
  }
  Tensor control = Tensor::zeros({update_slots}, DType::float64);
  exchange.finish(control);
  const float* real = exchange.gradients()[0].data<float>();
  fmt::print("\n8 slices, 4,096 numbers: how many differ from train::Exchange's\n");
  for (const std::size_t processes : {1, 2, 4, 8}) {
    int row = 0, by_tree = 0;
    for (std::size_t i = 0; i < weights; ++i) {
      row += of_processes(processes, g[i], in_a_row) != real[i] ? 1 : 0;
      by_tree += of_processes(processes, g[i], tree) != real[i] ? 1 : 0;
    }
    fmt::print("  {} processes: {:4} in a row, {} as a tree\n", processes, row, by_tree);
    expect(by_tree == 0 && row > 0, "the tree has the same bits on any number of processes");
  }
}

int main(int argc, char** argv) {
  show_bits();
  show_errors();
  show_memory();
  show_roofline(std::string(argc > 1 ? argv[1] : ".") + "/11_roofline.svg");
  show_tree();
  return holds ? 0 : 1;
}
