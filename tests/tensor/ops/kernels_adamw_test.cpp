// The kernels of an optimiser step, against the CPU's.
#include "tensor/ops/adamw.h"
#include "tensor/ops/momentum.h"
#include "tensor/stream.h"
#include "tests/tensor/ops/kernels_support.h"

namespace vitral::test {
namespace {

struct Parameter {
  std::int64_t size;
  DType dtype;
};
constexpr DType single = DType::float32, twice = DType::float64;

using Items = std::span<const UpdateItem>;

/// A formula as a function of what all have.
struct Formula {
  const char* name;
  void (*apply)(Items items, const Tensor& control, const Tensor& steps);
};
template <kernel::MomentumKernel& momentum>
void apply_momentum(Items items, const Tensor& control, const Tensor& steps) {
  momentum(items, control, steps, 0.01, 0.01);
}
// The learning rate is that of `control`.
void apply_adamw(Items items, const Tensor& control, const Tensor& steps) {
  kernel::adamw(items, control, steps, {.weight_decay = 0.01}, 0.01);
}
constexpr std::array formulas{Formula{"adamw", apply_adamw}, Formula{"sgd", apply_momentum<kernel::sgd>},
                              Formula{"lion", apply_momentum<kernel::lion>},
                              Formula{"nesterov", apply_momentum<kernel::nesterov>},
                              Formula{"descend", apply_momentum<kernel::descend>}};

/// Which of the optional tensors there are, and where every second parameter lies.
struct Options {
  bool average = true, copy = true;
  std::int64_t offset = 0;
  double planned = 0, images = 0;
  Formula formula = formulas.front();
};

class Optimizer {
 public:
  Optimizer(Device device, const std::vector<Parameter>& parameters, Options options = {})
      : control(Tensor::zeros({update_slots}, DType::float64, device)), formula_(options.formula) {
    control.rows(update_lr, update_lr + 1).fill(3e-3);
    control.rows(update_planned, update_planned + 1).fill(options.planned);
    control.rows(update_images, update_images + 1).fill(options.images);
    std::vector<std::int64_t> counts;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const auto slot = static_cast<std::int64_t>(i);
      const auto [size, dtype] = parameters[i];
      const auto make = [&](std::uint64_t part, DType stored, double low, double high) {
        const Tensor values = random_tensor({size}, stored, random_key(part, slot), low, high);
        placed_.emplace_back(values, i % 2 ? options.offset : 0, device);
        return static_cast<Tensor>(placed_.back());
      };
      UpdateItem item{.p = make(1, dtype, -1, 1),
                      .g = make(4, dtype, -1, 1),
                      .state = {make(2, dtype, -0.1, 0.1), make(3, dtype, 0, 0.02)},
                      .average = options.average ? make(5, dtype, -1, 1) : Tensor(),
                      .copy = options.copy ? make(6, DType::bfloat16, -1, 1) : Tensor(),
                      .slot = slot};
      items.push_back(item);
      counts.push_back(i == 2 ? 100000 : slot % 5 * 37);
    }
    steps = Tensor::from(counts, {static_cast<std::int64_t>(counts.size())}).to(device);
  }

  void step(double loss = 1.5, double clip_norm = 1) {
    const Tensor loss_there = Tensor::from(Values{loss}, {1}).to(control.device());
    step(loss_there, loss_there.cast(single), clip_norm);
  }
  /// Nothing but kernels.
  void step(const Tensor& loss, const Tensor& other_loss, double clip_norm) {
    kernel::add_loss(control, update_loss, loss, 0.75);
    kernel::add_loss(control, update_loss, other_loss, 0.25);
    std::vector<Tensor> gradients;
    for (const UpdateItem& item : items) gradients.push_back(item.g);
    kernel::sum_of_squares(control, gradients);
    kernel::begin_update(control, steps, items, clip_norm);
    formula_.apply(items, control, steps);
  }

  /// All that a step may change, one tensor after the other.
  std::vector<Values> state() const {
    std::vector<Values> all{steps.to_vector()};
    for (const UpdateItem& item : items)
      for (const Tensor& t : {item.p, item.state[0], item.state[1], item.average, item.copy})
        if (t.defined()) all.push_back(t.to_vector());
    return all;
  }
  bool guards_hold() const {
    return std::all_of(placed_.begin(), placed_.end(), [](const Placed& p) { return p.guards_hold(); });
  }

  Tensor control, steps;
  std::vector<UpdateItem> items;

