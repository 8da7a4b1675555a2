// Runs on a GPU with train.products: products are measured once, and have the same bits ever after.
#include <algorithm>
#include <filesystem>
#include <optional>
#include <regex>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/cli/golden_run.h"
#include "train/product_file.h"
#include "train/trainer.h"

namespace vitral::train {
namespace {

// The first run measures, once for all tests; each has the file that it has left.
class ProductsOnCuda : public testing::Test {
 protected:
  static void TearDownTestSuite() { data_.reset(); }
  void SetUp() override {
    VITRAL_NEEDS_DEVICE(test::gpu);
    if (!data_) {
      data_.emplace(28, true);  // four batches an epoch, the last one smaller; validation
      run("first");
      measured_ = test::bytes_of_file(file());
    }
    test::put_file(file(), measured_);
  }

  static std::string file() { return *data_ / "products.jsonl"; }
  static std::string output(const std::string& name) { return data_->output(name); }

  /// What the run has said.
  static std::string run(const std::string& name, const std::vector<std::string>& more = {},
                         const std::string& resume = "") {
    std::vector<std::string> keys{"train.output=" + output(name), "train.device=cuda",
                                  "train.precision=bf16",         "train.products=" + file(),
                                  "train.checkpoint_every=3",     "train.keep=9"};
    keys.insert(keys.end(), more.begin(), more.end());
    const std::string log = output(name) + ".log";
    std::FILE* out = std::fopen(log.c_str(), "w");
    train(load_config(data_->config(), keys), resume, out);
    std::fclose(out);
    return test::bytes_of_file(log);
  }
  /// What the first run was before its later checkpoints were written, resumed.
  static std::string resume(const std::string& name, const std::vector<std::string>& more = {}) {
    std::filesystem::copy(output("first"), output(name), std::filesystem::copy_options::recursive);
    for (const auto& entry : std::filesystem::directory_iterator(output(name) + "/checkpoints")) {
      const std::string checkpoint = entry.path().filename();
      if (checkpoint.starts_with("step-") && checkpoint != "step-000000003")
        std::filesystem::remove_all(entry.path());
    }
    test::put_file(output(name) + "/checkpoints/latest", std::string_view("step-000000003\n"));
    return run(name, more, "auto");
  }

