// Operations that models are made of: attention, texts, the student's head, losses.
#include "autograd/composed.h"
#include "tests/autograd/op_table.h"

namespace vitral::test {
namespace {

Tensor tokens_for(const Variable& x, const std::vector<std::int64_t>& numbers, const Shape& shape) {
  return Tensor::from(numbers, shape).to(x.device());
}

// The rows of `table` for tokens as a product with a matrix of ones and zeros.
Variable by_product(const Variable& table, const std::vector<std::int64_t>& tokens, const Shape& shape) {
  const std::int64_t rows = table.dim(0);
  Tensor ones = Tensor::zeros({static_cast<std::int64_t>(tokens.size()), rows}, DType::float64);
  for (std::size_t i = 0; i < tokens.size(); ++i)
    if (tokens[i] >= 0) ones.data<double>()[static_cast<std::int64_t>(i) * rows + tokens[i]] = 1;
  return reshape(matmul(Variable(ones.cast(table.dtype()).to(table.device())), table),
                 shape.append(table.dim(1)));
}

OpRow neighbourhood_row(const Neighbourhood& n, std::int64_t heads, std::int64_t size) {
  return {.name = "neighbourhood_attention",
          .shapes = {{2, n.tokens(), 3 * heads * size}},
          .f = [=](const Inputs& x) { return neighbourhood_attention(x[0], heads, n); },
          .reference = [=](const Inputs& x) { return composed::neighbourhood_attention(x[0], heads, n); },
          .variant = fmt::format("{}x{} window {} dilation {} registers {}", n.grid.rows, n.grid.columns,
                                 n.window, n.dilation, n.registers)};
}

OpRow rope_row(const TokenGrid& grid, std::int64_t tokens, std::int64_t heads, std::int64_t size) {
  return {.name = "rope",
          .shapes = {{2, tokens, 3 * heads * size}},
          .f = [=](const Inputs& x) { return rope(x[0], heads, grid); },
          .reference = [=](const Inputs& x) { return composed::rope(x[0], heads, grid); },
          .variant = fmt::format("{}x{} of {} tokens, heads of {}", grid.rows, grid.columns, tokens, size)};
}

}  // namespace

std::vector<OpRow> model_op_rows() {
  std::vector<OpRow> rows;
  rows.push_back({.name = "attention",
                  .shapes = {{2, 6, 3 * 2 * 5}},
                  .f = [](const Inputs& x) { return attention(x[0], 2); },
                  .reference = [](const Inputs& x) { return composed::attention(x[0], 2); }});
  // Causal attention of the first n tokens is full attention's last row.
  rows.push_back({.name = "causal_attention",
                  .shapes = {{2, 6, 3 * 2 * 5}},
                  .f = [](const Inputs& x) { return causal_attention(x[0], 2); },
                  .reference =
                      [](const Inputs& x) {
                        std::vector<Variable> tokens;
                        for (std::int64_t n = 1; n <= 6; ++n)
                          tokens.push_back(slice(attention(slice(x[0], 1, 0, n), 2), 1, n - 1, n));
                        return concat(tokens, 1);
                      }});
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
  rows.push_back(neighbourhood_row({.grid = {3, 4}, .window = 3}, 2, 3));
  rows.push_back(neighbourhood_row({.grid = {5, 2}, .window = 5}, 1, 17));
  rows.push_back(neighbourhood_row({.grid = {2, 3}, .window = 1}, 2, 2));
  rows.push_back(neighbourhood_row({.grid = {5, 4}, .window = 3, .dilation = 2}, 2, 3));
  rows.push_back(neighbourhood_row({.grid = {7, 9}, .window = 5, .dilation = 3}, 1, 9));
  rows.push_back(neighbourhood_row({.grid = {3, 4}, .window = 3, .registers = 2}, 2, 3));
  rows.push_back(neighbourhood_row({.grid = {4, 5}, .window = 3, .dilation = 2, .registers = 5}, 2, 9));
  rows.push_back(neighbourhood_row({.grid = {1, 1}, .window = 1, .registers = 1}, 1, 2));
  rows.push_back(rope_row({3, 4}, 12, 2, 9));
  rows.push_back(rope_row({2, 3}, 8, 3, 8));
  rows.push_back(rope_row({2, 2}, 4, 2, 3));
  // A dilation as wide as the grid leaves each token itself.
  rows.push_back({.name = "neighbourhood_attention",
                  .shapes = {{2, 6, 3 * 4}},
                  .f =
                      [](const Inputs& x) {
                        return neighbourhood_attention(x[0], 2, {.grid = {2, 3}, .window = 3, .dilation = 3});
                      },
                  .reference = [](const Inputs& x) { return slice(x[0], 2, 8, 12); },
                  .variant = "itself"});

  for (const bool same_norm : {true, false})
    for (const double temperature : {1.0, 0.5}) {
      const auto scale = [=](const Inputs& x) { return same_norm ? x[1] : Variable(); };
      rows.push_back(
          {.name = "patch_pooling",
           .shapes = same_norm ? std::vector<Shape>{{2, 6, 3 * 5}, {1}} : std::vector<Shape>{{2, 6, 3 * 5}},
           .f = [=](const Inputs& x) { return patch_pooling(x[0], scale(x), 3, temperature); },
           .reference =
               [=](const Inputs& x) {
                 return composed::patch_pooling(x[0], scale(x), 3, temperature).embedding;
               },
           .low = 0.2,
           .variant = fmt::format("{} temperature {}", same_norm ? "same norm" : "plain", temperature)});
    }

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
  rows.push_back({.name = "distillation_loss",
                  .shapes = {{3, 6}, {3, 6}},
                  .f = [](const Inputs& x) { return distillation_loss(x[0], x[1], 20); },
                  .reference = [](const Inputs& x) { return composed::distillation_loss(x[0], x[1], 20); }});

  const std::vector<std::int64_t> tokens{3, 0, 4, -1, 4, 0, 0, 4, -1, -1};
  rows.push_back({.name = "embedding",
                  .shapes = {{5, 3}},
                  .f =
                      [=](const Inputs& x) {
                        return embedding(x[0], tokens_for(x[0], tokens, {2, 5}));
                      },
                  .reference =
                      [=](const Inputs& x) {
                        return by_product(x[0], tokens, {2, 5});
                      }});
  // Two users of one table: the second adds to the gradient of the first.
  rows.push_back({.name = "embedding",
                  .shapes = {{5, 150}},
                  .f =
                      [=](const Inputs& x) {
                        return add(embedding(x[0], tokens_for(x[0], tokens, {10})),
                                   embedding(x[0], tokens_for(x[0], {1, 1, 4, -1, 2, 2, 2, 2, 2, 2}, {10})));
                      },
                  .reference =
                      [=](const Inputs& x) {
                        return add(by_product(x[0], tokens, {10}),
                                   by_product(x[0], {1, 1, 4, -1, 2, 2, 2, 2, 2, 2}, {10}));
                      },
                  .variant = "twice"});
  // Ends first, in the middle twice, and last; no token at all is the first place.
  const std::vector<std::int64_t> ends{7, 2, 0, -1, 1, 7, 3, 7, 1, 2, 5, 6, -1, -1, -1, -1};
  rows.push_back({.name = "end_of_text_pooling",
                  .shapes = {{4, 4, 3}},
                  .f =
                      [=](const Inputs& x) {
                        return end_of_text_pooling(x[0], tokens_for(x[0], ends, {4, 4}));
                      },
                  .reference =
                      [](const Inputs& x) {
                        const Variable all = reshape(x[0], {16, 3});
                        std::vector<Variable> rows;
                        for (const std::int64_t i : {0, 5, 11, 12}) rows.push_back(slice(all, 0, i, i + 1));
                        return concat(rows, 0);
                      }});
  // By the softmax of the products' exponentials, and of the pairs that are there alone.
  const auto by_softmax = [](const Variable& images, const Variable& texts, const Variable& log_scale) {
    const Variable logits =
        mul(matmul(composed::l2_normalize(images), composed::l2_normalize(texts), true), exp(log_scale));
    Variable loss;
    const std::int64_t b = images.dim(0);
    for (const Variable& p : {composed::softmax(logits), composed::softmax(permute(logits, {1, 0}))})
      for (std::int64_t i = 0; i < b; ++i) {
        const Variable own = reshape(log(slice(slice(p, 0, i, i + 1), 1, i, i + 1)), {1});
        loss = loss.defined() ? add(loss, own) : own;
      }
    return affine(loss, -0.5 / static_cast<double>(b));
  };
  rows.push_back({.name = "info_nce",
                  .shapes = {{5, 4}, {5, 4}, {1}},
                  .f = [](const Inputs& x) { return info_nce(x[0], x[1], x[2]); },
                  .reference = [=](const Inputs& x) { return by_softmax(x[0], x[1], x[2]); }});
  rows.push_back({.name = "info_nce",
                  .shapes = {{5, 4}, {5, 4}, {1}},
                  .f =
                      [](const Inputs& x) {
                        const Tensor present = Tensor::from<float>({1, 0, 1, 1, 0}, {5});
                        return info_nce(x[0], x[1], x[2], present.to(x[0].device()));
                      },
                  .reference =
                      [=](const Inputs& x) {
                        const auto there = [](const Variable& y) {
                          return concat({slice(y, 0, 0, 1), slice(y, 0, 2, 4)}, 0);
                        };
                        return by_softmax(there(x[0]), there(x[1]), x[2]);
                      },
                  .variant = "present"});
  return rows;
}

}  // namespace vitral::test
