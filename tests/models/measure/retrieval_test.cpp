#include "models/measure/retrieval.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "tests/noise.h"
#include "tests/support.h"

namespace vitral::models {
namespace {

using test::message_of;
using test::noise;

// Query i is answered by candidate i.
Answers one_each(std::int64_t count) {
  Answers a;
  for (std::int64_t i = 0; i < count; ++i) {
    a.group.push_back(i);
    a.members.push_back({i});
  }
  return a;
}

TEST(Rank, ProbabilityAmongTheFirst) {
  EXPECT_EQ((Rank{0, 0, 1}).within(1), 1);
  EXPECT_EQ((Rank{1, 0, 1}).within(1), 0);
  EXPECT_EQ((Rank{1, 0, 1}).within(2), 1);
  EXPECT_NEAR((Rank{0, 3, 1}).within(1), 0.25, 1e-12);
  EXPECT_NEAR((Rank{2, 3, 1}).within(4), 0.5, 1e-12);           // two of four places
  EXPECT_NEAR((Rank{0, 4, 2}).within(2), 1 - 6 / 15.0, 1e-12);  // C(4,2) of C(6,2) pairs hold none
  EXPECT_EQ((Rank{0, 4, 2}).within(5), 1);                      // five of six places hold a right one
  EXPECT_EQ((Rank{3, 0, 0}).within(10), 0);                     // no right answer that is a number
}

TEST(Places, ByHand) {
  // Cosines of the query (1,0): 1, 0.6, 0, -1, and again 0.6.
  const Tensor q = Tensor::from(std::vector<float>{2, 0}, {1, 2});
  const Tensor c = Tensor::from(std::vector<float>{5, 0, 3, 4, 0, 1, -1, 0, 0.3F, -0.4F}, {5, 2});
  const auto at = [&](std::vector<std::int64_t> right) { return ranks(q, c, {{0}, {std::move(right)}})[0]; };
  const auto expect = [](const Rank& p, std::int64_t above, std::int64_t wrong, std::int64_t right) {
    EXPECT_EQ(p.above, above);
    EXPECT_EQ(p.wrong, wrong);
    EXPECT_EQ(p.right, right);
  };
  expect(at({0}), 0, 0, 1);
  expect(at({1}), 1, 1, 1);
  expect(at({1, 4}), 1, 0, 2);
  expect(at({3}), 4, 0, 1);
  expect(at({2, 0, 3}), 0, 0, 1);  // the best of several counts
}

TEST(Retrieval, ConstantEmbeddingsScoreChance) {
  const Tensor same = Tensor::full({20, 4}, 0.7), other = noise({20, 4}, 1);
  for (const auto& [q, c] : {std::pair(same, other), std::pair(other, same), std::pair(same, same)}) {
    const Retrieval r = retrieval(q, c, one_each(20));
    EXPECT_NEAR(r.chance[0], 1 / 20.0, 1e-12);
    EXPECT_NEAR(r.chance[1], 5 / 20.0, 1e-12);
    EXPECT_NEAR(r.chance[2], 10 / 20.0, 1e-12);
    for (std::size_t d = 0; d < 3; ++d) EXPECT_NEAR(r.recall[d], r.chance[d], 1e-9);
  }
  EXPECT_NEAR(retrieval(Tensor::zeros({20, 4}), other, one_each(20)).recall[0], 1 / 20.0, 1e-12);
}

TEST(Retrieval, BlocksAgreeWithOneByOne) {
  constexpr std::int64_t n = 600, d = 16;  // three blocks, the last one short
  const Tensor t = noise({n, d}, 1), apart = noise({n, d}, 2);
  Tensor y({n, d});
  for (std::int64_t i = 0; i < n * d; ++i) y.data<float>()[i] = t.data<float>()[i] + apart.data<float>()[i];
  std::array<double, 3> found{};
  for (std::int64_t i = 0; i < n; ++i) {
    std::vector<double> cosines;
    for (std::int64_t j = 0; j < n; ++j) {
      double product = 0, squares = 0;
      for (std::int64_t k = 0; k < d; ++k) {
        product += double{y.data<float>()[i * d + k]} * t.data<float>()[j * d + k];
        squares += double{t.data<float>()[j * d + k]} * t.data<float>()[j * d + k];
      }
      cosines.push_back(product / std::sqrt(squares));
    }
    const double own = cosines[static_cast<std::size_t>(i)];
    const auto above = std::count_if(cosines.begin(), cosines.end(), [&](double c) { return c > own; });
    for (std::size_t k = 0; k < 3; ++k) found[k] += above < Retrieval::depths[k] ? 1 : 0;
  }
  EXPECT_GT(found[0], 100);
  EXPECT_LT(found[2], 590);
  const Retrieval r = retrieval(y, t, one_each(n));
  for (std::size_t k = 0; k < 3; ++k) EXPECT_NEAR(r.recall[k], found[k] / double{n}, 1e-12);
  EXPECT_EQ(r.queries, n);
  EXPECT_EQ(r.candidates, n);
}

TEST(Retrieval, ChanceWithSeveralAnswers) {
  // Two of four candidates are right for query 0, one for query 1.
  const Retrieval r = retrieval(noise({2, 3}, 1), noise({4, 3}, 2), {{0, 1}, {{0, 2}, {1}}});
  EXPECT_NEAR(r.chance[0], (2 / 4.0 + 1 / 4.0) / 2, 1e-12);
  EXPECT_NEAR(r.chance[1], 1, 1e-12);
}

TEST(Retrieval, WhatIsNotANumberIsNeverRightAndNeverInTheWay) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor c = Tensor::from(std::vector<float>{1, 0, nan, 1, 0, 1}, {3, 2});
  const Tensor q = Tensor::from(std::vector<float>{1, 0.1F, 1, 1, 0.1F, 1}, {3, 2});
  const Retrieval r = retrieval(q, c, one_each(3));
  EXPECT_NEAR(r.recall[0], 2 / 3.0, 1e-12);
  EXPECT_NEAR(r.recall[2], 2 / 3.0, 1e-12);
}

TEST(SameRows, GroupsByDirection) {
  const Tensor rows = Tensor::from(std::vector<float>{1, 2, 3, 0, 2, 4, 0, 1, 0.5F, 1}, {5, 2});
  const Answers a = same_rows(rows);
  EXPECT_EQ(a.group, (std::vector<std::int64_t>{0, 1, 0, 2, 0}));
  EXPECT_EQ(a.members, (std::vector<std::vector<std::int64_t>>{{0, 2, 4}, {1}, {3}}));
  // Beyond the first block.
  Tensor many = noise({300, 4}, 3);
  many.rows(290, 291).copy_from(many.rows(7, 8));
  EXPECT_EQ(same_rows(many).group[290], 7);
}

TEST(Retrieval, ErrorsAreOneLine) {
  const Tensor two = Tensor::full({2, 3}, 1);
  EXPECT_EQ(message_of([&] {
              retrieval(two, Tensor::full({2, 4}, 1), one_each(2));
            }),
            "retrieval: queries [2, 3] must match last dim of candidates [2, 4]");
  EXPECT_EQ(message_of([&] { retrieval(two, two, one_each(3)); }), "retrieval: 3 groups for 2 queries");
  EXPECT_EQ(message_of([&] {
              retrieval(two, two, {{0, 0}, {{}}});
            }),
            "retrieval: a group has no right answer");
  EXPECT_EQ(message_of([&] {
              retrieval(two, two, {{0, 0}, {{2}}});
            }),
            "retrieval: answer 2 is out of range, there are 2");
  EXPECT_EQ(message_of([&] {
              retrieval(two, two, {{0, 1}, {{0}}});
            }),
            "retrieval: group 1 is out of range, there are 1");
}

}  // namespace
}  // namespace vitral::models
