// patch_pooling against its formula in double; autograd's tests compare the gradients with differences.
#include "tensor/ops/patch_pooling.h"
#include "tests/tensor/ops/kernels_support.h"

namespace vitral::test {
namespace {

struct Case {
  std::int64_t batch, tokens, heads, size;
  bool scaled = true;
  double scale = 2, temperature = 1;
  std::int64_t offset = 0;

  std::int64_t width() const { return heads * size; }
  std::int64_t stride() const { return heads * (size + 1); }
  /// Where number w of the embedding, and the last number of head h, are in a token.
  std::size_t value(std::int64_t w) const { return static_cast<std::size_t>(w + w / size); }
  std::size_t last(std::int64_t h) const { return static_cast<std::size_t>(h * (size + 1) + size); }
};

DType type_of_results(DType x) { return x == DType::float64 ? x : DType::float32; }

struct Pooled {
  Values embedding, probs, patches;
};

// One image: the tokens' numbers from `x` on.
Pooled pool_image(const double* x, const Case& c, double scale) {
  Pooled out{Values(static_cast<std::size_t>(c.width())), {}, {}};
  double maximum = -inf, sum = 0;
  for (std::int64_t n = 0; n < c.tokens; ++n) {
    const double* token = x + n * c.stride();
    double logit = 0, squares = 0;
    for (std::int64_t h = 0; h < c.heads; ++h) logit += token[c.last(h)] / static_cast<double>(c.heads);
    for (std::int64_t w = 0; w < c.width(); ++w) squares += token[c.value(w)] * token[c.value(w)];
    out.probs.push_back(logit / c.temperature);
    maximum = std::max(maximum, out.probs.back());
    const double factor = c.scaled ? std::min(scale, 10.0) / std::sqrt(squares) : 1;
    for (std::int64_t w = 0; w < c.width(); ++w) out.patches.push_back(token[c.value(w)] * factor);
  }
  for (double& p : out.probs) sum += p = std::exp(p - maximum);
  for (double& p : out.probs) p /= sum;
  for (std::size_t i = 0; i < out.patches.size(); ++i)
    out.embedding[i % out.embedding.size()] += out.probs[i / out.embedding.size()] * out.patches[i];
  return out;
}

Pooled pool(const Values& x, const Case& c, double scale) {
  Pooled all;
  for (std::int64_t b = 0; b < c.batch; ++b) {
    const Pooled one = pool_image(x.data() + b * c.tokens * c.stride(), c, scale);
    all.embedding.insert(all.embedding.end(), one.embedding.begin(), one.embedding.end());
    all.probs.insert(all.probs.end(), one.probs.begin(), one.probs.end());
    all.patches.insert(all.patches.end(), one.patches.begin(), one.patches.end());
  }
  return all;
}

double dot(const double* a, const double* b, std::int64_t n) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

struct Gradients {
  Values dx;
  double dscale = 0;
};
Gradients gradients(const Values& x, const Values& g, const Pooled& y, const Case& c, double scale) {
  Gradients out{Values(x.size()), 0};
  const std::int64_t width = c.width();
  const double f = std::min(scale, 10.0);
  for (std::int64_t b = 0; b < c.batch; ++b) {
    const double* gb = g.data() + b * width;
    const double along = dot(gb, y.embedding.data() + b * width, width);
    if (c.scaled && scale <= 10) out.dscale += along / f;
    for (std::int64_t n = b * c.tokens; n < (b + 1) * c.tokens; ++n) {
      const double *token = x.data() + n * c.stride(), *patch = y.patches.data() + n * width;
      double* dtoken = out.dx.data() + n * c.stride();
      const double p = y.probs[static_cast<std::size_t>(n)], dp = dot(gb, patch, width);
      double squares = 0;
      for (std::int64_t w = 0; w < width; ++w) squares += token[c.value(w)] * token[c.value(w)];
      for (std::int64_t w = 0; w < width; ++w)
        dtoken[c.value(w)] = c.scaled ? p * (f * gb[w] - patch[w] * dp / f) / std::sqrt(squares) : p * gb[w];
      for (std::int64_t h = 0; h < c.heads; ++h)
        dtoken[c.last(h)] = p * (dp - along) / c.temperature / static_cast<double>(c.heads);
    }
  }
  return out;
}

void check(const Case& c, DType dtype) {
  SCOPED_TRACE(fmt::format("{} images, {} tokens, {} heads of {} {}, scale {}, temperature {}, offset {}",
                           c.batch, c.tokens, c.heads, c.size, dtype, c.scaled ? c.scale : 0, c.temperature,
                           c.offset));
  const DType results = type_of_results(dtype);
  const Shape shape{c.batch, c.tokens, c.stride()}, pooled{c.batch, c.width()};
  const Tensor x = random_tensor(shape, dtype, 1, -1.5, 1.9), g = random_tensor(pooled, results, 2);
  const Tensor scale = c.scaled ? Placed(Tensor::full({1}, c.scale, results)) : Tensor();
  const Placed x_there(x, c.offset);
  Placed embedding(pooled, results), probs({c.batch, c.tokens}, results);
  Tensor none;
  kernel::patch_pooling(embedding, probs, none, x_there, scale, c.heads, c.temperature);
  const Pooled want = pool(x.to_vector(), c, c.scale);
  // Where no vectors are made (sanitizers), W squares are added one after the other.
  const auto allowed = [&c](DType type) {
    Tolerance t = tolerance(type);
    t.relative *= std::max(1.0, static_cast<double>(c.width()) / 500);
    return t;
  };
  Tolerance t = allowed(results);
  EXPECT_TRUE(near(embedding, want.embedding, t));
  t.relative *= 2;
  EXPECT_TRUE(near(probs, want.probs, t));
  for (const DType patches_type : {dtype, results}) {
    Placed embedding_again(pooled, results), probs_again(probs.shape(), results),
        patches({c.batch, c.tokens, c.width()}, patches_type, c.offset);
    kernel::patch_pooling(embedding_again, probs_again, patches, x_there, scale, c.heads, c.temperature);
    EXPECT_TRUE(same_bits(embedding_again, embedding));
    EXPECT_TRUE(same_bits(probs_again, probs));
    EXPECT_TRUE(near(patches, want.patches, allowed(patches_type))) << "patches " << name(patches_type);
  }

  const Gradients wanted = gradients(x.to_vector(), g.to_vector(), want, c, c.scale);
  Placed dx(shape, dtype, c.offset), dx_again(shape, dtype), scale_gradient({1}, results);
  Tensor dscale = c.scaled ? scale_gradient : Tensor();
  const Placed g_there(g);
  kernel::patch_pooling_backward(dx, dscale, g_there, x_there, scale, probs, c.heads, c.temperature);
  t = allowed(dtype);
  t.relative *= 2;
  EXPECT_TRUE(near(dx, wanted.dx, t)) << "dx";
  if (c.scaled) {
    t = allowed(results);
    t.relative *= 4;
    t.floor = c.scale > 10 ? 0 : std::sqrt(static_cast<double>(c.batch * c.width()));  // as what is summed
    EXPECT_TRUE(near(scale_gradient, Values{wanted.dscale}, t)) << "dscale";
  }
  kernel::patch_pooling_backward(dx_again, dscale, g_there, x_there, scale, probs, c.heads, c.temperature);
  EXPECT_TRUE(same_bits(dx_again, dx)) << "the second time";
}

VITRAL_KERNEL_TEST(PatchPooling, AnyShape) {
  for (const DType dtype : float_types) {
    for (Case c : std::vector<Case>{{2, 64, 16, 32},
                                    {2, 64, 8, 8},
                                    {2, 4, 1, 2},
                                    {2, 1, 2, 3},
                                    {2, 6, 2, 4},
                                    {2, 49, 3, 40, true, 2, 0.1},
                                    {1, 20, 12, 64},
                                    {2, 16, 40, 5},
                                    {1, 70, 5, 33}}) {
      for (const double scale : {1.0, 12.0, -0.5}) {
        c.scale = scale;
        check(c, dtype);
      }
      c.scaled = false;
      check(c, dtype);
    }
    check({1, 240, 16, 32}, dtype);  // too large for shared memory
    check({1, 28, 1, 2000}, dtype);  // in float32 all of it, to the byte, but for the sums of a block
    check({300, 5, 2, 3}, dtype);
    check({.batch = 2, .tokens = 6, .heads = 2, .size = 4, .scale = 10}, dtype);
  }
}

VITRAL_KERNEL_TEST(PatchPooling, AnyPlace) {
  for (const DType dtype : float_types)
    for (const std::int64_t offset : {1, 3, 8}) {
      check({3, 9, 3, 4, true, 2, 1, offset}, dtype);
      check({1, 64, 16, 32, true, 2, 1, offset}, dtype);
      check({1, 240, 16, 32, false, 2, 1, offset}, dtype);
    }
}

VITRAL_KERNEL_TEST(PatchPooling, NothingToPool) {
  for (const DType dtype : float_types)
    for (const bool scaled : {true, false})
      check({.batch = 0, .tokens = 4, .heads = 2, .size = 3, .scaled = scaled}, dtype);
}

// A token of zeros has no direction: NaN, as in the composition, but only where lengths are made equal.
VITRAL_KERNEL_TEST(PatchPooling, NotFiniteStaysInItsImage) {
  for (const DType dtype : float_types) {
    Tensor numbers = random_tensor({2, 4, 8}, DType::float64, 1);
    std::fill_n(numbers.data<double>(), 8, 0.0);
    const Placed x(numbers.cast(dtype));
    const DType results = type_of_results(dtype);
    Placed embedding({2, 6}, results), probs({2, 4}, results);
    Tensor none;
    kernel::patch_pooling(embedding, probs, none, x, Placed(Tensor::full({1}, 1, results)), 2, 1);
    const Values pooled = embedding.to_vector();
    for (std::size_t i = 0; i < pooled.size(); ++i) EXPECT_EQ(std::isnan(pooled[i]), i < 6) << i;
    kernel::patch_pooling(embedding, probs, none, x, {}, 2, 1);
    for (const double e : embedding.to_vector()) EXPECT_TRUE(std::isfinite(e));
    kernel::patch_pooling(embedding, probs, none, x, Placed(Tensor::full({1}, nan, results)), 2, 1);
    for (const double e : embedding.to_vector()) EXPECT_TRUE(std::isnan(e));
    for (const double p : probs.to_vector()) EXPECT_TRUE(std::isfinite(p));
  }
}

// The gradient of the scale is not the embedding's divided by it.
VITRAL_KERNEL_TEST(PatchPooling, AScaleOfZeroHasAGradient) {
  const Tensor x = random_tensor({2, 4, 8}, DType::float64, 1), g = random_tensor({2, 6}, DType::float64, 2);
  const Placed x_there(x), scale(Tensor::zeros({1}, DType::float64));
  Placed embedding({2, 6}, DType::float64), probs({2, 4}, DType::float64), dx(x.shape(), DType::float64),
      dscale({1}, DType::float64);
  Tensor none;
  kernel::patch_pooling(embedding, probs, none, x_there, scale, 2, 1);
  kernel::patch_pooling_backward(dx, dscale, Placed(g), x_there, scale, probs, 2, 1);
  const Pooled unit = pool(x.to_vector(), {2, 4, 2, 3}, 1);
  EXPECT_NEAR(dscale.item(), dot(g.data<double>(), unit.embedding.data(), 12), 1e-12);
  EXPECT_EQ(dx.to_vector()[0], 0);
}

TEST(PatchPoolingOnCuda, SaysWhatIsTooLarge) {
  VITRAL_NEEDS_DEVICE(gpu);
  Placed embedding({1, 1}, DType::float32);
  Tensor none;
  const auto run = [&](std::int64_t tokens) {
    Placed probs({1, tokens}, DType::float32);
    kernel::patch_pooling(embedding, probs, none, Placed(Tensor::full({1, tokens, 2}, 1)), {}, 1, 1);
  };
  run(12000);
  EXPECT_NEAR(embedding.item(), 1, 1e-3);
  EXPECT_NE(message_of([&] {
              run(100000);
            }).find("patch_pooling: 100000 tokens of 2 numbers need more shared memory than the "),
            std::string::npos);
}

}  // namespace
}  // namespace vitral::test
