// Lesson 2: where the elements of tensors lie, and where the memory comes from.
//   02_tensors FOLDER     writes FOLDER/02_memory.svg
#include <algorithm>
#include <chrono>
#include <deque>
#include <fstream>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "nn/nn.h"
#include "train/adamw.h"

using namespace vitral;

using Dims = std::vector<std::int64_t>;

// Row-major: a step along an axis passes over all that the axes behind it hold.
Dims strides_of(const Dims& shape) {
  Dims strides(shape.size(), 1);
  for (std::size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

// Somebody's elements under another order of axes, without a copy: what vitral does not have.
struct View {
  const float* data;
  Dims strides;

  float at(const Dims& index) const {
    std::int64_t offset = 0;
    for (std::size_t i = 0; i < index.size(); ++i) offset += index[i] * strides[i];
    return data[offset];
  }
};

// Axis i of the result is axis axes[i] of x.
View permuted(const View& x, const std::vector<std::size_t>& axes) {
  View y{x.data, {}};
  for (const std::size_t axis : axes) y.strides.push_back(x.strides[axis]);
  return y;
}

bool layouts() {
  Tensor x({2, 3, 4});
  for (int i = 0; i < 24; ++i) x.data<float>()[i] = static_cast<float>(i);
  const View whole{x.data<float>(), strides_of({2, 3, 4})};
  const View turned = permuted(whole, {0, 2, 1});
  const Tensor copy = permute(Variable(x), {0, 2, 1}).value();
  bool right = true;
  for (std::int64_t i = 0; i < 24; ++i)  // of the copy, [2,4,3]
    right = right && turned.at({i / 12, i / 3 % 4, i % 3}) == copy.data<float>()[i];
  fmt::print("x [2, 3, 4]: strides {}; x[1,2,3] is element {:.0f}\n  a view of it as [2, 4, 3]: strides {}\n",
             fmt::join(whole.strides, " "), whole.at({1, 2, 3}), fmt::join(turned.strides, " "));
  const auto same = [&](const Tensor& y) { return y.shares_memory_with(x) ? "shared" : "a copy"; };
  const Tensor row = x.rows(1, 2);
  fmt::print("  vitral: reshape {}, rows {}, permute {}, slice {}, clone {}\n\n", same(x.reshape({6, 4})),
             same(row), same(copy), same(slice(Variable(x), 1, 0, 2).value()), same(x.clone()));
  return right && row.shares_memory_with(x) && !copy.shares_memory_with(x);
}

template <class F>
double milliseconds(F&& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

// The sum of [R,C] numbers, row by row; a step down and a step to the right are as long as the strides say.
float sum_of(const float* x, std::int64_t rows, std::int64_t columns, std::int64_t down, std::int64_t right) {
  float sum = 0;
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < columns; ++c) sum += x[r * down + c * right];
  return sum;
}

bool cost_of_a_view() {
  constexpr std::int64_t n = 2048;
  const Tensor x = Tensor::full({n, n}, 1);
  float along = 0, across = 0;
  const double fast = milliseconds([&] { along = sum_of(x.data<float>(), n, n, n, 1); });
  const double slow = milliseconds([&] { across = sum_of(x.data<float>(), n, n, 1, n); });
  const double once = milliseconds([&] { permute(Variable(x), {1, 0}); });
  fmt::print("the sum of [2048, 2048], one number after the other: as it lies in memory {:.1f} ms,\n", fast);
  fmt::print("  through a transposed view {:.1f} ms; one permuted copy {:.1f} ms\n\n", slow, once);
  return along == across && along == static_cast<float>(n * n);
}

// The size of the block that serves a request: four sizes a power of two, thirty-two above 1 MiB.
std::size_t size_class(std::size_t bytes) {
  std::size_t power = 64;
  if (bytes <= power) return power;
  while (2 * power < bytes) power *= 2;
  const std::size_t step = power / (bytes > (std::size_t{1} << 20) ? 32 : 4);
  return (bytes + step - 1) / step * step;
}

bool size_classes() {
  bool right = true;
  fmt::print("asked for     block   lost\n");
  for (const std::size_t bytes : {1UL, 100UL, 513UL, 5000UL, 135168UL, 1100000UL, 34603008UL}) {
    const std::size_t before = allocator_stats(cpu).bytes_in_use;
    const Tensor t({static_cast<std::int64_t>(bytes)}, DType::uint8);
    const std::size_t block = allocator_stats(cpu).bytes_in_use - before;
    fmt::print("{:9} {:9} {:5.1f} %\n", bytes, block,
               100 - 100.0 * static_cast<double>(bytes) / static_cast<double>(block));
    right = right && block == size_class(bytes);
  }
  return right;
}

// Blocks that were given back, by size.
struct Pool {
  std::map<std::size_t, std::vector<std::size_t>> free;
  std::size_t system_calls = 0;

  std::size_t take(std::size_t bytes) {
    auto& blocks = free[size_class(bytes)];
    if (blocks.empty()) return system_calls++;  // a new one, by its number
    const std::size_t block = blocks.back();
    blocks.pop_back();
    return block;
  }
};

// The same tensors made and dropped, from our pool and from vitral's.
bool pools() {
  release_cached(cpu);
  const std::size_t before = allocator_stats(cpu).system_calls;
  Pool pool;
  std::deque<std::pair<Tensor, std::size_t>> held;  // and the block that ours gave
  Random random(5);
  for (int step = 0; step < 1000; ++step) {
    const Tensor tensor({1 + static_cast<std::int64_t>(random.below(8)), 1000});
    held.emplace_back(tensor, pool.take(tensor.bytes()));
    if (held.size() < 20) continue;
    pool.free[size_class(held.front().first.bytes())].push_back(held.front().second);
    held.pop_front();
  }
  fmt::print("\n1,000 tensors, 20 at a time: our pool asks the system {} times, vitral's {} times\n\n",
             pool.system_calls, allocator_stats(cpu).system_calls - before);
  return pool.system_calls == allocator_stats(cpu).system_calls - before;
}

std::vector<double> samples;  // MiB in use

double in_mib(std::size_t bytes) { return static_cast<double>(bytes) / (1 << 20); }
double in_use() { return in_mib(allocator_stats(cpu).bytes_in_use); }

// x itself, and a look at the memory here and when backward comes by.
Variable probe(const Variable& x) {
  samples.push_back(in_use());
  return make_result("probe", x.value(), {x}, [](const Tensor& dy, Gradients& gradients) {
    samples.push_back(in_use());
    gradients.add(0, dy);
  });
}

constexpr std::int64_t rows = 1024, width = 64;

struct Block : nn::Module {
  explicit Block(Random& random)
      : norm(child<nn::LayerNorm>("norm", width)),
        up(child<nn::Linear>("up", width, 4 * width, random)),
        down(child<nn::Linear>("down", 4 * width, width, random)) {}

  // x [R,W] -> [R,W]
  Variable operator()(const Variable& x) const {
    const Variable h = probe(up(norm(x)));  // [R,4W]
    return probe(add(x, probe(down(gelu(h)))));
  }

  nn::LayerNorm& norm;
  nn::Linear &up, &down;
};

struct Network : nn::Module {
  Network() {
    Random random(1);
    for (const char* name : {"0", "1", "2", "3", "4", "5"}) blocks.push_back(&child<Block>(name, random));
  }
  std::vector<const Block*> blocks;

  Variable operator()(Variable x) const {
    for (const Block* block : blocks) x = (*block)(x);
    return mean(square(x));
  }
};

// with: forward, as many samples as without, then backward; base: what lives all the time.
void draw(const std::vector<double>& with, const std::vector<double>& without, double base,
          const std::string& path) {
  std::ofstream svg(path);
  const auto y_of = [](double mib) { return 290 - 18 * mib; };
  const auto line = [&](std::span<const double> values, std::size_t first, const char* style) {
    svg << "<polyline fill=\"none\" " << style << " points=\"";
    for (std::size_t i = 0; i < values.size(); ++i)
      svg << fmt::format("{:.1f},{:.1f} ", 60 + 24.5 * static_cast<double>(first + i), y_of(values[i]));
    svg << "\"/>\n";
  };
  svg << R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 950 330" font-family="sans-serif" font-size="13">
<rect width="950" height="330" fill="white"/>
)";
  for (int mib = 0; mib <= 14; mib += 2)
    svg << fmt::format(R"(<path d="M60,{0} H920" stroke="#ddd"/><text x="12" y="{2}">{1:2} MiB</text>)",
                       y_of(mib), mib, y_of(mib) + 4);
  svg << fmt::format(R"(<rect x="60" width="860" y="{}" height="{}" fill="#eee"/>)", y_of(base), 18 * base);
  const std::size_t turn = without.size() - 1;
  line(without, 0, R"(stroke="#777" stroke-width="2" stroke-dasharray="5 4")");
  line({with.data(), turn + 1}, 0, R"(stroke="#2b6cb0" stroke-width="2.5")");
  line({with.data() + turn, with.size() - turn}, turn, R"(stroke="#c0392b" stroke-width="2.5")");
  svg << R"(<text x="70" y="70" fill="#2b6cb0">forward: each block keeps what its backward reads</text>
<text x="640" y="105" fill="#c0392b">backward: freed as it goes</text>
<text x="500" y="205">forward without a tape (NoGrad)</text>
<text x="380" y="270">weights, AdamW's two moments, the input</text>
<text x="400" y="315">time, from probe to probe</text></svg>
)";
}

int main(int argc, char** argv) {
  const bool parts[] = {layouts(), cost_of_a_view(), size_classes(), pools()};
  bool right = parts[0] && parts[1] && parts[2] && parts[3];
  release_cached(cpu);

  Network network;
  train::AdamW optimizer(network);
  Random random(2);
  const Variable x(nn::uniform({rows, width}, 1, random));
  std::vector<double> with;
  fmt::print("step  calls of the system  reserved MiB  in use at the peak MiB\n");
  for (int step = 1; step <= 4; ++step) {
    const std::size_t before = allocator_stats(cpu).system_calls;
    reset_peak(cpu);
    network.zero_grad();
    network(x).backward();
    with = std::exchange(samples, {});
    optimizer.step();
    const AllocatorStats now = allocator_stats(cpu);
    fmt::print("{:4} {:20} {:13.2f} {:23.2f}\n", step, now.system_calls - before, in_mib(now.bytes_reserved),
               in_mib(now.peak_in_use));
    right = right && (step == 1) == (now.system_calls > before);
  }
  network.zero_grad();
  const double base = in_use();
  const NoGrad no_grad;
  network(x);
  const double block = with[5] - with[2];  // from the end of the first block to that of the second
  const double kept =
      in_mib(size_class(4 * rows * width) + size_class(4 * rows * 4 * width) + 2 * size_class(4 * rows));
  fmt::print("\na block keeps {:.5f} MiB for its backward; x, h and two numbers a row are {:.5f}\n", block,
             kept);
  draw(with, samples, base, std::string(argc > 1 ? argv[1] : ".") + "/02_memory.svg");
  right = right && block == kept;
  if (!right) fmt::print("wrong: a layout, a block or a count is not as the page says\n");
  return right ? 0 : 1;
}
