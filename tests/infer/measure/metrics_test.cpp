#include "infer/measure/metrics.h"

#include <cmath>

#include <gtest/gtest.h>

#include "tests/noise.h"
#include "tests/support.h"

namespace vitral::infer {
namespace {

using test::message_of;
using test::noise;

TEST(EmbeddingMetrics, RetrievalInBothDirections) {
  // Rows 0 and 1 find their own target; row 2 is nearer to target 0. Lengths do not matter.
  const Tensor t = Tensor::from(std::vector<float>{9, 0, 0, 0, 1, 0, 0, 0, 0.1F}, {3, 3});
  const Tensor y = Tensor::from(std::vector<float>{1, 0.5F, 0, 0, 2, 1, 3, 0, 2}, {3, 3});
  EmbeddingMetrics metrics;
  metrics.add(y, t);
  EXPECT_NEAR(metrics.result().to_teacher.recall[0], 2 / 3.0, 1e-12);
  EXPECT_NEAR(metrics.result().to_student.recall[0], 1, 1e-12);  // 0.89 against 0.83; 0.89; 0.55 against 0.45
  EXPECT_EQ(metrics.result().to_teacher.candidates, 3);
}

TEST(EmbeddingMetrics, EqualTargetsCountAsTheOwn) {
  Tensor t = noise({20, 8}, 1);
  for (std::int64_t i = 0; i < 8; ++i) t.data<float>()[19 * 8 + i] = 3 * t.data<float>()[i];
  EmbeddingMetrics metrics;
  metrics.add(t, t);
  EXPECT_EQ(metrics.result().to_teacher.recall[0], 1);
  EXPECT_EQ(metrics.result().to_student.recall[0], 1);
}

TEST(EmbeddingMetrics, CandidatesAreTheFirstImages) {
  const Tensor t = noise({50, 8}, 1), other = noise({50, 8}, 2);
  EmbeddingMetrics metrics(50);
  metrics.add(t, t);
  metrics.add(other, t);  // wrong, but beyond the candidates
  const auto result = metrics.result();
  EXPECT_EQ(result.images, 100);
  EXPECT_EQ(result.to_teacher.candidates, 50);
  EXPECT_EQ(result.to_teacher.recall[0], 1);
}

TEST(EmbeddingMetrics, ErrorsAreOneLine) {
  EXPECT_EQ(message_of([] { EmbeddingMetrics().result(); }), "metrics: no images to measure");
  EXPECT_EQ(message_of([] { EmbeddingMetrics(0); }), "metrics: candidates is 0, it must be at least 1");
  EXPECT_EQ(message_of([] {
              EmbeddingMetrics().add(Tensor::zeros({2, 3}), Tensor::zeros({2, 4}));
            }),
            "metrics: targets [2, 4] must have the shape [B, D] of embeddings [2, 3]");
  EXPECT_EQ(message_of([] {
              EmbeddingMetrics().add(Tensor::zeros({2, 3}), Tensor::zeros({2, 3}, DType::float16));
            }),
            "metrics: embeddings float32 and targets float16 must be float32");
  EmbeddingMetrics metrics;
  metrics.add(Tensor::full({2, 3}, 1), Tensor::full({2, 3}, 1));
  EXPECT_EQ(message_of([&] {
              metrics.add(Tensor::zeros({2, 4}), Tensor::zeros({2, 4}));
            }),
            "metrics: embeddings [2, 4] must have the width 3 of earlier batches");
}

}  // namespace
}  // namespace vitral::infer
