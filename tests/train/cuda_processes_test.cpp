// Training on several GPUs, a process each: the same bits as on one. The processes are this test program,
// which `vitral train --processes` would start in the same way.
#include <cstdlib>
#include <sstream>

#include <gtest/gtest.h>

#include "processes/launch.h"
#include "tensor/backend.h"
#include "tests/cli/golden_run.h"
#include "tests/support.h"
#include "train/trainer.h"

namespace vitral::train {
namespace {

RunSummary run(const std::string& config, const std::vector<std::string>& keys, Group& group = alone()) {
  std::FILE* out = std::fopen("/dev/null", "w");
  const RunSummary summary = train(load_config(config, keys), "auto", out, nullptr, group);
  std::fclose(out);
  return summary;
}

std::vector<std::string> keys_in_environment() {
  std::vector<std::string> keys;
  std::istringstream text(std::getenv("VITRAL_TEST_KEYS"));
  for (std::string key; std::getline(text, key, '\n');) keys.push_back(key);
  return keys;
}

// What each of the processes does.
TEST(OneOfThem, DISABLED_Trains) {
  prefer_gpu(local_rank());
  run(std::getenv("VITRAL_TEST_CONFIG"), keys_in_environment(), processes());
}

class CudaProcesses : public testing::Test {
 protected:
  void SetUp() override {
    VITRAL_NEEDS_DEVICE(test::gpu);
    if (backend(Device::Kind::cuda).device_count(nullptr) < 2) GTEST_SKIP() << "this machine has one GPU";
    if (std::system("command -v mpirun > /dev/null") != 0) GTEST_SKIP() << "no mpirun here (openmpi-bin)";
    // Open MPI keeps what it has until the end.
    const char* asan = std::getenv("ASAN_OPTIONS");
    ::setenv("ASAN_OPTIONS", (std::string(asan ? asan : "") + ":detect_leaks=0").c_str(), 1);
  }

  static int run_on(int count, const test::SmallRun& small, const std::vector<std::string>& keys) {
    std::string text;
    for (const auto& key : keys) text += key + "\n";
    ::setenv("VITRAL_TEST_KEYS", text.c_str(), 1);
    ::setenv("VITRAL_TEST_CONFIG", small.config().c_str(), 1);
    return start_processes(count, {"--gtest_filter=OneOfThem.DISABLED_Trains",
                                   "--gtest_also_run_disabled_tests", "--gtest_brief=1"});
  }
};

// Four batches an epoch, the last one smaller: graphs, and steps without one.
TEST_F(CudaProcesses, TheSameBitsOnOneAndTwo) {
  const test::SmallRun small(28, true);
  const std::vector<std::vector<std::string>> kinds{
      {"train.slices=4", "train.epochs=3"},
      {"train.slices=2", "train.accumulate=2", "train.clip_norm=0.01", "train.ema=0.9",
       "train.precision=bf16", "train.checkpoint_every=3", "data.augment={flip: 0.5, random_crop: true}"}};
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    SCOPED_TRACE(i);
    const auto keys = [&](const std::string& output) {
      auto all = kinds[i];
      all.insert(all.end(), {"train.device=cuda", "train.output=" + small.output(output)});
      return all;
    };
    const std::string one = fmt::format("one-{}", i), two = fmt::format("two-{}", i);
    run(small.config(), keys(one));
    ASSERT_EQ(run_on(2, small, keys(two)), 0);
    test::expect_same_run(small.output(one), small.output(two));
    // And in slices it is the CPU's training.
    if (i > 0) continue;
    auto on_cpu = keys("cpu");
    on_cpu.push_back("train.device=cpu");
    run(small.config(), on_cpu);
    test::expect_near(test::metric(small.output("cpu"), "train", "loss"),
                      test::metric(small.output(two), "train", "loss"), 1e-4);
  }
}

// A target without a direction, in a slice of the second process: both skip the step, and go on alike.
TEST_F(CudaProcesses, AStepThatIsNotFiniteIsSkippedByAll) {
  const test::SmallRun small;
  test::write_dataset(small.train(), 24, test::embedding_of(6, test::not_a_number));
  std::vector<std::string> keys{"train.device=cuda", "train.slices=2", "data.shuffle=false"};
  keys.push_back("train.output=" + small.output("one"));
  run(small.config(), keys);
  keys.back() = "train.output=" + small.output("two");
  ASSERT_EQ(run_on(2, small, keys), 0);
  test::expect_same_run(small.output("one"), small.output("two"));
}

// One process measures, several have what it left; they write nothing, not even where the file lacks a
// product.
TEST_F(CudaProcesses, HaveTheProductsThatOneHasMeasured) {
  const test::SmallRun small(28);
  const std::string file = small / "products.jsonl";
  const auto keys = [&](const std::string& output) {
    return std::vector<std::string>{"train.slices=2", "train.device=cuda", "train.products=" + file,
                                    "train.output=" + small.output(output)};
  };
  ASSERT_EQ(run_on(2, small, keys("nothing")), 0);
  EXPECT_FALSE(std::filesystem::exists(file));
  run(small.config(), keys("one"));
  const std::string measured = test::bytes_of_file(file);
  EXPECT_NE(measured, "");
  ASSERT_EQ(run_on(2, small, keys("two")), 0);
  test::expect_same_run(small.output("one"), small.output("two"));
  EXPECT_EQ(test::bytes_of_file(file), measured);
}

}  // namespace
}  // namespace vitral::train
