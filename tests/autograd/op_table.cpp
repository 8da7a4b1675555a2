#include "tests/autograd/op_table.h"

#include <cmath>

namespace vitral::test {
namespace {

Variable constant_like(const Variable& x, const Shape& shape, double value) {
  return Variable(Tensor::full(shape, value, x.dtype(), x.device()));
}

// Attention from products, an additive mask and softmax; sees(i, j) says which pairs attend.
Variable composed_attention(const Variable& qkv, std::int64_t heads,
                            const std::function<bool(std::int64_t, std::int64_t)>& sees) {
  const std::int64_t b = qkv.dim(0), n = qkv.dim(1), width = qkv.dim(2) / 3, d = width / heads;
  const auto head = [&](int part) {
    return permute(reshape(slice(qkv, 2, part * width, (part + 1) * width), {b, n, heads, d}), {0, 2, 1, 3});
  };
  std::vector<double> mask;
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < n; ++j) mask.push_back(sees(i, j) ? 0 : -1e30);
  const Variable m(Tensor::from(mask, {n, n}).cast(qkv.dtype()).to(qkv.device()));
  const Variable scores = affine(matmul(head(0), head(1), true), 1 / std::sqrt(static_cast<double>(d)));
  return reshape(permute(matmul(softmax(add(scores, m)), head(2)), {0, 2, 1, 3}), {b, n, width});
}

OpRow neighbourhood_row(TokenGrid grid, std::int64_t window, std::int64_t heads, std::int64_t size) {
  return {.name = "neighbourhood_attention",
          .shapes = {{2, grid.size(), 3 * heads * size}},
          .f = [=](const Inputs& x) { return neighbourhood_attention(x[0], heads, grid, window); },
          .reference =
              [=](const Inputs& x) {
                return composed_attention(x[0], heads, [=](std::int64_t i, std::int64_t j) {
                  return std::abs(i / grid.columns - j / grid.columns) <= window / 2 &&
                         std::abs(i % grid.columns - j % grid.columns) <= window / 2;
                });
              },
          .variant = fmt::format("{}x{} window {}", grid.rows, grid.columns, window)};
}

Variable unit(const Variable& x) {
  const std::int64_t rows = x.value().numel() / x.dim(-1);
  const Variable flat = reshape(x, {rows, x.dim(-1)});
  return reshape(div(flat, reshape(sqrt(sum(square(flat), 1)), {rows, 1})), {rows, x.dim(-1)});
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
                  .reference = [](const Inputs& x) { return add(matmul(x[0], x[1], true), x[2]); }});
  rows.push_back({.name = "linear",
                  .shapes = {{3, 4}, {5, 4}},
                  .f = [](const Inputs& x) { return linear(x[0], x[1], {}); },
                  .reference = [](const Inputs& x) { return matmul(x[0], x[1], true); },
                  .variant = "no bias"});

  for (const bool biased : {true, false})
    rows.push_back(
        {.name = "quick_gelu_linear",
         .shapes =
             biased ? std::vector<Shape>{{2, 3, 8}, {5, 8}, {5}} : std::vector<Shape>{{2, 3, 8}, {5, 8}},
         .f = [=](const Inputs& x) { return quick_gelu_linear(x[0], x[1], biased ? x[2] : Variable()); },
         .reference =
             [=](const Inputs& x) {
               const Variable y = matmul(mul(x[0], sigmoid(affine(x[0], 1.702))), x[1], true);
               return biased ? add(y, x[2]) : y;
             },
         .variant = biased ? "bias" : "no bias"});

  rows.push_back({.name = "layer_norm",
                  .shapes = {{2, 37, 9}, {9}, {9}},
                  .f = [](const Inputs& x) { return layer_norm(x[0], x[1], x[2]); },
                  .reference =
                      [](const Inputs& x) {
                        const Variable centred = sub(x[0], reshape(mean(x[0], -1), {2, 37, 1}));
                        const Variable var = reshape(mean(square(centred), -1), {2, 37, 1});
                        return add(mul(div(centred, sqrt(affine(var, 1, 1e-5))), x[1]), x[2]);
                      }});
  // Width 528 is the student's. sum and norm both count: the norm's gradient goes through the sum as well.
  for (const auto& [shape, delta] : std::vector<std::pair<Shape, Shape>>{
           {{2, 7, 9}, {2, 7, 9}}, {{3, 5, 8}, {5, 8}}, {{2, 3, 33}, {33}}}) {
    const std::int64_t width = shape[2];
    rows.push_back({.name = "add_layer_norm",
                    .shapes = {shape, delta, {width}, {width}},
                    .f =
                        [](const Inputs& x) {
                          const SumAndNorm y = add_layer_norm(x[0], x[1], x[2], x[3]);
                          return add(affine(y.sum, 0.5), y.norm);
                        },
                    .reference =
                        [](const Inputs& x) {
                          const Variable total = sub(x[0], neg(x[1]));
                          const Shape s = total.shape();
                          const Variable centred = sub(total, reshape(mean(total, -1), {s[0], s[1], 1}));
                          const Variable var = reshape(mean(square(centred), -1), {s[0], s[1], 1});
                          const Variable norm =
                              add(mul(div(centred, sqrt(affine(var, 1, 1e-5))), x[2]), x[3]);
                          return add(norm, affine(total, 0.5));
                        },
                    .variant = shape.str() + delta.str(),
                    .bfloat16_tolerance = 4e-2});
  }
  rows.push_back({.name = "l2_normalize",
                  .shapes = {{3, 7}},
                  .f = [](const Inputs& x) { return l2_normalize(x[0]); },
                  .reference = [](const Inputs& x) { return unit(x[0]); },
                  .low = 0.1});
  rows.push_back({.name = "softmax",
                  .shapes = {{3, 7}},
                  .f = [](const Inputs& x) { return softmax(x[0]); },
                  .reference =
                      [](const Inputs& x) {
                        return div(exp(x[0]), reshape(sum(exp(x[0]), 1), {3, 1}));
                      }});

  rows.push_back({.name = "attention",
                  .shapes = {{2, 6, 3 * 2 * 5}},
                  .f = [](const Inputs& x) { return attention(x[0], 2); },
                  .reference =
                      [](const Inputs& x) {
                        return composed_attention(x[0], 2, [](std::int64_t, std::int64_t) { return true; });
                      }});
  const auto not_later = [](std::int64_t i, std::int64_t j) { return j <= i; };
  rows.push_back({.name = "causal_attention",
                  .shapes = {{2, 6, 3 * 2 * 5}},
                  .f = [](const Inputs& x) { return causal_attention(x[0], 2); },
                  .reference = [=](const Inputs& x) { return composed_attention(x[0], 2, not_later); }});
  // Each row of weights tells the tokens' numbers apart: the values are unit vectors.
  rows.push_back({.name = "attention_weights",
                  .shapes = {{2, 5, 3 * 1 * 5}},
                  .f =
                      [](const Inputs& x) {
                        return reshape(attention_weights(x[0], 1), {2, 5, 5});
                      },
                  .reference =
                      [](const Inputs& x) {
                        Tensor ones = Tensor::zeros({2, 5, 5}, DType::float64);
                        for (std::int64_t i = 0; i < 10; ++i) ones.data<double>()[i * 5 + i % 5] = 1;
                        const Variable unit(ones.cast(x[0].dtype()).to(x[0].device()));
                        return attention(concat({slice(x[0], 2, 0, 10), unit}, 2), 1);
                      }});
  rows.push_back(neighbourhood_row({3, 4}, 3, 2, 3));
  rows.push_back(neighbourhood_row({5, 2}, 5, 1, 17));
  rows.push_back(neighbourhood_row({2, 3}, 1, 2, 2));

  for (const bool same_norm : {true, false})
    for (const double temperature : {1.0, 0.5}) {
      const auto x_and = [=](const Inputs& x) { return same_norm ? x[1] : Variable(); };
      rows.push_back(
          {.name = "patch_pooling",
           .shapes = same_norm ? std::vector<Shape>{{2, 6, 3 * 5}, {1}} : std::vector<Shape>{{2, 6, 3 * 5}},
           .f = [=](const Inputs& x) { return patch_pooling(x[0], x_and(x), 3, temperature); },
           .reference =
               [=](const Inputs& x) {
                 Variable logits, patches;
                 for (int h = 0; h < 3; ++h) {
                   const Variable last = slice(x[0], 2, 5 * h + 4, 5 * h + 5);
                   logits = h == 0 ? last : add(logits, last);
                 }
                 patches = concat({slice(x[0], 2, 0, 4), slice(x[0], 2, 5, 9), slice(x[0], 2, 10, 14)}, 2);
                 if (same_norm) patches = mul(reshape(unit(patches), {2, 6, 12}), x[1]);
                 const Variable e = exp(affine(logits, 1 / (3 * temperature)));
                 const Variable p = div(e, reshape(sum(e, 1), {2, 1, 1}));
                 return sum(mul(p, patches), 1);
               },
           .low = 0.2,
           .variant = fmt::format("{} temperature {}", same_norm ? "same norm" : "plain", temperature)});
    }

  rows.push_back({.name = "pool_patches",
                  .shapes = {{2, 6, 3 * 5}, {1}},
                  .f =
                      [](const Inputs& x) {
                        const PooledPatches y = pool_patches(x[0], x[1], 3, 0.7);
                        return concat({y.embedding, y.probs, reshape(y.patches, {2, -1})}, 1);
                      },
                  .low = 0.2});

  rows.push_back(
      {.name = "patchify",
       .shapes = {{2, 3, 4, 6}},
       .f = [](const Inputs& x) { return patchify(x[0], 2); },
       .reference =
           [](const Inputs& x) {
             return reshape(permute(reshape(x[0], {2, 3, 2, 2, 3, 2}), {0, 2, 4, 1, 3, 5}), {2, 6, 12});
           }});
  rows.push_back({.name = "mse_loss", .shapes = {{3, 4}, {3, 4}}, .f = [](const Inputs& x) {
                    return mse_loss(x[0], x[1]);
                  }});
  rows.push_back(
      {.name = "distillation_loss",
       .shapes = {{3, 6}, {3, 6}},
       .f = [](const Inputs& x) { return distillation_loss(x[0], x[1], 20); },
       .reference = [](const Inputs& x) { return affine(mean(abs(sub(unit(x[0]), unit(x[1])))), 20); }});
  for (OpRow& row : rows) {
    if (row.name == "linear" || row.name == "quick_gelu_linear" || row.name == "layer_norm")
      row.parameters_from = 1;
    if (row.name == "patch_pooling" && row.shapes.size() > 1) row.parameters_from = 1;
    // A delta that is smaller than x is a parameter, too: the positional embedding.
    if (row.name == "add_layer_norm") row.parameters_from = row.shapes[0] == row.shapes[1] ? 2 : 1;
  }
  return rows;
}

}  // namespace vitral::test
