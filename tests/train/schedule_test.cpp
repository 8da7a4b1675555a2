#include "train/schedule.h"

#include <cmath>
#include <fstream>
#include <limits>
#include <numbers>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "data/hdf5/file.h"
#include "tests/support.h"

namespace vitral::train {
namespace {

using nlohmann::json;

json golden() {
  std::ifstream file("tests/golden/schedules.json");
  EXPECT_TRUE(file) << "run from the root of the repository";
  return json::parse(file);
}

SchedulerConfig named(const std::string& name) {
  SchedulerConfig config;
  config.name = name;
  return config;
}

TEST(ReduceOnPlateau, GivesTheLearningRatesOfTheGoldenFileExactly) {
  VITRAL_NEEDS_SHARED(path, "golden/reduce_lr_on_plateau.h5");
  const auto file = data::H5File::open(path);
  const auto losses = file.read("val_loss").to_vector();
  const auto expected = file.read("lr_after").to_vector();
  const auto schedule = make_schedule(SchedulerConfig{}, 1e-3, 100);
  for (std::size_t i = 0; i < losses.size(); ++i) {
    schedule->on_validation(losses[i]);
    ASSERT_EQ(schedule->lr(0), expected[i]) << "epoch " << i;
  }
}

TEST(ReduceOnPlateau, GivesPyTorchsLearningRatesExactlyAlsoThroughAResumeInAnyEpoch) {
  const json cases = golden()["plateau"];
  ASSERT_EQ(cases.size(), 3U);
  for (const json& c : cases) {
    SchedulerConfig config;
    config.patience = c["patience"];
    config.factor = c["factor"];
    config.threshold = c["threshold"];
    config.min_lr = c["min_lr"];
    const double lr = c["lr"];
    const auto whole = make_schedule(config, lr, 1000);
    auto resumed = make_schedule(config, lr, 1000);
    EXPECT_EQ(whole->lr(0), lr);
    for (std::size_t i = 0; i < c["losses"].size(); ++i) {
      const std::string state = resumed->state().dump();
      resumed = make_schedule(config, lr, 1000);
      resumed->load_state(json::parse(state));
      whole->on_validation(c["losses"][i]);
      resumed->on_validation(c["losses"][i]);
      ASSERT_EQ(whole->lr(0), c["after"][i].get<double>()) << c["name"] << " epoch " << i;
      ASSERT_EQ(resumed->lr(0), whole->lr(0)) << c["name"] << " epoch " << i;
    }
  }
}

TEST(ReduceOnPlateau, TakesALossThatIsNotANumberAsNoProgress) {
  const auto schedule = make_schedule(SchedulerConfig{}, 1e-3, 100);
  schedule->on_validation(1);
  schedule->on_validation(std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(schedule->lr(0), 1e-3);
  schedule->on_validation(std::numeric_limits<double>::quiet_NaN());
  EXPECT_EQ(schedule->lr(0), 5e-4);
}

TEST(ReduceOnPlateau, AChangedLearningRateTakesEffectOnResume) {
  const auto before = make_schedule(SchedulerConfig{}, 1e-3, 100);
  for (int i = 0; i < 3; ++i) before->on_validation(1);
  EXPECT_EQ(before->lr(0), 5e-4);
  const auto same = make_schedule(SchedulerConfig{}, 1e-3, 100);
  same->load_state(before->state());
  EXPECT_EQ(same->lr(0), 5e-4);
  const auto changed = make_schedule(SchedulerConfig{}, 3e-3, 100);
  changed->load_state(before->state());
  EXPECT_EQ(changed->lr(0), 3e-3);
}

TEST(OneCycle, GivesPyTorchsLearningRates) {
  const json cases = golden()["one_cycle"];
  ASSERT_EQ(cases.size(), 5U);
  for (const json& c : cases) {
    SchedulerConfig config = named("one_cycle");
    config.warmup_fraction = c["warmup_fraction"];
    config.start_factor = c["start_factor"];
    config.end_factor = c["end_factor"];
    const std::int64_t total = c["total_steps"];
    const auto schedule = make_schedule(config, c["lr"], total);
    for (std::int64_t step = 0; step < total; ++step) {
      const double expected = c["rates"][static_cast<std::size_t>(step)];
      ASSERT_NEAR(schedule->lr(step), expected, 1e-14 * c["lr"].get<double>()) << c << " step " << step;
    }
    EXPECT_EQ(schedule->lr(total + 5), schedule->lr(total - 1));
  }
}

TEST(OneCycle, AWarmUpOfASingleStepStartsAtThePeak) {
  SchedulerConfig config = named("one_cycle");
  config.warmup_fraction = 0.25;
  EXPECT_EQ(make_schedule(config, 1e-3, 4)->lr(0), 1e-3);
}

TEST(Cosine, GivesPyTorchsLearningRatesAfterALinearWarmUp) {
  const json c = golden()["cosine"];
  const std::int64_t steps = c["total_steps"];
  const double lr = c["lr"];
  for (const std::int64_t warmup : {std::int64_t{0}, std::int64_t{10}}) {
    SchedulerConfig config = named("cosine");
    config.min_lr = c["min_lr"];
    config.warmup_steps = warmup;
    const auto schedule = make_schedule(config, lr, warmup + steps);
    for (std::int64_t step = 0; step < warmup; ++step)
      EXPECT_DOUBLE_EQ(schedule->lr(step), lr * static_cast<double>(step + 1) / 10);
    for (std::int64_t step = 0; step < steps; ++step)
      EXPECT_NEAR(schedule->lr(warmup + step), c["rates"][static_cast<std::size_t>(step)].get<double>(),
                  1e-14 * lr);
    EXPECT_EQ(schedule->lr(warmup + steps), config.min_lr);
    EXPECT_EQ(schedule->lr(warmup + 10 * steps), config.min_lr);
  }
}

TEST(Constant, WarmsUpAndStays) {
  SchedulerConfig config = named("constant");
  EXPECT_EQ(make_schedule(config, 0.5, 1)->lr(0), 0.5);
  config.warmup_steps = 4;
  const auto schedule = make_schedule(config, 0.5, 10);
  EXPECT_EQ(schedule->lr(0), 0.125);
  EXPECT_EQ(schedule->lr(3), 0.5);
  schedule->on_validation(1);
  EXPECT_EQ(schedule->lr(1000), 0.5);
}

TEST(Schedule, WrongSettingsAndStatesAreErrors) {
  SchedulerConfig config = named("cosine");
  config.warmup_steps = 50;
  EXPECT_EQ(test::message_of([&] { make_schedule(config, 1e-3, 50); }),
            "train.scheduler.warmup_steps: 50 must be below the 50 steps of the run");
  EXPECT_EQ(test::message_of([&] { make_schedule(named("constant"), 1e-3, 0); }),
            "scheduler constant: a run needs at least 1 step, not 0");
  EXPECT_EQ(test::message_of([&] { make_schedule(named("step"), 1e-3, 1); }),
            "train.scheduler.name: step is unknown, choose reduce_on_plateau, cosine, one_cycle or constant");

  const auto load = [](const char* name, const char* state) {
    return test::message_of([&] { make_schedule(named(name), 1e-3, 10)->load_state(json::parse(state)); });
  };
  EXPECT_EQ(load("cosine", R"({"name": "cosine"})"), "no error");
  EXPECT_EQ(
      load("cosine", R"({"name": "one_cycle"})"),
      "scheduler state: the checkpoint was made with one_cycle, the configuration says cosine; resume with "
      "train.scheduler.name=one_cycle, or start a new run with init_from");
  EXPECT_EQ(load("cosine", "[]"), "scheduler state: has no name, the checkpoint is damaged");
  EXPECT_EQ(load("reduce_on_plateau", R"({"name": "reduce_on_plateau", "base_lr": 0.001, "lr": "x"})"),
            "scheduler state: lr is missing or no number");
  EXPECT_EQ(
      load("reduce_on_plateau",
           R"({"name": "reduce_on_plateau", "base_lr": 0.001, "lr": 0.001, "bad_epochs": -1, "best": null})"),
      "scheduler state: lr 0.001 or bad_epochs -1 is not possible, the checkpoint is damaged");
  EXPECT_EQ(load("reduce_on_plateau",
                 R"({"name": "reduce_on_plateau", "base_lr": 0.001, "lr": 0.001, "bad_epochs": 0})"),
            "scheduler state: best is missing or no number");
}

}  // namespace
}  // namespace vitral::train
