// Products of few rows with packed weights, ours and oneDNN's in turn: the 24 products of a student's layers,
// each with weights of its own, as in the embedding of one image (64 rows).
//
//   build/tests/bench_few_rows [--rows 1 16 64 256] [--rounds 60]
#include "tensor/cpu/matmul/few_rows.h"

#include <algorithm>
#include <cstdio>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "tensor/cpu/matmul/onednn.h"
#include "tensor/ops/linear.h"
#include "tests/bench/student.h"
#include "tests/bench/timing.h"

namespace {

using namespace vitral;

struct Product {
  Tensor packed, x, y;
};

void compare(std::int64_t rows, int rounds, const models::StudentConfig& c) {
  const std::int64_t w = c.internal_width();
  const Tensor x = Tensor::full({rows * 4 * w}, 0.5),
               y({rows * 4 * w});  // of all products, as activations follow each other
  std::vector<Product> products;
  for (std::int64_t layer = 0; layer < c.layers; ++layer)
    for (const auto& [in, out] : {std::pair{w, 3 * w}, {w, w}, {w, 4 * w}, {4 * w, w}}) {
      Product p{.packed = {},
                .x = x.rows(0, rows * in).reshape({rows, in}),
                .y = y.rows(0, rows * out).reshape({rows, out})};
      kernel::pack_weight(p.packed, Tensor::full({out, in}, 0.1));
      products.push_back(p);
    }
  const auto time_of = [&](auto&& multiply) {
    const double start = bench::now();
    for (Product& p : products) multiply(p);
    return bench::now() - start;
  };
  std::vector<double> ratios;
  double ours = 1e9, theirs = 1e9;
  for (int i = 0; i <= rounds; ++i) {
    const double a = time_of([](Product&p) { cpu_kernels::onednn::linear_packed(p.y, p.x, p.packed, {}); }),
                 b = time_of([](Product&p) { kernel::linear_packed(p.y, p.x, p.packed, {}); });
    if (i == 0) continue;  // the first round reads all weights for the first time, and oneDNN makes its code
    theirs = std::min(theirs, a);
    ours = std::min(ours, b);
    ratios.push_back(a / b);
  }
  std::sort(ratios.begin(), ratios.end());
  const auto quantile = [&](std::size_t percent) { return ratios[(ratios.size() - 1) * percent / 100]; };
  fmt::print("{:5} rows  oneDNN {:8.3f} ms  ours {:8.3f} ms  ratio of a round {:.2f} ({:.2f}, {:.2f})\n",
             rows, 1e3 * theirs, 1e3 * ours, quantile(50), quantile(10), quantile(90));
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Compares products of few rows with packed weights."};
  std::vector<std::int64_t> rows{1, 16, 32, 64, 128, 256};
  int rounds = 60;
  app.add_option("--rows", rows)->capture_default_str()->check(CLI::Range(1, 100000));
  app.add_option("--rounds", rounds)->capture_default_str()->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);
  if (!cpu_kernels::multiplies_few_rows()) {
    std::fprintf(stderr, "bench_few_rows: this processor has no AVX-512: all products are oneDNN's\n");
    return 1;
  }
  for (const std::int64_t n : rows) compare(n, rounds, models::StudentConfig{});
  return 0;
}