  inline static std::optional<test::SmallRun> data_;
  inline static std::string measured_;
};

TEST_F(ProductsOnCuda, AreMeasuredOnceAndGiveTheSameBitsEverAfter) {
  EXPECT_GT(std::count(measured_.begin(), measured_.end(), '\n'), 20);
  EXPECT_EQ(measured_.find("\"microseconds\":0.0,"), std::string::npos)
      << "all of them while no graph is recorded";
  run("second");
  test::expect_same_run(output("first"), output("second"));
  const std::string said = resume("resumed");
  EXPECT_EQ(said.find("will differ"), std::string::npos) << said;
  test::expect_same_run(output("first"), output("resumed"));
  EXPECT_EQ(test::bytes_of_file(file()), measured_) << "nothing is measured again";
}

TEST_F(ProductsOnCuda, AResumeWithOtherChoicesSaysSo) {
  EXPECT_NE(resume("without", {"train.products=null"})
                .find("was trained with train.products, and this configuration has none: the last bits will "
                      "differ"),
            std::string::npos);
  std::filesystem::remove(file());
  EXPECT_NE(
      resume("anew").find(
          "was trained with other lines of train.products than there are now: the last bits will differ"),
      std::string::npos);
}

// The file decides, and not what is fastest now: with the sums over K in two parts other bits come out.
TEST_F(ProductsOnCuda, FollowTheFile) {
  if (!test::gpu_is_simulated()) GTEST_SKIP() << "algorithms of the simulator";
  const std::regex algorithm(
      R"re("id":(?:-1|\d+),"tile":\d+,"stages":\d+,"split_k":\d+,"reduction":\d+,(.*)"cluster_shape":\d+)re");
  const auto rewritten = [&](const char* by) { return std::regex_replace(measured_, algorithm, by); };
  test::put_file(file(),
                 rewritten(R"("id":6,"tile":15,"stages":16,"split_k":2,"reduction":2,$1"cluster_shape":0)"));
  run("split");
  run("again");
  test::expect_same_run(output("split"), output("again"));
  test::put_file(file(),
                 rewritten(R"("id":6,"tile":15,"stages":16,"split_k":1,"reduction":0,$1"cluster_shape":0)"));
  run("whole");
  EXPECT_NE(test::bytes_of_file(test::latest(output("whole")) + "/model.safetensors"),
            test::bytes_of_file(test::latest(output("split")) + "/model.safetensors"));
  test::put_file(file(),
                 rewritten(R"("id":7,"tile":15,"stages":16,"split_k":1,"reduction":0,$1"cluster_shape":0)"));
  const std::string message = test::message_of([&] { run("refused"); });
  EXPECT_TRUE(message.starts_with(file() + ":1: cuBLASLt refuses 64x64, stages 64x4, id 7 for [")) << message;
}

// Backward does so in all runs alike, forward where results are kept in all steps: elsewhere backward would
// compute the activation again, with other last bits.
TEST_F(ProductsOnCuda, AnActivationComesOutOfItsProductWhereTheFileSaysSo) {
  if (!test::gpu_is_simulated()) GTEST_SKIP() << "the version of the simulator's cuDNN";
  const auto recompute = [](const char* choice) {
    return std::vector<std::string>{std::string("train.recompute=") + choice};
  };
  run("adds", recompute("never"));  // the lines that only such a run needs
  const std::string all = test::bytes_of_file(file());
  const auto rewritten = [&](const char* epilogue, const char* id) {
    const std::regex line(fmt::format(R"re(("epilogue":"{}".*"id":)-?\d+(,.*"custom":)\d+)re", epilogue));
    const std::string by = fmt::format("$1{}$02{}", id, id == std::string("-3") ? 91900 : 0);
    EXPECT_TRUE(std::regex_search(all, line)) << epilogue;
    return std::regex_replace(all, line, by);
  };
  const auto weights = [](const std::string& name) {
    return test::bytes_of_file(test::latest(output(name)) + "/model.safetensors");
  };
  test::put_file(file(), rewritten("quick_gelu", "-3"));
  run("fused", recompute("never"));
  run("fused again", recompute("never"));
  test::expect_same_run(output("fused"), output("fused again"));
  test::put_file(file(), rewritten("quick_gelu", "-2"));
  run("apart", recompute("never"));
  EXPECT_NE(weights("fused"), weights("apart"));
  run("always", recompute("always"));
  test::expect_same_run(output("always"), output("apart"));

  for (const char* id : {"-2", "-3"}) {
    test::put_file(file(), rewritten("quick_gelu_gradient", id));
    const std::string name = std::string("gradient") + id;
    run(name, recompute("always"));
    run(name + "auto", recompute("auto"));
    test::expect_same_run(output(name), output(name + "auto"));
  }
  EXPECT_NE(weights("gradient-2"), weights("gradient-3"));
}

TEST_F(ProductsOnCuda, OthersLinesAreToldOnceAndDamageEndsTheRun) {
  const std::string line =
      R"({"multiplier":"NVIDIA A100 8.0, cuBLASLt 12.4.5","m":1,"n":1,"k":1,"batch":1,"transpose_a":false,)"
      R"("transpose_b":true,"shared_b":false,"accumulate":false,"epilogue":"none","inputs":"float32",)"
      R"("output":"float32","tf32":false,"alignment":[16,16,16,0],"id":6,"tile":20,"stages":15,"split_k":1,)"
      R"("reduction":0,"swizzle":0,"custom":0,"inner_shape":0,"cluster_shape":0,"means":"","microseconds":1,)"
      R"("first_microseconds":1})";
  test::put_file(file(), line + "\n" + measured_);
  const std::string said = run("told", {"train.max_steps=1"});
  const std::string message =
      "warning: train.products: " + file() + ": 1 of its lines are of other GPUs or libraries than ";
  EXPECT_NE(said.find(message), std::string::npos) << said;
  EXPECT_EQ(said.find(message), said.rfind(message));
  EXPECT_TRUE(test::bytes_of_file(file()).starts_with(line + "\n{"));
  test::put_file(file(), std::string_view("{}\n"));
  EXPECT_EQ(test::message_of([&] { run("damaged", {"train.max_steps=1"}); }),
            file() + ":1: \"multiplier\" is missing; remove the line, and its product is measured again");
  EXPECT_FALSE(std::filesystem::exists(output("damaged"))) << "nothing was begun";
}

TEST_F(ProductsOnCuda, AFolderThatIsNotThereEndsTheRunAtItsBeginning) {
  const std::string message =
      test::message_of([&] { run("nowhere", {"train.products=" + output("nowhere/p.jsonl")}); });
  EXPECT_TRUE(message.starts_with(output("nowhere/p.jsonl") + ": cannot write")) << message;
}

TEST_F(ProductsOnCuda, ARunThatEndsLeavesNoChoicesBehind) {
  run("one", {"train.max_steps=1"});
  EXPECT_EQ(product_choices(), nullptr);
}

}  // namespace
}  // namespace vitral::train
