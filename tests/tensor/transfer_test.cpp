// Batches to a device and back, several at once in flight. In the simulator nothing is copied before somebody
// waits: memory that is used again too early shows as wrong values.
#include "tensor/transfer.h"

#include <deque>
#include <optional>

#include <gtest/gtest.h>

#include "tensor/ops/binary.h"
#include "tests/support.h"
#include "tests/waits.h"

namespace vitral {
namespace {

class TransferOn : public testing::TestWithParam<Device> {
 protected:
  void SetUp() override { VITRAL_NEEDS_DEVICE(GetParam()); }

  struct Begun {
    Tensor result;
    Download download;
  };

  // 2 x of rows that all hold `value`.
  Begun begin(Upload& up, std::int64_t rows, double value, bool pinned) const {
    Tensor x = pinned ? Tensor::pinned({rows, 1000}) : Tensor({rows, 1000});
    x.fill(value);
    up.begin({x});
    const Tensor on_device = up.to()[0].rows(0, rows);
    Tensor y(x.shape(), DType::float32, GetParam());
    kernel::binary(y, on_device, on_device, BinaryOp::add);
    up.end();
    Begun out{Download::room(GetParam(), x.shape()), Download(GetParam())};
    out.download.add(out.result, y);
    if (!pinned) x.fill(-1);  // a copy is on its way
    out.download.keep(up.take_sources());
    out.download.end();
    return out;
  }

  static void expect(Begun& begun, std::int64_t rows, double value) {
    begun.download.wait();
    EXPECT_EQ(begun.result.to_vector(),
              std::vector<double>(static_cast<std::size_t>(rows) * 1000, 2 * value));
  }
};

TEST_P(TransferOn, BatchesInFlightKeepTheirValues) {
  for (const auto& [pinned, copies_first] :
       {std::pair{true, false}, {true, true}, {false, false}, {false, true}})
    for (const std::size_t in_flight : {1, 2, 5}) {
      Upload uploads[]{Upload(GetParam()), Upload(GetParam())};
      std::deque<std::pair<int, Begun>> begun;
      const auto rows_of = [](int i) { return 3 + i % 4; };  // they grow and shrink
      for (int i = 0; i < 12; ++i) {
        begun.emplace_back(i, begin(uploads[i % 2], rows_of(i), i, pinned));
        if (copies_first) {  // the device copies as early as it may, and computes as late
          Event copied(GetParam());
          copied.record(Queue::copy);
          copied.wait();
        }
        if (begun.size() <= in_flight) continue;
        expect(begun.front().second, rows_of(begun.front().first), begun.front().first);
        begun.pop_front();
      }
      for (auto& [i, b] : begun) expect(b, rows_of(i), i);
    }
}

TEST_P(TransferOn, WhatIsDroppedInFlightHurtsNobody) {
  Upload up(GetParam());
  for (int i = 0; i < 4; ++i) begin(up, 8, i, true);  // as where an error comes in between
  {
    Upload gone(GetParam());
    Tensor x = Tensor::pinned({8, 1000});
    x.fill(7);
    gone.begin({x});
  }
  Begun last = begin(up, 8, 9, true);
  expect(last, 8, 9);
}

TEST_P(TransferOn, UndefinedTensorsStaySo) {
  Upload up(GetParam());
  const Tensor x = Tensor::full({2, 3}, 1);
  up.begin({x, {}});
  EXPECT_TRUE(up.to()[0].defined());
  EXPECT_FALSE(up.to()[1].defined());
  up.take_sources();
  EXPECT_TRUE(up.begin({{}, x}));
  EXPECT_FALSE(up.to()[0].defined());
  EXPECT_EQ(up.to()[1].to_vector(), x.to_vector());
}

INSTANTIATE_TEST_SUITE_P(Devices, TransferOn, testing::Values(cpu, test::gpu),
                         [](const auto& info) { return info.param.is_cpu() ? "OnCpu" : "OnCuda"; });

TEST(TransferOnCuda, StaysWhereItIsAndWaitsForNothing) {
  VITRAL_NEEDS_DEVICE(test::gpu);
  Upload up(test::gpu);
  const Tensor large = Tensor::pinned({4, 10}), small = Tensor::pinned({3, 10});
  EXPECT_TRUE(up.begin({large}));
  const void* there = up.to()[0].raw();
  const test::Waits waits;
  std::vector<std::vector<Tensor>> held;
  for (const Tensor& x : {large, small, large}) {
    held.push_back(up.take_sources());
    EXPECT_FALSE(up.begin({x}));
    up.end();
    EXPECT_EQ(up.to()[0].raw(), there);
  }
  EXPECT_EQ(test::Waits::copies(), 0);
  EXPECT_EQ(test::Waits::synchronizations(), 0);
  EXPECT_TRUE(test::Waits::uploads_at_waits().empty());
  synchronize(test::gpu);
}

}  // namespace
}  // namespace vitral
