// The gradient of a batch in slices: a balanced tree, whoever computes them.
#include "train/exchange.h"

#include <barrier>
#include <bit>
#include <cstring>
#include <mutex>
#include <thread>

#include <gtest/gtest.h>

#include "base/random.h"
#include "nn/linear.h"
#include "tests/noise.h"
#include "tests/support.h"
#include "train/config.h"

namespace vitral::train {
namespace {

using test::message_of;
using test::noise;

// Processes of this one: a thread each.
class Threads {
 public:
  explicit Threads(int size) : size_(size), barrier_(size), sent_(static_cast<std::size_t>(size)) {}

  template <class Work>
  void run(Work&& work) {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size_; ++rank)
      threads.emplace_back([&, rank] {
        Member member(*this, rank);
        work(member);
      });
    for (auto& thread : threads) thread.join();
  }

 private:
  class Member : public Group {
   public:
    Member(Threads& all, int rank) : all_(all), rank_(rank) {}
    int rank() const override { return rank_; }
    int size() const override { return all_.size_; }
    void all_to_all(const void* from, void* to, std::size_t bytes) override {
      exchange(from, to, bytes, static_cast<std::size_t>(rank_) * bytes);
    }
    void all_gather(const void* from, void* to, std::size_t bytes) override { exchange(from, to, bytes, 0); }
    void broadcast(void*, std::size_t) override { FAIL() << "not needed"; }
    [[noreturn]] void abort(int) override { std::abort(); }

   private:
    void exchange(const void* from, void* to, std::size_t bytes, std::size_t offset) {
      all_.sent_[static_cast<std::size_t>(rank_)] = static_cast<const char*>(from);
      all_.barrier_.arrive_and_wait();
      std::vector<char> got;
      for (const char* sent : all_.sent_) got.insert(got.end(), sent + offset, sent + offset + bytes);
      all_.barrier_.arrive_and_wait();
      std::memcpy(to, got.data(), got.size());
    }

    Threads& all_;
    int rank_;
  };

