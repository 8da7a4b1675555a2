// Lesson 11: what a number costs. bfloat16 by hand, its error an operation, what backward keeps in memory,
// where operations stand under the machine's roofline, and a sum whose bits do not depend on who adds.
#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <functional>
#include <optional>
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

// --- bfloat16: the upper half of a float32 ---

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

float from_bfloat16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}
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
  for (std::size_t i = 0; i < all.size(); ++i) equal += bits[i] == to_bfloat16(all[i]) ? 1 : 0;
  fmt::print("{} of {} numbers rounded as vitral rounds them\n\n", equal, all.size());
  expect(equal == all.size(), "bfloat16 by hand has vitral's bits");
}

// --- the error of an operation ---

// Root mean square of the difference beside that of the right result.
double error(const std::vector<double>& y, const std::vector<double>& right) {
  double off = 0, all = 0;
  for (std::size_t i = 0; i < y.size(); ++i) off += std::pow(y[i] - right[i], 2), all += right[i] * right[i];
  return std::sqrt(off / all);
}

// x [R,K] w [K,N] as it would be if every sum were a bfloat16, too.
std::vector<double> product_in_bfloat16(const std::vector<double>& x, const std::vector<double>& w,
                                        std::size_t rows, std::size_t inner, std::size_t columns) {
  std::vector<double> y(rows * columns);
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < columns; ++c) {
      float sum = 0;
      for (std::size_t k = 0; k < inner; ++k)
        sum = rounded(sum + static_cast<float>(x[r * inner + k] * w[k * columns + c]));
      y[r * columns + c] = sum;
    }
  return y;
}

void show_errors() {
  Random random(1);  // numbers that are bfloat16 already
  const Tensor x = nn::normal({64, 528}, 1, random).cast(DType::bfloat16);
  const Tensor w = nn::normal({528, 64}, 1, random).cast(DType::bfloat16);
  using Operation = std::function<Variable(const Variable&, const Variable&)>;
  const Operation operations[] = {
      [](const Variable& a, const Variable&) { return add(a, affine(a, 1.0 / 3)); },
      [](const Variable& a, const Variable& b) { return matmul(a, b); },
      [](const Variable& a, const Variable&) {
        const DType t = a.dtype() == DType::float64 ? a.dtype() : DType::float32;  // of parameters
        return layer_norm(a, Variable(Tensor::full({528}, 1, t)), Variable(Tensor::zeros({528}, t)));
      }};
  const char* names[] = {"x + x / 3", "product, 528 terms", "layer_norm of 528"};
  fmt::print("error of            float32    bfloat16, sums in float32    sums in bfloat16, too\n");
  for (std::size_t i = 0; i < 3; ++i) {
    const auto in = [&](DType t) {
      return operations[i](Variable(x.cast(t)), Variable(w.cast(t))).value().to_vector();
    };
    const std::vector<double> right = in(DType::float64);
    const double single = error(in(DType::float32), right), brain = error(in(DType::bfloat16), right);
    fmt::print("{:18}  {:.0e}      {:.4f}", names[i], single, brain);
    expect(single < 1e-6 && brain > 1e-4 && brain < 4e-3,
           "bfloat16 with float32 sums is off by its roundings");
    if (i == 1) {
      const double all = error(product_in_bfloat16(x.to_vector(), w.to_vector(), 64, 528, 64), right);
      fmt::print("                       {:.4f}", all);
      expect(all > 5 * brain, "sums in bfloat16 are worse");
    }
    fmt::print("\n");
  }
  float sum = 0;
  for (int i = 0; i < 1000; ++i) sum = rounded(sum + 1);
  const double real = vitral::sum(Variable(Tensor::full({1000}, 1, DType::bfloat16))).item();
  fmt::print("1 + 1 + ..., 1,000 times: {} in bfloat16, {} by vitral's sum\n\n", sum, real);
  expect(sum == 256 && real == 1000, "ones add up to 256 in bfloat16");
}

// --- what backward keeps ---

// The same values without a recipe: whoever saves them must keep them.
Variable stored(const Variable& x) { return reshape(x, x.shape()); }

// One block of a transformer, written with the operations that it is made of. W = 512, 64 tokens, 16 heads.
struct Block : nn::Module {
  Random random{0};
  nn::LayerNorm& ln_1 = child<nn::LayerNorm>("ln_1", 512);
  nn::LayerNorm& ln_2 = child<nn::LayerNorm>("ln_2", 512);
  nn::Linear& qkv = child<nn::Linear>("qkv", 512, 1536, random);
  nn::Linear& out = child<nn::Linear>("out", 512, 512, random);
  nn::Linear& up = child<nn::Linear>("up", 512, 2048, random);
  nn::Linear& down = child<nn::Linear>("down", 2048, 512, random);

  Variable operator()(const Variable& x, bool recipes) const {
    const auto keep = [&](const Variable& y) { return recipes ? y : stored(y); };
    const Variable a = neighbourhood_attention(qkv(keep(ln_1(x))), 16, {.grid = {8, 8}, .window = 3});
    const Variable s = add(x, out(a));
    return add(s, down(keep(quick_gelu(up(keep(ln_2(s)))))));
  }
};