 private:
  Formula formula_;
  std::vector<Placed> placed_;
};

void expect_alike(const Optimizer& got, const Optimizer& want) {
  EXPECT_TRUE(got.guards_hold()) << "wrote outside of a tensor";
  EXPECT_EQ(got.steps.to_vector(), want.steps.to_vector());
  const Values control = got.control.to_vector(), wanted = want.control.to_vector();
  for (std::size_t i = 0; i < control.size(); ++i)
    EXPECT_NEAR(control[i], wanted[i], 1e-13 * std::abs(wanted[i])) << "control " << i;
  for (std::size_t i = 0; i < want.items.size(); ++i) {
    const UpdateItem &a = got.items[i], &b = want.items[i];
    const Tolerance t{b.p.dtype() == twice ? 1e-14 : 5e-7};
    EXPECT_TRUE(near(a.p.to_vector(), b.p.to_vector(), t)) << "p of " << i;
    EXPECT_TRUE(near(a.state[0].to_vector(), b.state[0].to_vector(), t)) << "m of " << i;
    EXPECT_TRUE(near(a.state[1].to_vector(), b.state[1].to_vector(), t)) << "v of " << i;
    if (b.average.defined()) {
      EXPECT_TRUE(near(a.average.to_vector(), b.average.to_vector(), t)) << "average of " << i;
    }
    if (b.copy.defined()) {
      EXPECT_TRUE(same_bits(a.copy, a.p.to(cpu).cast(DType::bfloat16))) << "copy of " << i;
    }
  }
}

void check(const std::vector<Parameter>& parameters, Options options, double clip_norm, int steps) {
  SCOPED_TRACE(fmt::format("average {}, copy {}, offset {}, clip_norm {}", options.average, options.copy,
                           options.offset, clip_norm));
  Optimizer there(gpu, parameters, options), here(cpu, parameters, options);
  for (int i = 0; i < steps; ++i) {
    there.step(1.5, clip_norm);
    here.step(1.5, clip_norm);
  }
  expect_alike(there, here);
}

TEST(AdamWOnCuda, AgreesWithTheCpu) {
  VITRAL_NEEDS_DEVICE(gpu);
  const std::vector<Parameter> parameters{{1, single},   {5000, single}, {0, single}, {4096, single},
                                          {4097, twice}, {528, single},  {3, twice},  {20000, single},
                                          {9001, twice}, {0, single}};
  for (const bool average : {false, true})
    for (const bool copy : {false, true})
      for (const std::int64_t offset : {0, 1, 4})
        check(parameters, {.average = average, .copy = copy, .offset = offset}, 1, 2);
  for (const double clip_norm : {0.0, 1e9}) check(parameters, {}, clip_norm, 2);
  for (const double images : {0.0, 3.0, 8.0})
    for (const double clip_norm : {0.0, 1.0})
      check(parameters, {.copy = images > 0, .planned = 8, .images = images}, clip_norm, 1);
}

TEST(MomentumOnCuda, AgreesWithTheCpu) {
  VITRAL_NEEDS_DEVICE(gpu);
  const std::vector<Parameter> parameters{
      {1, single}, {5000, single}, {0, single}, {4097, twice}, {9001, twice}};
  for (const Formula& formula : formulas)
    for (const std::int64_t offset : {0, 1}) {
      SCOPED_TRACE(formula.name);
      check(parameters, {.offset = offset, .formula = formula}, 1, 3);
    }
}

TEST(AdamWOnCuda, AnyNumberOfTensors) {
  VITRAL_NEEDS_DEVICE(gpu);
  std::vector<Parameter> many;
  for (std::int64_t i = 0; i < 600; ++i) many.push_back({i % 7 * 11, i % 3 ? single : twice});
  check(many, {.offset = 1}, 1, 1);
  check({}, {}, 0, 1);
  check({{0, single}}, {}, 0, 1);
}

TEST(AdamWOnCuda, BitsDoNotDependOnThePlace) {
  VITRAL_NEEDS_DEVICE(gpu);
  const std::vector<Parameter> parameters{{1, single}, {9001, single}};
  Optimizer a(gpu, parameters), b(gpu, parameters, {.offset = 1});
  a.step();
  b.step();
  EXPECT_EQ(a.state(), b.state());
}

void check_not_finite(Formula formula) {
  for (const double bad : {nan, inf, -inf})
    for (const std::size_t in_gradient : {0, 1, 2}) {  // 0: in the loss
      Optimizer a(gpu, {{100, single}, {9001, single}, {30, twice}}, {.formula = formula});
      const auto before = a.state();
      if (in_gradient > 0) {
        Tensor& g = a.items[in_gradient].g;
        Values values = g.to_vector();
        values[7] = bad;
        g.copy_from(Tensor::from(values, g.shape()).cast(g.dtype()));
      }
      a.step(in_gradient == 0 ? bad : 1);
      EXPECT_EQ(a.state(), before);
      const Values control = a.control.to_vector();
      EXPECT_EQ(control[update_scale], 0);
      EXPECT_FALSE(std::isfinite(control[in_gradient == 0 ? update_loss : update_squares])) << bad;
    }
}

TEST(AdamWOnCuda, WhatIsNotFiniteChangesNothing) {
  VITRAL_NEEDS_DEVICE(gpu);
  for (const Formula& formula : formulas) {
    SCOPED_TRACE(formula.name);
    check_not_finite(formula);
  }
}

TEST(AdamWOnCuda, AGraphDoesTheSame) {
  VITRAL_NEEDS_DEVICE(gpu);
  const std::vector<Parameter> parameters{{100, single}, {9001, single}, {30, twice}};
  Optimizer a(gpu, parameters), b(gpu, parameters);
  const Tensor loss = Tensor::full({1}, 1, twice, gpu), other = Tensor::full({1}, 2, single, gpu);
  const MemoryPool pool(gpu);
  const MemoryPool::Use use(pool);
  const Graph graph(gpu, [&] { a.step(loss, other, 1); });
  for (int i = 0; i < 3; ++i) {
    graph.launch();
    b.step(loss, other, 1);
  }
  EXPECT_EQ(a.state(), b.state());
}

TEST(AdamWOnCuda, Errors) {
  VITRAL_NEEDS_DEVICE(gpu);
  Optimizer a(gpu, {{100, single}});
  a.items[0].slot = 1;
  EXPECT_EQ(message_of([&] { kernel::begin_update(a.control, a.steps, a.items, 1); }),
            "begin_update: slot 1 is not one of the 1 steps");
  EXPECT_EQ(message_of([&] { kernel::adamw(a.items, a.control, a.steps, {}, 0); }),
            "adamw: slot 1 is not one of the 1 steps");
  a.items[0].slot = 0;
  a.items[0].p = Placed({100}, DType::bfloat16);
  EXPECT_EQ(message_of([&] { kernel::adamw(a.items, a.control, a.steps, {}, 0); }),
            "adamw: dtype bfloat16 is not supported, use float32 or float64");
}

}  // namespace
}  // namespace vitral::test