  int size_;
  std::barrier<> barrier_;
  std::vector<const char*> sent_;
};

constexpr std::int64_t in = 5, out = 3;

// What slice k of step s has: gradients that round differently in every order.
Tensor input_of(std::int64_t step, std::int64_t k) {
  return noise({2, in}, static_cast<std::uint64_t>(100 * step + k), DType::float32);
}

std::vector<float> gradient_of(nn::Linear& layer, std::int64_t step, std::int64_t k) {
  layer.zero_grad();
  sum(linear(Variable(input_of(step, k)), layer.weight, layer.bias)).backward();
  std::vector<float> all;
  for (const auto& p : layer.parameters()) {
    const float* g = p.value->grad().data<float>();
    all.insert(all.end(), g, g + p.value->grad().numel());
  }
  return all;
}

// The definition, written out.
template <class T>
T tree(std::vector<T> items, T (*add)(T, T)) {
  while (items.size() > 1) {
    std::vector<T> next;
    for (std::size_t i = 0; i < items.size(); i += 2) next.push_back(add(items[i], items[i + 1]));
    items = std::move(next);
  }
  return items.front();
}

std::vector<float> expected(std::int64_t step, std::int64_t slices) {
  Random random(1);
  nn::Linear layer(in, out, random);
  std::vector<std::vector<float>> of;
  for (std::int64_t k = 0; k < slices; ++k) of.push_back(gradient_of(layer, step, k));
  return tree<std::vector<float>>(of, [](std::vector<float> a, std::vector<float> b) {
    for (std::size_t i = 0; i < a.size(); ++i) a[i] += b[i];
    return a;
  });
}

TEST(Exchange, TheSameTreeForAnyNumberOfProcesses) {
  const std::int64_t slices = 8;
  for (const int processes : {1, 2, 4, 8}) {
    SCOPED_TRACE(processes);
    Threads(processes).run([&](Group& group) {
      Random random(1);
      nn::Linear layer(in, out, random);
      Exchange exchange(group, slices, layer);
      for (std::int64_t step = 0; step < 3; ++step) {
        for (std::int64_t k = group.rank() * slices / processes; k < (group.rank() + 1) * slices / processes;
             ++k) {
          gradient_of(layer, step, k);
          exchange.add({.loss = 0.1 * static_cast<double>(k + 1),
                        .terms = {1.0 / static_cast<double>(k + 3)},
                        .images = 2,
                        .skipped = k == 5 ? 1.0 : 0.0,
                        .signal = k == 3 && step == 1 ? 15.0 : 0.0,
                        .seconds = k == 7 ? 0.5 : 0.25});
        }
        const SliceSums sums = exchange.finish([](double images) { return images == 16 ? 1 : 0; });
        std::vector<double> losses, terms;
        for (std::int64_t k = 0; k < slices; ++k) {
          losses.push_back(0.1 * static_cast<double>(k + 1));
          terms.push_back(1.0 / static_cast<double>(k + 3));
        }
        constexpr auto plus = [](double a, double b) { return a + b; };
        EXPECT_EQ(sums.loss, tree<double>(losses, plus));
        EXPECT_EQ(sums.terms[0], tree<double>(terms, plus));
        EXPECT_EQ(sums.images, 16);
        EXPECT_EQ(sums.skipped, 1);
        EXPECT_EQ(sums.signal, step == 1 ? 15 : 0);
        EXPECT_EQ(sums.seconds, processes == 1 ? 0 : 0.25);
        std::vector<float> got;
        for (const Tensor& g : exchange.gradients()) {
          const float* p = g.data<float>();
          got.insert(got.end(), p, p + g.numel());
        }
        EXPECT_EQ(got, expected(step, slices));
      }
    });
  }
}

TEST(Exchange, TheDivisorIsWhatCountedEverywhere) {
  Threads(2).run([&](Group& group) {
    Random random(1);
    nn::Linear layer(in, out, random);
    Exchange exchange(group, 2, layer);
    gradient_of(layer, 0, group.rank());
    exchange.add({.images = group.rank() == 0 ? 2.0 : 1.0});
    exchange.finish([](double images) { return 4 / images; });
    const auto whole = expected(0, 2);
    EXPECT_EQ(exchange.gradients()[0].data<float>()[0], whole[0] * static_cast<float>(4.0 / 3.0));
  });
}

// A slice without images has no gradients; a parameter that none of them reached has none in the end.
TEST(Exchange, SlicesWithoutGradients) {
  Threads(2).run([&](Group& group) {
    Random random(1);
    nn::Linear layer(in, out, random);
    Exchange exchange(group, 2, layer);
    layer.zero_grad();
    if (group.rank() == 1) {
      const Variable y = linear(Variable(input_of(0, 1)), layer.weight, Variable(Tensor::zeros({out})));
      sum(y).backward();
    }
    exchange.add({.images = group.rank() == 1 ? 2.0 : 0.0});
    exchange.finish([](double) { return 1; });
    const auto names = layer.parameters();
    for (std::size_t i = 0; i < names.size(); ++i)
      EXPECT_EQ(exchange.gradients()[i].defined(), names[i].name == "weight") << names[i].name;
  });
}

TEST(Exchange, WhatCannotBeShared) {
  TrainConfig config;
  const auto problem = [&](int processes) {
    std::string text;
    std::mutex mutex;
    Threads(processes).run([&](Group& group) {
      const std::string own = message_of([&] { slices_of(config, group); });
      const std::lock_guard lock(mutex);
      text = own;
    });
    return text;
  };
  EXPECT_EQ(problem(4), "no error");
  EXPECT_EQ(
      problem(3),
      "3 processes are no power of two, and slices of a batch are shared evenly; start 1, 2, 4, 8, ...");
  config.slices = 2;
  EXPECT_EQ(problem(4), "train.slices: 2 cannot be shared by 4 processes; start at most 2, or set more");
  config.slices.reset();
  config.batch_size = 30;
  EXPECT_EQ(problem(4), "train.batch_size: 30 must be a multiple of 4, the number of processes");
}

}  // namespace
}  // namespace vitral::train
