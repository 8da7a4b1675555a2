#include "tests/autograd/op_table.h"

#include <cmath>
#include <tuple>

#include "autograd/composed.h"

namespace vitral::test {
namespace {

Variable constant_like(const Variable& x, const Shape& shape, double value) {
  return Variable(Tensor::full(shape, value, x.dtype(), x.device()));
}

SampleDraws some_draws(const Variable& x) {
  return {.seed = 3,
          .step = Tensor::full({1}, 7, DType::int64).to(x.device()),
          .first_sample = 11,
          .layer = 5,
          .branch = 1};
}

}  // namespace

std::vector<OpRow> op_table() {
  std::vector<OpRow> rows;
  const auto one = [&](const char* name, Variable (*f)(const Variable&), Function reference = {},
                       double low = -2, double high = 2) {
    rows.push_back({.name = name,
                    .shapes = {{3, 47}},  // more than one array of lanes, and a tail
                    .f = [f](const Inputs& x) { return f(x[0]); },
                    .reference = std::move(reference),
                    .low = low,
                    .high = high});
  };
  const auto ones = [](const Variable& x) { return constant_like(x, {1}, 1); };
  one("neg", neg, [](const Inputs& x) { return affine(x[0], -1); });
  one("exp", exp);
  one("log", log, {}, 0.2, 3);
  one("sqrt", sqrt, {}, 0.2, 3);
  one("square", square, [](const Inputs& x) { return mul(x[0], x[0]); });
  one("abs", abs,
      [](const Inputs& x) { return sub(relu(x[0]), minimum(x[0], constant_like(x[0], {1}, 0))); });
  one("sigmoid", sigmoid, [=](const Inputs& x) { return div(ones(x[0]), add(ones(x[0]), exp(neg(x[0])))); });
  one("tanh", tanh, [](const Inputs& x) { return affine(sigmoid(affine(x[0], 2)), 2, -1); });
  one("relu", relu, [](const Inputs& x) { return neg(minimum(neg(x[0]), constant_like(x[0], {1}, 0))); });
  one("silu", silu, [](const Inputs& x) { return mul(x[0], sigmoid(x[0])); });
  one("quick_gelu", quick_gelu, [](const Inputs& x) { return mul(x[0], sigmoid(affine(x[0], 1.702))); });
  one("gelu", gelu, [=](const Inputs& x) {
    const Variable inner = affine(add(x[0], affine(mul(square(x[0]), x[0]), 0.044715)), std::sqrt(2 / M_PI));
    return mul(affine(x[0], 0.5), affine(tanh(inner), 1, 1));
  });

  // erf from its power series, 2 / sqrt(pi) sum_n (-1)^n z^(2n+1) / (n! (2n+1)), which 30 terms give for |z|
  // < 1.5.
  one("gelu_erf", gelu_erf, [=](const Inputs& x) {
    const Variable z = affine(x[0], M_SQRT1_2), minus_squares = neg(square(z));
    Variable power = z, series = z;
    double factorial = 1;
    for (int n = 1; n < 30; ++n) {
      power = mul(power, minus_squares);
      factorial *= n;
      series = add(series, affine(power, 1 / (factorial * (2 * n + 1))));
    }
    return mul(affine(x[0], 0.5), affine(series, M_2_SQRTPI, 1));
  });

  for (const auto& [a, b] : std::vector<std::pair<Shape, Shape>>{{{2, 3, 4}, {2, 3, 4}},
                                                                 {{2, 3, 4}, {4}},
                                                                 {{2, 3, 4}, {3, 1}},
                                                                 {{1, 3, 1}, {2, 1, 4}},
                                                                 {{1}, {5, 2}}}) {
    const std::string variant = a.str() + b.str();
    const auto two = [&](const char* name, Variable (*f)(const Variable&, const Variable&),
                         Function reference, double low) {
      rows.push_back({.name = name,
                      .shapes = {a, b},
                      .f = [f](const Inputs& x) { return f(x[0], x[1]); },
                      .reference = std::move(reference),
                      .low = low,
                      .variant = variant});
    };
    two(
        "add", add, [](const Inputs& x) { return sub(x[0], neg(x[1])); }, -2);
    two(
        "sub", sub, [](const Inputs& x) { return add(x[0], neg(x[1])); }, -2);
    two(
        "mul", mul, [](const Inputs& x) { return exp(add(log(x[0]), log(x[1]))); }, 0.3);
    two(
        "div", div, [](const Inputs& x) { return exp(sub(log(x[0]), log(x[1]))); }, 0.3);
    two(
        "minimum", minimum, [](const Inputs& x) { return sub(x[0], relu(sub(x[0], x[1]))); }, -2);
  }
  rows.push_back({.name = "affine",
                  .shapes = {{3, 5}},
                  .f = [](const Inputs& x) { return affine(x[0], 1.5, -0.25); },
                  .reference =
                      [](const Inputs& x) {
                        return sub(mul(x[0], constant_like(x[0], {1}, 1.5)), constant_like(x[0], {1}, 0.25));
                      }});

  rows.push_back({.name = "mix_tokens",
                  .shapes = {{2, 4, 3}, {5, 4}},
                  .f = [](const Inputs& x) { return mix_tokens(x[0], x[1]); },
                  .reference =
                      [](const Inputs& x) {
                        const Variable each = mul(reshape(x[0], {2, 1, 4, 3}), reshape(x[1], {1, 5, 4, 1}));
                        return sum(each, 2);
                      }});

  rows.push_back({.name = "reshape", .shapes = {{2, 6}}, .f = [](const Inputs& x) {
                    return reshape(x[0], {3, -1});
                  }});
  rows.push_back({.name = "permute",
                  .shapes = {{2, 3, 4}},
                  .f =
                      [](const Inputs& x) {
                        return permute(x[0], {2, 0, 1});
                      },
                  .reference =
                      [](const Inputs& x) {
                        return permute(permute(x[0], {0, 2, 1}), {1, 0, 2});
                      }});
  rows.push_back({.name = "slice",
                  .shapes = {{2, 5, 3}},
                  .f = [](const Inputs& x) { return slice(x[0], 1, 1, 4); },
                  .reference = [](const Inputs& x) { return slice(slice(x[0], -2, 0, 4), 1, 1, 4); }});
  rows.push_back({.name = "concat", .shapes = {{2, 1, 3}, {2, 4, 3}}, .f = [](const Inputs& x) {
                    return concat({x[0], x[1], x[0]}, 1);
                  }});

  rows.push_back({.name = "append_tokens",
                  .shapes = {{3, 4, 5}, {2, 5}},
                  .f = [](const Inputs& x) { return append_tokens(x[0], x[1]); },
                  .reference = [](const Inputs& x) { return composed::append_tokens(x[0], x[1]); }});
  rows.push_back({.name = "cast",
                  .shapes = {{3, 5}},
                  .f = [](const Inputs& x) { return cast(x[0], DType::float64); },
                  .reference = [](const Inputs& x) { return affine(x[0], 1); }});
  rows.push_back({.name = "drop_path",
                  .shapes = {{9, 2, 8}},
                  .f = [](const Inputs& x) { return drop_path(x[0], 0.4, some_draws(x[0])); },
                  .reference =
                      [](const Inputs& x) {
                        Tensor factors({9, 1, 1}, DType::float64);
                        for (int i = 0; i < 9; ++i)
                          factors.data<double>()[i] =
                              Random(3, 7, 11 + i, 5, 1).uniform() < 0.4 ? 0 : 1 / 0.6;
                        return mul(x[0], Variable(factors.cast(x[0].dtype()).to(x[0].device())));
                      }});
  rows.push_back({.name = "drop_path",  // rows that are no whole packs
                  .shapes = {{5, 7}},
                  .f = [](const Inputs& x) { return drop_path(x[0], 0.4, some_draws(x[0])); },
                  .variant = "odd"});

  for (int axis : {0, 1, 2}) {
    rows.push_back(
        {.name = "sum",
         .shapes = {{3, 4, 5}},
         .f = [=](const Inputs& x) { return sum(x[0], axis); },
         .reference =
             [=](const Inputs& x) { return affine(mean(x[0], axis), static_cast<double>(x[0].dim(axis))); },
         .variant = fmt::format("axis {}", axis)});
    rows.push_back({.name = "mean",
                    .shapes = {{3, 4, 5}},
                    .f = [=](const Inputs& x) { return mean(x[0], axis); },
                    .reference =
                        [=](const Inputs& x) {
                          const std::int64_t n = x[0].dim(axis);
                          Variable total = slice(x[0], axis, 0, 1);
                          for (std::int64_t i = 1; i < n; ++i)
                            total = add(total, slice(x[0], axis, i, i + 1));
                          Variable flat = affine(total, 1.0 / static_cast<double>(n));
                          return axis == 0   ? reshape(flat, {4, 5})
                                 : axis == 1 ? reshape(flat, {3, 5})
                                             : reshape(flat, {3, 4});
                        },
                    .variant = fmt::format("axis {}", axis)});
  }
  rows.push_back({.name = "sum",
                  .shapes = {{300, 7}},
                  .f = [](const Inputs& x) { return sum(x[0], 0); },
                  .variant = "long"});
  rows.push_back({.name = "sum",
                  .shapes = {{4, 5}},
                  .f = [](const Inputs& x) { return sum(x[0]); },
                  .reference = [](const Inputs& x) { return sum(sum(x[0], 1), 0); },
                  .variant = "all"});
  rows.push_back({.name = "mean",
                  .shapes = {{4, 5}},
                  .f = [](const Inputs& x) { return mean(x[0]); },
                  .reference = [](const Inputs& x) { return mean(mean(x[0], 1), 0); },
                  .variant = "all"});

  const auto by_parts = [](const Inputs& x) {  // sum over k of column k times row k
    Variable c;
    const bool batched = x[1].rank() == 3;
    for (std::int64_t k = 0; k < x[0].dim(-1); ++k) {
      const Variable row = slice(x[1], batched ? 1 : 0, k, k + 1);
      const Variable part = mul(slice(x[0], -1, k, k + 1), row);
      c = c.defined() ? add(c, part) : part;
    }
    return c;
  };
  rows.push_back({.name = "matmul",
                  .shapes = {{4, 3}, {3, 5}},
                  .f = [](const Inputs& x) { return matmul(x[0], x[1]); },
                  .reference = by_parts,
                  .variant = "2D"});
  rows.push_back({.name = "matmul",
                  .shapes = {{2, 4, 3}, {2, 3, 5}},
                  .f = [](const Inputs& x) { return matmul(x[0], x[1]); },
                  .reference = by_parts,
                  .variant = "batched"});
  rows.push_back({.name = "matmul",
                  .shapes = {{2, 4, 3}, {3, 5}},
                  .f = [](const Inputs& x) { return matmul(x[0], x[1]); },
                  .reference = by_parts,
                  .variant = "shared"});
  rows.push_back({.name = "matmul",
                  .shapes = {{2, 4, 3}, {2, 5, 3}},
                  .f = [](const Inputs& x) { return matmul(x[0], x[1], true); },
                  .reference =
                      [](const Inputs& x) {
                        return matmul(x[0], permute(x[1], {0, 2, 1}));
                      },
                  .variant = "transposed"});
  rows.push_back({.name = "matmul",
                  .shapes = {{2, 4, 3}, {5, 3}},
                  .f = [](const Inputs& x) { return matmul(x[0], x[1], true); },
                  .reference =
                      [](const Inputs& x) {
                        return matmul(x[0], permute(x[1], {1, 0}));
                      },
                  .variant = "shared transposed"});
  rows.push_back({.name = "linear",
                  .shapes = {{2, 3, 4}, {5, 4}, {5}},
                  .f = [](const Inputs& x) { return linear(x[0], x[1], x[2]); },
                  .reference = [](const Inputs& x) { return composed::linear(x[0], x[1], x[2]); }});
  rows.push_back({.name = "linear",
                  .shapes = {{3, 4}, {5, 4}},
                  .f = [](const Inputs& x) { return linear(x[0], x[1], {}); },
                  .reference = [](const Inputs& x) { return composed::linear(x[0], x[1], {}); },
                  .variant = "no bias"});

  using Op = Variable (*)(const Variable&);
  for (const auto& [name, op, f] : {std::tuple<const char*, Op, const ActivationKernels*>{
                                        "quick_gelu", quick_gelu, &activations::quick_gelu},
                                    {"silu", silu, &activations::silu},
                                    {"gelu", gelu, &activations::gelu}})
    for (const bool biased : {true, false}) {
      const auto bias = [=](const Inputs& x) { return biased ? x[2] : Variable(); };
      rows.push_back(
          {.name = "activation_linear",
           .shapes =
               biased ? std::vector<Shape>{{2, 3, 8}, {5, 8}, {5}} : std::vector<Shape>{{2, 3, 8}, {5, 8}},
           .f = [=, f = f](const Inputs& x) { return activation_linear(x[0], x[1], bias(x), *f); },
           .reference =
               [=, op = op](const Inputs& x) { return composed::activation_linear(op, x[0], x[1], bias(x)); },
           .variant = fmt::format("{} {}", name, biased ? "bias" : "no bias")});
    }

  rows.push_back(
      {.name = "mlp",
       .shapes = {{2, 3, 8}, {5, 8}, {5}, {4, 5}, {4}},
       .f = [](const Inputs& x) { return mlp(x[0], x[1], x[2], x[3], x[4], activations::quick_gelu); },
       .reference =
           [](const Inputs& x) {
             return composed::activation_linear(quick_gelu, composed::linear(x[0], x[1], x[2]), x[3], x[4]);
           }});

  rows.push_back({.name = "layer_norm",
                  .shapes = {{2, 37, 9}, {9}, {9}},
                  .f = [](const Inputs& x) { return layer_norm(x[0], x[1], x[2]); },
                  .reference = [](const Inputs& x) { return composed::layer_norm(x[0], x[1], x[2]); }});
  // Width 528 is the student's. sum and norm both count: the norm's gradient goes through the sum as well.
  for (const auto& [shape, delta] : std::vector<std::pair<Shape, Shape>>{
           {{2, 7, 9}, {2, 7, 9}}, {{3, 5, 8}, {5, 8}}, {{2, 3, 33}, {33}}}) {
    const std::int64_t width = shape[2];
    const auto both = [](const SumAndNorm& y) { return add(affine(y.sum, 0.5), y.norm); };
    rows.push_back(
        {.name = "add_layer_norm",
         .shapes = {shape, delta, {width}, {width}},
         .f = [=](const Inputs& x) { return both(add_layer_norm(x[0], x[1], x[2], x[3])); },
         .reference = [=](const Inputs& x) { return both(composed::add_layer_norm(x[0], x[1], x[2], x[3])); },
         .variant = shape.str() + delta.str(),
         .bfloat16_tolerance = 4e-2});
  }
  rows.push_back({.name = "rms_norm",
                  .shapes = {{2, 37, 9}, {9}},
                  .f = [](const Inputs& x) { return rms_norm(x[0], x[1]); },
                  .reference = [](const Inputs& x) { return composed::rms_norm(x[0], x[1]); }});
  for (const auto& [shape, delta] :
       std::vector<std::pair<Shape, Shape>>{{{2, 7, 9}, {2, 7, 9}}, {{3, 5, 8}, {5, 8}}}) {
    const auto both = [](const SumAndNorm& y) { return add(affine(y.sum, 0.5), y.norm); };
    rows.push_back(
        {.name = "add_rms_norm",
         .shapes = {shape, delta, {shape[2]}},
         .f = [=](const Inputs& x) { return both(add_rms_norm(x[0], x[1], x[2])); },
         .reference = [=](const Inputs& x) { return both(composed::add_rms_norm(x[0], x[1], x[2])); },
         .variant = shape.str() + delta.str(),
         .bfloat16_tolerance = 4e-2});
  }
  rows.push_back({.name = "l2_normalize",
                  .shapes = {{3, 7}},
                  .f = [](const Inputs& x) { return l2_normalize(x[0]); },
                  .reference = [](const Inputs& x) { return composed::l2_normalize(x[0]); },
                  .low = 0.1});
  rows.push_back({.name = "softmax",
                  .shapes = {{3, 7}},
                  .f = [](const Inputs& x) { return softmax(x[0]); },
                  .reference = [](const Inputs& x) { return composed::softmax(x[0]); }});
  for (const Shape& shape : {Shape{3, 7}, Shape{2, 3, 1}, Shape{2, 300}, Shape{5}})
    rows.push_back({.name = "logsumexp",
                    .shapes = {shape},
                    .f = [](const Inputs& x) { return logsumexp(x[0]); },
                    .reference = [](const Inputs& x) { return log(sum(exp(x[0]), -1)); },
                    .variant = shape.str()});

  for (OpRow& row : model_op_rows()) rows.push_back(std::move(row));
  for (OpRow& row : rows) {
    if (row.name == "linear" || row.name == "activation_linear" || row.name == "layer_norm" ||
        row.name == "append_tokens" || row.name == "rms_norm")
      row.parameters_from = 1;
    if (row.name == "info_nce") row.parameters_from = 2;
    if (row.name == "patch_pooling" && row.shapes.size() > 1) row.parameters_from = 1;
    // A delta that is smaller than x is a parameter, too: the positional embedding.
    if (row.name == "add_layer_norm" || row.name == "add_rms_norm")
      row.parameters_from = row.shapes[0] == row.shapes[1] ? 2 : 1;
  }
  return rows;
}

}  // namespace vitral::test
