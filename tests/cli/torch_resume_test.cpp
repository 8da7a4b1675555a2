// A run that PyTorch began goes on here (tests/reference/make_torch_checkpoint.py).
#include "tests/cli/golden_run.h"

namespace vitral {
namespace {

using test::metric;
using test::metrics;

const std::string begun = "tests/golden/run_torch.pt";  // after two of five epochs of three steps

class TorchResume : public testing::Test {
 protected:
  test::Result train(const test::Program::Arguments& more = {}) {
    const test::GoldenRun golden{
        "tests/golden", nlohmann::json::parse(test::bytes_of_file("tests/golden/run_torch_expected.json"))};
    test::write_golden_config(golden, dir_ / "config.yaml", run_, "cpu");
    expected_ = golden.expected;
    test::Program::Arguments arguments{"train", dir_ / "config.yaml"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return test::run(arguments);
  }

  test::TempDir dir_;
  std::string run_ = dir_ / "run";
  nlohmann::json expected_;
};

TEST_F(TorchResume, GoesOnAsPyTorchWouldHave) {
  // The rate is the file's, as long as the configuration keeps its own.
  const test::Result r = train({"--resume", begun, "train.optimizer.lr=0.005"});
  test::expect_done(r);
  EXPECT_NE(r.err.find("resumed from " + begun + " (step 6)\n"), std::string::npos) << r.err;
  EXPECT_EQ(r.err.find("warning"), std::string::npos) << r.err;
  test::expect_near(metric(run_, "train", "loss"), expected_["step_losses"], 1e-5);
  test::expect_near(metric(run_, "val", "loss"), expected_["val_losses"], 1e-5);
  EXPECT_EQ(metric(run_, "train", "step"), (std::vector<double>{7, 8, 9, 10, 11, 12, 13, 14, 15}));
  EXPECT_EQ(metric(run_, "train", "epoch"), (std::vector<double>{3, 3, 3, 4, 4, 4, 5, 5, 5}));
  const auto after = expected_["lr_after_epoch"].get<std::vector<double>>();
  EXPECT_EQ(metric(run_, "train", "lr"), (std::vector<double>{1e-3, 1e-3, 1e-3, after[0], after[0], after[0],
                                                              after[1], after[1], after[1]}));
}

TEST_F(TorchResume, StoppedAndResumedItIsTheSameRun) {
  test::expect_done(train({"--resume", begun}));
  const std::string whole = run_;
  run_ = dir_ / "parts";
  test::expect_done(train({"--resume", begun, "train.max_steps=9"}));
  test::expect_done(train({"--resume", "auto"}));
  test::expect_same_run(run_, whole);
}

TEST_F(TorchResume, AFinishedRunBecomesACheckpoint) {
  test::expect_done(train({"--resume", begun, "train.epochs=2"}));
  EXPECT_EQ(test::latest(run_), run_ + "/checkpoints/step-000000006");
  EXPECT_TRUE(metrics(run_).empty());
  const auto model = data::read_weights(test::latest(run_)).tensors,
             torch = data::read_weights(begun).tensors;
  std::map<std::string, Tensor> mine(model.begin(), model.end());
  for (const auto& [name, tensor] : torch) EXPECT_EQ(mine[name].to_vector(), tensor.to_vector()) << name;
}

TEST_F(TorchResume, AveragesBeginWithTheWeights) {
  test::expect_done(train({"--resume", begun, "train.ema=0.9"}));
  test::expect_near(metric(run_, "train", "loss"), expected_["step_losses"], 1e-5);
}

TEST_F(TorchResume, WhatTheConfigurationSaysOtherwiseIsTold) {
  const test::Result r = train({"--resume", begun, "train.optimizer.weight_decay=0.05",
                                "train.scheduler.patience=3", "model.attention=full"});
  test::expect_done(r);
  EXPECT_NE(
      r.err.find("warning: " + begun +
                 ": was trained with train.optimizer.weight_decay=0.01, train.scheduler.patience=1; this "
                 "configuration says otherwise and counts\n"),
      std::string::npos)
      << r.err;
  EXPECT_NE(
      r.err.find("warning: " + begun +
                 ": has `scale`, as the original's students with neighbourhood attention; training goes on "
                 "with model.attention=full\n"),
      std::string::npos)
      << r.err;
}

TEST_F(TorchResume, WhatDoesNotFitIsOneLine) {
  test::expect_failure(
      train({"--resume", begun, "model.layers=2"}), 2,
      begun +
          ": was trained with model.layers=1, this configuration has 2; set it alike, or start a "
          "new run with model.init_from");
  test::expect_failure(train({"--resume", begun, "train.scheduler={name: cosine}"}), 2,
                       "scheduler state: the checkpoint was made with reduce_on_plateau, the configuration "
                       "says cosine; resume "
                       "with train.scheduler.name=reduce_on_plateau, or start a new run with init_from");
  test::expect_failure(
      train({"--resume", "tests/golden/nothing.pt"}), 2,
      "tests/golden/nothing.pt: no such checkpoint; give a run folder or a checkpoint folder");
  EXPECT_FALSE(std::filesystem::exists(run_));
  test::expect_done(train({"train.max_steps=1", "model.init_from=" + begun}));
  test::expect_failure(train({"--resume", begun}), 2,
                       run_ + ": holds a run already, and " + begun +
                           " is not of it; continue it with --resume auto, or choose another train.output");
}

}  // namespace
}  // namespace vitral
