// A run that is killed, stopped or given other workers ends with the same bytes as one that is left alone.
#include <csignal>

#include "tests/cli/clip_run.h"

namespace vitral {
namespace {

using test::expect_same_run;
using test::metrics;
using test::Program;
using test::SmallRun;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Starts the run anew or again, and kills it at a random moment, `kills` times in all; a run that ends before
// it is killed must equal the reference, and another one begins.
void kill_often(const SmallRun& small, const Program::Arguments& settings, int kills, std::uint64_t seed) {
  const auto start = std::chrono::steady_clock::now();
  Program::Arguments reference = settings;
  reference.push_back("train.output=" + small.output("reference"));
  test::expect_done(small(reference));
  const double whole = seconds_since(start);

  Random random(seed);
  int run = 0, killed = 0, in_training = 0, in_mid_epoch = 0;
  while (killed < kills) {
    const std::string folder = small.output("killed-" + std::to_string(run));
    Program::Arguments again = settings;
    again.insert(again.end(), {"train.output=" + folder, "--resume", "auto"});
    const std::size_t before = metrics(folder).size();
    Program program(small.arguments(again));
    // Some die while they start; most somewhere in the next part of the run.
    const bool early = random.below(5) == 0;
    if (!early) test::wait_for([&] { return !program.running() || metrics(folder).size() > before; });
    const double delay = random.uniform() * (early ? whole / 4 : whole / 8);
    std::this_thread::sleep_for(std::chrono::duration<double>(delay));
    program.send(SIGKILL);
    const test::Result r = program.wait();
    if (r.status == 128 + SIGKILL) {
      ++killed;
      in_training += !early;
      std::ifstream state(test::latest(folder) + "/state.json");
      if (state) in_mid_epoch += nlohmann::json::parse(state)["state"]["trainer"]["batch"] != 0;
      continue;
    }
    test::expect_done(r);
    expect_same_run(folder, small.output("reference"));
    ++run;
  }
  EXPECT_GE(in_training, kills / 2);
  EXPECT_GE(in_mid_epoch, kills / 3);
  const std::string folder = small.output("killed-" + std::to_string(run));
  Program::Arguments last = settings;
  last.insert(last.end(), {"train.output=" + folder, "--resume", "auto"});
  test::expect_done(small(last));
  expect_same_run(folder, small.output("reference"));
}

TEST(Resume, KilledWithAugmentationAndShuffling) {
  const SmallRun small(240, true);
  kill_often(small,
             {"train.epochs=4", "train.checkpoint_every=7",
              "data.augment={resize: 72, brightness: 0.4, flip: 0.5, random_crop: true}",
              "train.scheduler={name: one_cycle}"},
             20, 11);
}

TEST(Resume, KilledWithAveragedWeights) {
  const SmallRun small(240, true);
  kill_often(small,
             {"train.epochs=4", "train.checkpoint_every=4", "train.ema=0.9", "train.accumulate=2",
              "train.clip_norm=1", "train.scheduler={name: reduce_on_plateau, patience: 0, threshold: 0.5}"},
             20, 12);
}

TEST(Resume, KilledWithFullAttention) {
  const SmallRun small(240, true);
  kill_often(small,
             {"model.attention=full", "train.epochs=3", "train.checkpoint_every=5",
              "train.scheduler={name: cosine, warmup_steps: 4}"},
             8, 13);
}

// Each batch is compared as a whole, though it is computed in pieces.
TEST(Resume, KilledAClip) {
  const test::SmallClip small(240, true);
  kill_often(small,
             {"train.epochs=3", "train.checkpoint_every=7", "train.accumulate=2", "train.ema=0.9",
              "data.augment={flip: 0.5, random_crop: true, resize: 72}", "train.scheduler={name: one_cycle}"},
             10, 14);
}

// The signal, how its message names it, and the signal that follows at once.
struct Stop {
  int signal;
  const char* name;
  int second;
};

class StopTest : public testing::TestWithParam<Stop> {};

TEST_P(StopTest, EndsWithACheckpointAndGoesOn) {
  const Stop stop = GetParam();
  ::signal(SIGHUP, SIG_DFL);  // whoever started the tests
  const SmallRun small(240, true);
  const Program::Arguments settings{"train.epochs=6", "train.ema=0.9"};
  Program::Arguments reference = settings, stopped = settings;
  reference.push_back("train.output=" + small.output("reference"));
  test::expect_done(small(reference));

  // On a busy machine a run may end before the signal comes; then there is another one.
  const std::string folder = small.output("stopped");
  stopped.push_back("train.output=" + folder);
  test::Result r;
  for (int attempt = 0; attempt < 20 && r.out.find("stopped by") == std::string::npos; ++attempt) {
    std::filesystem::remove_all(folder);
    Program program(small.arguments(stopped));
    ASSERT_TRUE(test::wait_for([&] { return metrics(folder).size() >= 5; }));
    program.send(stop.signal);
    if (stop.second) program.send(stop.second);
    r = program.wait();
    ASSERT_EQ(r.status, 0) << r.err;
  }
  const auto lines = metrics(folder);
  const std::int64_t step = lines.back()["step"];
  EXPECT_EQ(test::latest(folder), fmt::format("{}/checkpoints/step-{:09}", folder, step));
  EXPECT_LT(step, metrics(small.output("reference")).back()["step"].get<std::int64_t>());
  const auto said = r.out.find(std::string("; stopped by ") + stop.name + ", continue with --resume auto\n");
  EXPECT_NE(said, std::string::npos) << r.out;
  EXPECT_EQ(std::count(r.out.begin(), r.out.end(), '\n'), 1);

  stopped.insert(stopped.end(), {"--resume", "auto"});
  test::expect_done(small(stopped));
  expect_same_run(folder, small.output("reference"));
}

INSTANTIATE_TEST_SUITE_P(Signals, StopTest,
                         testing::Values(Stop{SIGTERM, "SIGTERM", 0}, Stop{SIGINT, "SIGINT", 0},
                                         Stop{SIGHUP, "SIGHUP", 0}, Stop{SIGUSR1, "SIGUSR1", 0},
                                         Stop{SIGXCPU, "SIGXCPU", 0}, Stop{SIGTERM, "SIGTERM", SIGTERM},
                                         Stop{SIGINT, "SIGINT", SIGINT}));

TEST(Stop, OfAFinishedRunNothingRemains) {
  const SmallRun small;
  test::expect_done(small());
  const auto before = test::contents_of(small.output("run") + "/checkpoints");
  const auto lines = metrics(small.output("run"));
  test::expect_done(small({"--resume", "auto"}));
  EXPECT_EQ(test::contents_of(small.output("run") + "/checkpoints"), before);
  EXPECT_EQ(metrics(small.output("run")), lines);
}

// Killed between its last checkpoint and the removal of an old one.
TEST(Resume, OfAFinishedRunKeepsNoMoreCheckpoints) {
  const SmallRun small;
  test::expect_done(small({"train.keep=1"}));
  const std::string checkpoints = small.output("run") + "/checkpoints";
  std::filesystem::copy(test::latest(small.output("run")), checkpoints + "/step-000000001");
  test::expect_done(small({"train.keep=1", "--resume", "auto"}));
  EXPECT_FALSE(std::filesystem::exists(checkpoints + "/step-000000001"));
  EXPECT_TRUE(std::filesystem::exists(test::latest(small.output("run"))));
}

TEST(Workers, AnyNumberGivesTheSameRun) {
  const SmallRun small(60, true);
  for (const char* workers : {"1", "2", "8"})
    test::expect_done(small({std::string("data.workers=") + workers,
                             std::string("train.output=") + small.output(workers), "data.augment=clip"}));
  expect_same_run(small.output("1"), small.output("2"));
  expect_same_run(small.output("1"), small.output("8"));
}

TEST(Resume, FromACheckpointAndFromTheRunFolder) {
  const SmallRun small;
  test::expect_done(small({"train.output=" + small.output("reference"), "train.checkpoint_every=2"}));
  for (const std::string from : {"/checkpoints/step-000000004", ""}) {
    SCOPED_TRACE(from);
    std::filesystem::remove_all(small.output("run"));
    test::expect_done(small({"train.checkpoint_every=2", "train.max_steps=4"}));
    test::expect_done(small({"train.checkpoint_every=2", "--resume", small.output("run") + from}));
    expect_same_run(small.output("run"), small.output("reference"));
  }
}

}  // namespace
}  // namespace vitral
