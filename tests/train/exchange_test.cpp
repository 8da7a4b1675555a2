// The gradient of a batch in slices: a balanced tree, whoever computes them.
#include "train/exchange.h"

#include <bit>
#include <mutex>

#include <gtest/gtest.h>

#include "base/random.h"
#include "nn/linear.h"
#include "tests/noise.h"
#include "tests/support.h"
#include "tests/thread_group.h"
#include "train/config.h"

namespace vitral::train {
namespace {

using test::message_of;
using test::noise;
using test::Threads;

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

// What a slice brings, as TrainStep writes it.
void set(Tensor numbers, const std::vector<std::pair<int, double>>& values) {
  numbers.fill(0);
  for (const auto& [slot, value] : values) numbers.data<double>()[slot] = value;
}

TEST(Exchange, TheSameTreeForAnyNumberOfProcesses) {
  const std::int64_t slices = 8;
  for (const int processes : {1, 2, 4, 8}) {
    SCOPED_TRACE(processes);
    Threads(processes).run([&](Group& group) {
      Random random(1);
      nn::Linear layer(in, out, random);
      Exchange exchange(group, slices, layer);
      ASSERT_EQ(exchange.own_slices(), slices / processes);
      Tensor control = Tensor::zeros({update_slots}, DType::float64);
      control.fill(-1);
      for (std::int64_t step = 0; step < 3; ++step) {
        exchange.begin();
        if (step == 1) {  // a step that fails half way
          gradient_of(layer, 7, 0);
          exchange.add();
          exchange.begin();
        }
        for (std::int64_t own = 0; own < exchange.own_slices(); ++own) {
          const std::int64_t k = group.rank() * exchange.own_slices() + own;
          gradient_of(layer, step, k);
          set(exchange.numbers(own), {{update_loss, 0.1 * static_cast<double>(k + 1)},
                                      {update_terms, 1.0 / static_cast<double>(k + 3)},
                                      {update_images, 2},
                                      {slice_skipped, k == 5 ? 1 : 0},
                                      {slice_signal, k == 3 && step == 1 ? 15 : 0}});
          exchange.add();
        }
        exchange.finish(control);
        std::vector<double> losses, terms;
        for (std::int64_t k = 0; k < slices; ++k) {
          losses.push_back(0.1 * static_cast<double>(k + 1));
          terms.push_back(1.0 / static_cast<double>(k + 3));
        }
        constexpr auto plus = [](double a, double b) { return a + b; };
        const double* c = control.data<double>();
        EXPECT_EQ(c[update_lr], -1);  // is not exchanged
        EXPECT_EQ(c[update_loss], tree<double>(losses, plus));
        EXPECT_EQ(c[update_terms], tree<double>(terms, plus));
        EXPECT_EQ(c[update_images], 16);
        const double* all = exchange.all_numbers().data<double>();
        for (std::int64_t k = 0; k < slices; ++k) {
          EXPECT_EQ(all[k * slice_numbers + update_loss], losses[static_cast<std::size_t>(k)]);
          EXPECT_EQ(all[k * slice_numbers + slice_skipped], k == 5 ? 1 : 0);
          EXPECT_EQ(all[k * slice_numbers + slice_signal], k == 3 && step == 1 ? 15 : 0);
        }
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

// A slice without images has no gradients; a parameter that none of them reached has none in the end. Who had
// no images hears it from the others.
TEST(Exchange, SlicesWithoutGradients) {
  Threads(2).run([&](Group& group) {
    Random random(1);
    nn::Linear layer(in, out, random);
    Exchange exchange(group, 2, layer);
    Tensor control = Tensor::zeros({update_slots}, DType::float64);
    for (int step = 0; step < 3; ++step) {
      layer.zero_grad();
      if (step > 0 && group.rank() == 1) {
        const Variable y = linear(Variable(input_of(0, 1)), layer.weight, Variable(Tensor::zeros({out})));
        sum(y).backward();
      }
      set(exchange.numbers(0), {});
      exchange.begin();
      exchange.add();
      exchange.finish(control);
      EXPECT_EQ(exchange.is_settled(), step > 0);
      const auto names = layer.parameters();
      for (std::size_t i = 0; i < names.size(); ++i)
        EXPECT_EQ(exchange.gradients()[i].defined(), step > 0 && names[i].name == "weight") << names[i].name;
    }
    gradient_of(layer, 0, 0);
    EXPECT_EQ(message_of([&] { exchange.add(); }),
              "exchange: parameter bias has a gradient for the first time after the first step; with several "
              "slices all have theirs from then on");
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
  config.batch_size = 4;
  config.objective = {{"l1", 1}, {"contrastive", 1}};
  EXPECT_EQ(problem(2), "no error");
  EXPECT_EQ(
      problem(4),
      "train.objective.contrastive: compares images, and of train.batch_size 4 each of 4 processes has 1; "
      "start fewer");
  config = {};
  config.slices = 2;
  EXPECT_EQ(problem(4), "train.slices: 2 cannot be shared by 4 processes; start at most 2, or set more");
  config.slices.reset();
  config.batch_size = 30;
  EXPECT_EQ(problem(4), "train.batch_size: 30 must be a multiple of 4, the number of processes");
}

}  // namespace
}  // namespace vitral::train
