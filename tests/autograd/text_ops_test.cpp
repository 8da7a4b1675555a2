// What the table of operations cannot say of those that read texts: errors, edges, threads.
#include <cmath>
#include <limits>

#include <gtest/gtest.h>
#include <omp.h>

#include "base/random.h"
#include "tests/autograd/op_table.h"
#include "tests/support.h"

namespace vitral::test {
namespace {

using Numbers = std::vector<std::int64_t>;

Variable variable(const Shape& shape, std::uint64_t seed = 1) {
  Random random(seed, 1);
  std::vector<float> values(static_cast<std::size_t>(shape.numel()));
  for (float& x : values) x = static_cast<float>(random.uniform(-1, 1));
  return Variable(Tensor::from(values, shape), true);
}
Variable number(double x) { return Variable(Tensor::full({1}, x), true); }

TEST(Embedding, NamesWhatIsWrong) {
  const Variable table = variable({4, 3});
  const auto message = [&](const Tensor& tokens) { return message_of([&] { embedding(table, tokens); }); };
  EXPECT_EQ(message(Tensor::from(Numbers{0, 4}, {2})),
            "embedding: token 4 is not among the 4 rows of the table [4, 3]");
  EXPECT_EQ(message(Tensor::from(Numbers{0, -2}, {2})),
            "embedding: token -2 is not among the 4 rows of the table [4, 3]");
  EXPECT_EQ(message(Tensor::zeros({2})),
            "embedding: table [4, 3] must be [V, W], tokens float32 [2] int64 [...]");
  EXPECT_EQ(message_of([&] {
              end_of_text_pooling(variable({2, 5, 3}), Tensor::zeros({2, 4}, DType::int64));
            }),
            "end_of_text_pooling: tokens int64 [2, 4] must be int64 [T, L] for x [2, 5, 3] [T, L, W]");
}

// The same bits whatever the number of threads: many tokens of few rows, and a row that all want.
TEST(Embedding, GradientsDoNotDependOnThreads) {
  Random random(2, 1);
  Numbers tokens(4096);
  for (auto& token : tokens)
    token = random.next() % 3 == 0 ? 7 : static_cast<std::int64_t>(random.next() % 200) - 1;
  const Variable weights = variable({4096, 16}, 3);
  const auto gradient = [&] {
    const Variable table = variable({199, 16});
    sum(mul(embedding(table, Tensor::from(tokens, {4096})), weights)).backward();
    return table.grad().to_vector();
  };
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  const auto one = gradient();
  omp_set_num_threads(3);
  const auto three = gradient();
  omp_set_num_threads(before);
  EXPECT_EQ(one, three);
}

// A token that names no row of a table on a GPU reads and changes nothing.
TEST(EmbeddingOnCuda, OtherTokensAreNone) {
  VITRAL_NEEDS_DEVICE(gpu);
  const Variable table(variable({4, 3}).value().to(gpu), true);
  const Variable y = embedding(table, Tensor::from(Numbers{1, 4, -7, 1 << 30}, {4}).to(gpu));
  const auto rows = y.value().to(cpu).rows(1, 4).to_vector();
  EXPECT_EQ(rows, std::vector<double>(9, 0));
  sum(y).backward();
  EXPECT_EQ(table.grad().to_vector(), (std::vector<double>{0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0}));
}

// Whole numbers of a unit: gradients of any size, and one that is no number.
TEST(EmbeddingOnCuda, GradientsOfAnySize) {
  VITRAL_NEEDS_DEVICE(gpu);
  const auto gradient = [&](float a, float b) {
    const Variable table(Tensor::zeros({2, 1}).to(gpu), true);
    const Variable weights(Tensor::from(std::vector<float>{a, b, a}, {3, 1}).to(gpu));
    sum(mul(embedding(table, Tensor::from(Numbers{0, 1, 0}, {3}).to(gpu)), weights)).backward();
    return table.grad().to_vector();
  };
  EXPECT_EQ(gradient(1e-44F, 0), (std::vector<double>{2.0 * 1e-44F, 0}));
  EXPECT_EQ(gradient(1e38F, -1e30F), (std::vector<double>{2.0 * 1e38F, -1e30F}));
  EXPECT_EQ(gradient(0, 0), (std::vector<double>{0, 0}));
  EXPECT_TRUE(std::isnan(gradient(1, std::numeric_limits<float>::quiet_NaN())[1]));
  EXPECT_FALSE(std::isfinite(gradient(std::numeric_limits<float>::infinity(), 1)[0]));
}

TEST(InfoNce, NamesWhatIsWrong) {
  const Variable x = variable({3, 4});
  EXPECT_EQ(message_of([&] {
              info_nce(x, variable({3, 5}), number(0));
            }),
            "info_nce: images [3, 4] and texts [3, 5] must both be [B, E]");
  EXPECT_EQ(message_of([&] { info_nce(x, x, variable({2})); }), "info_nce: log_scale [2] must be one number");
  EXPECT_EQ(message_of([&] { info_nce(x, x, number(0), Tensor::full({4}, 1)); }),
            "info_nce: present float32 [4] must be float32 [3]");
}

TEST(InfoNce, TheScaleIsAtMostAHundred) {
  const Variable x = variable({4, 6}), y = variable({4, 6}, 2);
  const Variable most = number(std::log(100.0)), above = number(7);
  const Variable loss = info_nce(x, y, above);
  EXPECT_NEAR(loss.item(), info_nce(x, y, most).item(), 1e-5 * loss.item());
  loss.backward();
  EXPECT_EQ(above.grad().item(), 0);
}

TEST(InfoNce, APairAloneTeachesNothing) {
  const Variable x = variable({1, 6}), y = variable({1, 6}, 2), scale = number(2);
  const Variable loss = info_nce(x, y, scale);
  EXPECT_NEAR(loss.item(), 0, 1e-6);
  loss.backward();
  for (const Variable& v : {x, y, scale})
    for (const double g : v.grad().to_vector()) EXPECT_NEAR(g, 0, 1e-6);
}

// Rows that are left out may have no direction, and learn nothing.
TEST(InfoNce, AbsentPairsMayBeAnything) {
  Tensor images = variable({4, 6}).value().clone(), texts = variable({4, 6}, 2).value().clone();
  images.rows(1, 2).fill(0);
  texts.rows(1, 2).fill(0);
  texts.rows(3, 4).fill(1e20);
  const Variable x(images, true), y(texts, true), scale = number(3);
  const Variable loss = info_nce(x, y, scale, Tensor::from(std::vector<float>{1, 0, 1, 0}, {4}));
  loss.backward();
  EXPECT_TRUE(std::isfinite(loss.item()) && loss.item() > 0);
  for (const Variable& v : {x, y}) {
    const auto g = v.grad().to_vector();
    for (std::size_t i = 0; i < g.size(); ++i) {
      EXPECT_TRUE(std::isfinite(g[i]));
      EXPECT_EQ(g[i] == 0, i / 6 % 2 == 1) << i;
    }
  }
  const Variable none = info_nce(x, y, scale, Tensor::zeros({4}));
  EXPECT_EQ(none.item(), 0);
}

}  // namespace
}  // namespace vitral::test