void show_memory() {
  constexpr std::int64_t images = 4;
  const Block block;
  const Variable x(Tensor::full({images, 64, 512}, 0.5), true);
  const auto unit = static_cast<double>(x.value().bytes());
  fmt::print("kept for backward, in numbers a token and unit of width\n");
  for (const bool recipes : {false, true}) {
    const auto in_use = [] { return static_cast<double>(allocator_stats(cpu).bytes_in_use); };
    const double before = in_use();
    const Variable y = block(block(x, recipes), recipes), loss = sum(y);
    const double kept =
        (in_use() - before) / unit / 2;  // two blocks: the result of each is the input of another
    reset_peak(cpu);
    loss.backward();
    // By hand: x, q k v, attention, x' and the first product of the MLP; and what recipes make again: two
    // norms and the activation.
    const double by_hand = 1 + 3 + 1 + 1 + 4 + (recipes ? 0 : 1 + 1 + 4);
    fmt::print("  {:15} {:4.0f} by hand, {:6.3f} by the allocator\n", recipes ? "with recipes" : "without",
               by_hand, kept);
    expect(std::abs(kept - by_hand) < 0.05, "the bytes that backward keeps are those counted by hand");
  }
  fmt::print("\n");
}

// --- the roofline ---

double seconds_of(const std::function<void()>& f) {  // the best of five
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    const auto start = std::chrono::steady_clock::now();
    f();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

struct Dot {
  std::string name;
  double intensity, rate;  // FLOP/byte, GFLOP/s
};

// Operations an element of the first tensor for what has no count in its contract, to see where it stands.
double flops_of(const OperationProfile& o) {
  if (o.flops > 0) return o.flops;
  const auto of = [&](const char* name, double tensors, double each) {  // operations a number of one of them
    return o.name == name ? o.bytes / 4 / tensors * each : 0;
  };
  return of("neighbourhood_attention", 4, 36) + of("neighbourhood_attention_backward", 7, 90) +
         of("add_layer_norm", 4, 9) + of("layer_norm_backward", 4, 12) + of("adamw", 4, 14);
}

std::vector<Dot> measure_step() {
  const models::StudentConfig config{.layers = 1};  // one layer of the 21.4M student, 16 images
  models::Student student(config);
  train::AdamW optimizer(student);
  Random random(3);
  const Variable x(nn::normal({16, 64, 2352}, 1, random)), target(nn::normal({16, 512}, 1, random));
  Profile profile;
  for (int step = 0; step < 4; ++step) {
    std::optional<Profile::Use> use;
    if (step > 0) use.emplace(profile);
    const Variable loss = distillation_loss(student.embed(x), target);
    student.zero_grad();
    loss.backward();
    optimizer.step();
  }
  std::vector<Dot> dots;
  double products = 0;
  for (const OperationProfile& o : profile.operations()) {
    products += o.flops;
    if (const double flops = flops_of(o); flops > 0)
      dots.push_back({o.name, flops / o.bytes, flops / o.seconds / 1e9});
  }
  // By hand, three steps: 2 operations a weight and token forward, 4 backward; but the pixels want no
  // gradient.
  const double weights = 528.0 * 528 * (3 + 1 + 4 + 4), first = 528.0 * 3 * 28 * 28;
  const double by_hand = 3 * 16 * 64 * (6 * weights + 4 * first);
  fmt::print("products of a step: {:.1f} GFLOP by hand, {:.1f} by the profile\n", by_hand / 3e9,
             products / 3e9);
  expect(std::abs(products / by_hand - 1) < 1e-9, "a step has the products counted by hand");
  return dots;
}

std::string text(double x, double y, const std::string& what, const char* more = "") {
  return fmt::format("<text x='{:.1f}' y='{:.1f}'{}>{}</text>\n", x, y, more, what);
}

void show_roofline(const std::string& path) {
  constexpr std::int64_t bytes = std::int64_t{1} << 26;
  const Tensor from = Tensor::full({bytes / 4}, 1);
  Tensor to = from.clone();
  const double gbs = 2e-9 * bytes / seconds_of([&] { to.copy_from(from); });
  Random random(4);
  const Variable x(nn::normal({2048, 528}, 1, random)), w(nn::normal({2112, 528}, 1, random));
  const double gflops = 2e-9 * 2048 * 528 * 2112 / seconds_of([&] { linear(x, w, {}); });
  fmt::print("copying: {:.0f} GB/s; products: {:.0f} GFLOP/s; so the ridge is at {:.0f} FLOP a byte\n", gbs,
             gflops, gflops / gbs);
  const auto at_x = [](double intensity) { return 60 + 150 * (std::log10(intensity) + 1); };
  const auto at_y = [](double rate) { return 330 - 110 * std::log10(rate); };
  std::string s =
      "<svg xmlns='http://www.w3.org/2000/svg' width='780' height='390' font-family='sans-serif' "
      "font-size='12'>"
      "<rect width='780' height='390' fill='white'/>\n";
  for (const double v : {0.1, 1.0, 10.0, 100.0, 1000.0})
    s += fmt::format("<path d='M{0} 40V330' stroke='#ddd'/>", at_x(v)) +
         text(at_x(v), 346, fmt::format("{}", v), " text-anchor='middle'");
  for (const double v : {1.0, 10.0, 100.0})
    s += fmt::format("<path d='M60 {0}H660' stroke='#ddd'/>", at_y(v)) +
         text(52, at_y(v) + 4, fmt::format("{}", v), " text-anchor='end'");
  s += text(360, 370, "FLOP a byte", " text-anchor='middle'") + text(10, 25, "GFLOP/s");
  s += fmt::format(
      "<path d='M{:.1f} {:.1f}L{:.1f} {:.1f}H660' fill='none' stroke='black' stroke-width='2'/>\n", at_x(0.1),
      at_y(0.1 * gbs), at_x(gflops / gbs), at_y(gflops), at_x(1e3));
  std::vector<Dot> dots = measure_step();
  fmt::print("{:34}{:>12}{:>10}\n", "", "FLOP/byte", "GFLOP/s");
  std::ranges::sort(dots, {}, [](const Dot& d) { return -d.rate; });
  double line = 90;  // labels stand in a column, each with a line to its dot
  for (const Dot& d : dots) {
    fmt::print("{:34}{:12.1f}{:10.1f}\n", d.name, d.intensity, d.rate);
    const double dx = at_x(d.intensity), dy = at_y(d.rate), label = dx > 450 ? 490 : 300;
    s += fmt::format(
        "<path d='M{:.1f} {:.1f}L{} {}' stroke='#aaa'/><circle cx='{:.1f}' cy='{:.1f}' r='5' "
        "fill='#c8501e'/>\n",
        dx, dy, label, line - 4, dx, dy);
    s += text(label, line, d.name, dx > 450 ? " text-anchor='end'" : "");
    line += 24;
  }
  std::ofstream(path) << s << "</svg>\n";
}

// --- a sum whose bits do not depend on who adds ---

using Gradient = std::vector<float>;

Gradient added(Gradient a, const Gradient& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

// ((g0 + g1) + (g2 + g3)) + ...: of a power of two of slices.
Gradient tree(const std::vector<Gradient>& g, std::size_t begin, std::size_t end) {
  if (end - begin == 1) return g[begin];
  const std::size_t middle = (begin + end) / 2;
  return added(tree(g, begin, middle), tree(g, middle, end));
}

// One after the other within each process, then one process after the other.
Gradient in_a_row(const std::vector<Gradient>& g, std::size_t processes) {
  const std::size_t own = g.size() / processes;
  Gradient sum(g[0].size());
  for (std::size_t p = 0; p < processes; ++p) {
    Gradient part = g[p * own];
    for (std::size_t k = 1; k < own; ++k) part = added(part, g[p * own + k]);
    sum = added(sum, part);
  }
  return sum;
}

struct OneWeight : nn::Module {
  nn::Parameter& w = parameter("w", Tensor::zeros({4096}));
};

void show_tree() {
  constexpr std::size_t slices = 8;
  OneWeight model;
  train::Exchange exchange(alone(), slices, model);
  std::vector<Gradient> g;
  for (std::size_t k = 0; k < slices; ++k) {
    Random random(5, k);
    const Tensor slice = nn::normal({4096}, 1, random);
    g.emplace_back(slice.data<float>(), slice.data<float>() + 4096);
    model.zero_grad();
    sum(mul(model.w, Variable(slice))).backward();  // d loss / d w = slice
    exchange.add();
  }
  Tensor control = Tensor::zeros({update_slots}, DType::float64);
  exchange.finish(control);
  const float* real = exchange.gradients()[0].data<float>();
  const auto differing = [&](const Gradient& sum) {
    std::size_t count = 0;
    for (std::size_t i = 0; i < sum.size(); ++i) count += sum[i] != real[i] ? 1 : 0;
    return count;
  };
  fmt::print("\n8 slices, 4,096 numbers: how many differ from train::Exchange's\n");
  for (const std::size_t processes : {1U, 2U, 4U, 8U}) {
    std::vector<Gradient> parts;  // of each process the subtree over its slices
    for (std::size_t p = 0; p < processes; ++p)
      parts.push_back(tree(g, p * slices / processes, (p + 1) * slices / processes));
    const std::size_t by_tree = differing(tree(parts, 0, processes)), row = differing(in_a_row(g, processes));
    fmt::print("  {} processes: {:4} in a row, {} as a tree\n", processes, row, by_tree);
    expect(by_tree == 0 && row > 0, "the tree has the same bits on any number of processes");
  }
}

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : ".";
  show_bits();
  show_errors();
  show_memory();
  show_roofline(folder + "/11_roofline.svg");
  show_tree();
  return holds ? 0 : 1;
}
