// What a profile counts: calls, time, operations and bytes; of its own thread; nested calls once.
#include "tensor/profile.h"

#include <chrono>
#include <stdexcept>
#include <thread>

#include <gtest/gtest.h>

#include "tensor/ops/adamw.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/linear.h"
#include "tests/support.h"

namespace vitral {
namespace {

using test::message_of;

void nap(int milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

// Kernels whose time is known: `inner` naps; `outer` calls it twice and naps itself.
constinit Kernel<void(Tensor& y, int milliseconds)> inner{"inner"};
constinit Kernel<void(Tensor& y, int milliseconds)> outer{"outer"};
constinit Kernel<void(Tensor& y)> failing{"failing"};
const bool implemented = inner.implement(Device::Kind::cpu, [](Tensor&, int milliseconds) {
  nap(milliseconds);
}) && outer.implement(Device::Kind::cpu, [](Tensor& y, int milliseconds) {
  inner(y, milliseconds);
  inner(y, milliseconds);
  nap(milliseconds);
}) && failing.implement(Device::Kind::cpu, [](Tensor& y) {
  inner(y, 0);
  throw std::runtime_error("failed");
});

std::vector<OperationProfile> profile_of(const std::function<void()>& work) {
  Profile profile;
  {
    const Profile::Use use(profile);
    work();
  }
  return profile.operations();
}

TEST(Profile, CountsNestedTimeOnce) {
  Tensor y({2, 3});
  Profile profile;
  {
    const Profile::Use use(profile);
    inner(y, 1);
    outer(y, 5);
    nap(5);
  }
  inner(y, 1);  // not counted any more
  const auto operations = profile.operations();
  ASSERT_EQ(operations.size(), 2U);
  const OperationProfile &slow = operations[0], &fast = operations[1];
  EXPECT_EQ(slow.name, "outer");
  EXPECT_EQ(slow.calls, 1);
  EXPECT_GE(slow.seconds, 0.015);
  ASSERT_EQ(slow.inside.size(), 1U);
  EXPECT_EQ(slow.inside[0].name, "inner");
  EXPECT_EQ(slow.inside[0].calls, 2);
  EXPECT_GE(slow.inside[0].seconds, 0.010);
  EXPECT_LE(slow.inside[0].seconds, slow.seconds - 0.005);
  EXPECT_EQ(fast.name, "inner");
  EXPECT_EQ(fast.calls, 1);
  EXPECT_TRUE(fast.inside.empty());
  EXPECT_GE(profile.seconds(), slow.seconds + fast.seconds + 0.005);
}

TEST(Profile, KnowsTheWorkOfProducts) {
  Tensor c({5, 7}), a({5, 3}), at({3, 5}), b({3, 7}), bt({7, 3});
  for (const Tensor& t : {c, a, at, b, bt}) Tensor(t).fill(1);
  const auto flops = [](const std::function<void()>& work) { return profile_of(work).at(0).flops; };
  constexpr double one = 2.0 * 5 * 7 * 3;
  EXPECT_EQ(flops([&] { kernel::gemm(c, a, b, {}); }), one);
  EXPECT_EQ(flops([&] { kernel::gemm(c, at, b, {.transpose_a = true}); }), one);
  EXPECT_EQ(flops([&] { kernel::gemm(c, a, bt, {.transpose_b = true, .accumulate = true}); }), one);
  Tensor bias = Tensor::zeros({7}), dweight({7, 3}), dbias({7});
  EXPECT_EQ(flops([&] { kernel::linear(c, a, bt, {}); }), one);
  EXPECT_EQ(flops([&] { kernel::linear(c, a, bt, bias); }), one);
  EXPECT_EQ(flops([&] { kernel::linear_backward(dweight, dbias, c, a, false); }), one);
  const Tensor many = Tensor::full({4, 5, 3}, 1);
  Tensor products({4, 5, 7});
  EXPECT_EQ(flops([&] { kernel::gemm(products, many, b, {}); }), 4 * one);
}

TEST(Profile, AddsUpTheBytesOfAllTensors) {
  Tensor y({4, 8}), control = Tensor::zeros({update_slots}, DType::float64);
  const Tensor x = Tensor::full({4, 8}, 1), wide = Tensor::full({3}, 1, DType::float64);
  const auto twice = profile_of([&] {
    kernel::add_to(y, x);
    kernel::add_to(y, x);
  });
  ASSERT_EQ(twice.size(), 1U);
  EXPECT_EQ(twice[0].calls, 2);
  EXPECT_EQ(twice[0].bytes, 2 * (2 * 4 * 8 * 4));
  EXPECT_EQ(twice[0].flops, 0);

  const std::vector<Tensor> gradients{x, x};
  EXPECT_EQ(profile_of([&] { kernel::sum_of_squares(control, gradients); }).at(0).bytes,
            update_slots * 8 + 2 * 4 * 8 * 4);
  const UpdateItem item{.p = wide, .g = wide, .state = {wide, wide}, .average = {}, .copy = Tensor({3})};
  EXPECT_EQ(item.bytes(), 4U * 3 * 8 + 3 * 4);
}

TEST(Profile, SeesItsOwnThreadOnly) {
  Tensor y({1});
  const auto operations = profile_of([&] {
    std::thread([&] {
      Tensor z({1});
      inner(z, 0);
    }).join();
    inner(y, 0);
  });
  ASSERT_EQ(operations.size(), 1U);
  EXPECT_EQ(operations[0].calls, 1);
}

TEST(Profile, LeavesOutCallsThatThrow) {
  Tensor y({1});
  const auto operations = profile_of([&] {
    EXPECT_THROW(failing(y), std::runtime_error);
    inner(y, 0);  // stands beside the call that failed, not in it
  });
  ASSERT_EQ(operations.size(), 1U);
  EXPECT_EQ(operations[0].name, "inner");
  EXPECT_EQ(operations[0].calls, 1);
}

TEST(Profile, OfAnInnerUseIsItsOwn) {
  Tensor y({1});
  Profile whole, part;
  {
    const Profile::Use use(whole);
    inner(y, 0);
    {
      const Profile::Use also(part);
      inner(y, 0);
      inner(y, 0);
    }
    inner(y, 0);
  }
  EXPECT_EQ(whole.operations().at(0).calls, 2);
  EXPECT_EQ(part.operations().at(0).calls, 2);
  EXPECT_GE(whole.seconds(), part.seconds());
  EXPECT_EQ(current_profile, nullptr);
}

TEST(ProfileOnCuda, WaitsForKernelsAndRefusesGraphs) {
  VITRAL_NEEDS_DEVICE(test::gpu);
  Tensor y = Tensor::full({64}, 1, DType::float32, test::gpu);
  const Tensor x = Tensor::full({64}, 2, DType::float32, test::gpu);
  const auto operations = profile_of([&] {
    kernel::add_to(y, x);
    EXPECT_EQ(message_of([&] { Graph(test::gpu, [&] { kernel::add_to(y, x); }); }),
              "graph: a profile waits for each kernel; record the graph without one");
  });
  ASSERT_EQ(operations.size(), 1U);
  EXPECT_EQ(operations[0].calls, 1);
  EXPECT_EQ(operations[0].bytes, 2 * 64 * 4);
  EXPECT_EQ(y.to_vector(), std::vector<double>(64, 3));
}

}  // namespace
}  // namespace vitral
