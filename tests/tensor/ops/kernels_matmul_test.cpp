// gemm and linear, on the CPU and on a GPU, against sums in double.
#include <thread>

#include "tensor/ops/gemm.h"
#include "tensor/ops/linear.h"
#include "tensor/stream.h"
#include "tests/tensor/ops/kernels_support.h"

namespace vitral::test {
namespace {

using kernel::GemmOptions;

struct Types {
  DType in, out;
};
constexpr Types all_types[] = {{DType::float32, DType::float32},
                               {DType::float64, DType::float64},
                               {DType::bfloat16, DType::bfloat16},
                               {DType::bfloat16, DType::float32}};

// Sums of k products in any order. A library may also round parts of a sum to bfloat16.
Tolerance tolerance_of(DType out, std::int64_t k) {
  if (out == DType::bfloat16) return {0x1p-8, 0x1p-8};
  return {tolerance(out).relative * std::sqrt(static_cast<double>(k + 1))};
}

/// C (+)= op(A) op(B), row-major; A [m,k] and B [k,n] before they are transposed.
void multiply(double* c, const double* a, const double* b, std::int64_t m, std::int64_t n, std::int64_t k,
              GemmOptions o) {
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = o.accumulate ? c[i * n + j] : 0;
      for (std::int64_t l = 0; l < k; ++l)
        sum += a[o.transpose_a ? l * m + i : i * k + l] * b[o.transpose_b ? j * k + l : l * n + j];
      c[i * n + j] = sum;
    }
}

struct Product {
  std::int64_t m, n, k;
  std::int64_t batch;   // -1: matrices without a batch
  bool shared = false;  // one B for the whole batch
};

Shape stored(const Product& p, bool transposed, std::int64_t rows, std::int64_t columns, bool batched) {
  const Shape s = transposed ? Shape{columns, rows} : Shape{rows, columns};
  return batched && p.batch >= 0 ? Shape{p.batch, s[0], s[1]} : s;
}

void check_gemm(Device device, Types types, const Product& p, GemmOptions o, std::int64_t offset) {
  const Tensor a = random_tensor(stored(p, o.transpose_a, p.m, p.k, true), types.in, 1);
  const Tensor b = random_tensor(stored(p, o.transpose_b, p.k, p.n, !p.shared), types.in, 2);
  const Tensor before = random_tensor(stored(p, false, p.m, p.n, true), types.out, 3);
  const Values va = a.to_vector(), vb = b.to_vector();
  Values want = before.to_vector();
  for (std::int64_t i = 0; i < std::abs(p.batch); ++i)
    multiply(want.data() + i * p.m * p.n, va.data() + i * p.m * p.k,
             vb.data() + (p.shared ? 0 : i * p.n * p.k), p.m, p.n, p.k, o);
  Placed c =
      o.accumulate ? Placed(before, offset, device) : Placed(before.shape(), types.out, offset, device);
  kernel::gemm(c, Placed(a, offset, device), Placed(b, offset ? offset + 2 : 0, device), o);
  EXPECT_TRUE(near(c, want, tolerance_of(types.out, p.k)))
      << a.shape().str() << (o.transpose_a ? " transposed" : "") << " times " << b.shape().str()
      << (o.transpose_b ? " transposed" : "") << (o.accumulate ? " accumulated" : "") << " " << name(types.in)
      << ", offset " << offset;
}

void check_all_gemm(Device device) {
  for (const Types types : all_types) {
    for (const auto& [m, n, k] : std::vector<std::array<std::int64_t, 3>>{{1, 1, 1},
                                                                          {1, 7, 3},
                                                                          {13, 1, 9},
                                                                          {5, 66, 47},
                                                                          {13, 9, 47},
                                                                          {66, 33, 1},
                                                                          {48, 72, 16},
                                                                          {130, 70, 33},
                                                                          {0, 3, 4},
                                                                          {3, 0, 4},
                                                                          {3, 4, 0},
                                                                          {0, 0, 0}})
      for (const Product& p : std::vector<Product>{{m, n, k, -1},
                                                   {m, n, k, 1},
                                                   {m, n, k, 3},
                                                   {m, n, k, 3, true},
                                                   {m, n, k, 1, true},
                                                   {m, n, k, 0}})
        for (int bits = 0; bits < 8; ++bits)
          for (const std::int64_t offset : {0, 1, 4})
            check_gemm(device, types, p, {(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0}, offset);
  }
}

TEST(Gemm, AnySizeBatchAndPlace) { check_all_gemm(cpu); }
TEST(GemmOnCuda, AnySizeBatchAndPlace) {
  VITRAL_NEEDS_DEVICE(gpu);
  check_all_gemm(gpu);
}

struct Layer {
  std::int64_t rows, in, out;
};

void check_linear(Device device, Types types, const Layer& l, bool biased, DType bias_type,
                  std::int64_t offset) {
  SCOPED_TRACE(fmt::format("{} to {}, bias {}: {} rows, {} to {}, offset {}", types.in, types.out,
                           biased ? name(bias_type) : "none", l.rows, l.in, l.out, offset));
  const Tensor x = random_tensor({l.rows, l.in}, types.in, 1), w = random_tensor({l.out, l.in}, types.in, 2),
               b = random_tensor({l.out}, types.in, 3), dy = random_tensor({l.rows, l.out}, types.in, 4);
  const Values vx = x.to_vector(), vw = w.to_vector(), vb = b.to_vector(), vdy = dy.to_vector();
  Values y(vdy.size()), dw(vw.size()), db(vb.size());
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = biased ? vb[i % vb.size()] : 0;
  multiply(y.data(), vx.data(), vw.data(), l.rows, l.out, l.in, {.transpose_b = true, .accumulate = true});
  multiply(dw.data(), vdy.data(), vx.data(), l.out, l.in, l.rows, {.transpose_a = true});
  for (std::size_t i = 0; i < vdy.size(); ++i) db[i % db.size()] += vdy[i];

  const Placed x_there(x, offset, device), dy_there(dy, offset, device);
  Placed got({l.rows, l.out}, types.in, offset, device), dweight({l.out, l.in}, types.out, 0, device),
      dbias({l.out}, bias_type, 0, device);
  const Tensor none, bias = biased ? Placed(b, offset, device) : none;
  kernel::linear(got, x_there, Placed(w, offset, device), bias);
  EXPECT_TRUE(near(got, y, tolerance_of(types.in, l.in))) << "linear";
  Tensor no_dbias;
  kernel::linear_backward(dweight, biased ? dbias : no_dbias, dy_there, x_there, false);
  EXPECT_TRUE(near(dweight, dw, tolerance_of(types.out, l.rows))) << "dweight";
  if (biased) {
    EXPECT_TRUE(near(dbias, db, tolerance_of(bias_type, l.rows))) << "dbias";
  }
  kernel::linear_backward(dweight, biased ? dbias : no_dbias, dy_there, x_there, true);
  for (double& v : dw) v *= 2;
  for (double& v : db) v *= 2;
  EXPECT_TRUE(near(dweight, dw, tolerance_of(types.out, l.rows))) << "dweight accumulated";
  if (biased) {
    EXPECT_TRUE(near(dbias, db, tolerance_of(bias_type, l.rows))) << "dbias accumulated";
  }
  if (!kernel::pack_weight.implemented(device.kind)) return;
  Tensor packed;
  kernel::pack_weight(packed, Placed(w, offset, device));
  if (!packed.defined()) return;
  Placed again({l.rows, l.out}, types.in, offset, device);
  kernel::linear_packed(again, x_there, packed, bias);
  EXPECT_TRUE(near(again, y, tolerance_of(types.in, l.in))) << "linear_packed";
}

void check_all_linear(Device device) {
  for (const Types types : all_types) {
    for (const Layer& l : std::vector<Layer>{{1, 1, 1},
                                             {13, 9, 47},
                                             {64, 66, 9},
                                             {20, 528, 33},
                                             {7, 33, 528},
                                             {2, 528, 1584},
                                             {0, 4, 5},
                                             {5, 0, 4},
                                             {5, 4, 0},
                                             {0, 0, 3}})
      for (const std::int64_t offset : {0, 1, 3}) {
        check_linear(device, types, l, false, types.out, offset);
        check_linear(device, types, l, true, types.out, offset);
        if (types.in != types.out) check_linear(device, types, l, true, types.in, offset);
      }
  }
}

TEST(Linear, AnySizeAndPlace) { check_all_linear(cpu); }
TEST(LinearOnCuda, AnySizeAndPlace) {
  VITRAL_NEEDS_DEVICE(gpu);
  check_all_linear(gpu);
}

// Whole tiles and what is left of them, in every direction (tensor/cpu/matmul/few_rows.cpp).
TEST(Linear, FewRowsOfAPackedWeight) {
  const Types types{DType::float32, DType::float32};
  for (const std::int64_t rows : {1, 2, 5, 6, 12, 13, 14, 24, 64, 77, 192, 193})
    for (const std::int64_t in : {1, 16, 35})
      for (const std::int64_t out : {1, 16, 33, 64, 100})
        check_linear(cpu, types, {rows, in, out}, (rows + in + out) % 2 == 0, types.out, out % 3);
}

TEST(LinearOnCuda, AGraphGivesTheSameBits) {
  VITRAL_NEEDS_DEVICE(gpu);
  const Placed x(random_tensor({200, 66}, DType::bfloat16, 1)),
      dy(random_tensor({200, 47}, DType::bfloat16, 2));
  Placed dweight({47, 66}, DType::float32), dbias({47}, DType::float32);
  kernel::linear_backward(dweight, dbias, dy, x, false);
  const MemoryPool pool(gpu);
  const MemoryPool::Use use(pool);
  Placed again({47, 66}, DType::float32), bias_again({47}, DType::float32);
  const Graph graph(gpu, [&] { kernel::linear_backward(again, bias_again, dy, x, false); });
  for (int launch = 0; launch < 2; ++launch) {
    again.fill(0);
    bias_again.fill(0);
    graph.launch();
    EXPECT_TRUE(same_bits(again, dweight));
    EXPECT_TRUE(same_bits(bias_again, dbias));
  }
}

class Tf32 {
 public:
  Tf32() { set_matmul_precision(MatmulPrecision::tf32); }
  ~Tf32() { set_matmul_precision(before_); }
  Tf32(const Tf32&) = delete;
  Tf32& operator=(const Tf32&) = delete;

 private:
  MatmulPrecision before_ = matmul_precision();
};

// A library's memory of its own must not be shared by threads that multiply at the same time.
TEST(Linear, TwoThreadsAtOnceGetWhatOneGets) {
  const std::int64_t rows = 576, in = 36, out = 144;
  const auto products_of = [&](std::uint64_t seed) {
    const Tensor x = random_tensor({rows, in}, DType::float32, seed),
                 w = random_tensor({out, in}, DType::float32, seed + 1),
                 dy = random_tensor({rows, out}, DType::float32, seed + 2);
    std::vector<double> all;
    Tensor y({rows, out}), again({rows, out}), dw({out, in}), none;
    kernel::linear(y, x, w, none);
    kernel::gemm(again, x, w, {.transpose_b = true});
    kernel::linear_backward(dw, none, dy, x, false);
    for (const Tensor& t : {y, again, dw})
      for (const double v : t.to_vector()) all.push_back(v);
    return all;
  };
  const std::vector<double> first = products_of(1), second = products_of(10);
  int wrong[2] = {0, 0};
  const auto work = [&](std::uint64_t seed, const std::vector<double>& want, int& count) {
    for (int i = 0; i < 300; ++i) count += products_of(seed) != want;
  };
  std::thread other([&] { work(10, second, wrong[1]); });
  std::thread one([&] { work(1, first, wrong[0]); });
  other.join();
  one.join();
  EXPECT_EQ(wrong[0], 0);
  EXPECT_EQ(wrong[1], 0);
}

TEST(GemmOnCuda, Tf32RoundsFloat32Alone) {
  VITRAL_NEEDS_DEVICE(gpu);
  const std::int64_t m = 128, n = 192, k = 256;
  const Tensor a = random_tensor({m, k}, DType::float32, 1), b = random_tensor({k, n}, DType::float32, 2);
  Tensor want({m, n}, DType::float64);
  kernel::gemm(want, wide(a), wide(b), {});
  Placed fast({m, n}, DType::float32), single({m, n}, DType::float32), twice({m, n}, DType::float64);
  {
    const Tf32 tf32;
    kernel::gemm(fast, Placed(a), Placed(b), {});
    kernel::gemm(twice, Placed(wide(a)), Placed(wide(b)), {});
  }
  kernel::gemm(single, Placed(a), Placed(b), {});
  EXPECT_TRUE(near(fast, want, {2e-3}));
  EXPECT_FALSE(near(fast, want, tolerance_of(DType::float32, k))) << "nothing was rounded";
  EXPECT_TRUE(near(single, want, tolerance_of(DType::float32, k)));
  EXPECT_TRUE(near(twice, want, tolerance_of(DType::float64, k)));
}

TEST(GemmOnCuda, RefusesTypesThatDoNotFit) {
  VITRAL_NEEDS_DEVICE(gpu);
  Placed single({4, 4}, DType::float32), twice({4, 4}, DType::float64), half({4, 4}, DType::float16),
      brain({4, 4}, DType::bfloat16);
  const Placed bias({4}, DType::float32);
  const auto expect_refused = [](const std::string& types, const auto& f) {
    EXPECT_EQ(message_of(f), fmt::format("gemm: {} is not supported; use float32, float64 or bfloat16, or "
                                         "bfloat16 to float32",
                                         types));
  };
  expect_refused("float64 x float64 to float32", [&] { kernel::gemm(single, twice, twice, {}); });
  expect_refused("float16 x float16 to float16", [&] { kernel::gemm(half, half, half, {}); });
  expect_refused("float32 x bfloat16 to float32", [&] { kernel::gemm(single, single, brain, {}); });
  EXPECT_EQ(message_of([&] { kernel::linear(brain, brain, brain, bias); }),
            "linear: a float32 vector beside a bfloat16 product");
}

}  // namespace
}  // namespace vitral::test
