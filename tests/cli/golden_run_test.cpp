// Whole runs of the program against what PyTorch computed (tests/reference/make_run.py).
#include "tests/cli/small_run.h"
#include "tests/golden.h"

namespace vitral {
namespace {

using nlohmann::json;
using test::metric;

// A golden run: the folder of its files and what came out.
struct Golden {
  std::string folder;
  json expected;
};

std::vector<Golden> goldens(const std::string& name) {
  std::vector<Golden> out;
  for (const auto& path : test::golden_files(name))
    out.push_back(
        {std::filesystem::path(path).parent_path().string(), json::parse(test::bytes_of_file(path))});
  return out;
}

// The run of the program with the golden run's settings, into `output`.
test::Result train(const Golden& golden, const std::string& output,
                   const test::Program::Arguments& more = {}) {
  const json &model = golden.expected["model"], &train = golden.expected["train"];
  const std::string dataset = golden.folder + "/run_dataset.h5";
  json config;
  config["model"] = model;
  config["model"]["init_from"] = golden.folder + "/run_init.safetensors";
  config["data"] = {
      {"train", {dataset}}, {"val", {dataset}}, {"shuffle", train["shuffle"]}, {"augment", train["augment"]}};
  config["train"] = {{"batch_size", train["batch_size"]},
                     {"epochs", train["epochs"]},
                     {"loss_norm", train["loss_norm"]},
                     {"device", "cpu"},
                     {"optimizer", {{"lr", train["lr"]}, {"weight_decay", train["weight_decay"]}}},
                     {"scheduler", train["scheduler"]},
                     {"log_every", 1},
                     {"output", output}};
  for (const char* key : {"clip_norm", "ema"})
    if (train.contains(key)) config["train"][key] = train[key];
  const test::TempDir dir;
  std::ofstream(dir / "config.yaml") << config.dump();  // JSON is YAML
  test::Program::Arguments arguments{"train", dir / "config.yaml"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return test::run(arguments);
}

void expect_close(const std::vector<double>& got, const std::vector<double>& expected, double tolerance,
                  std::size_t from = 0) {
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = from; i < got.size(); ++i)
    EXPECT_NEAR(got[i], expected[i], tolerance * std::abs(expected[i])) << "number " << i;
}

// AdamW amplifies rounding, so only the first steps can be compared closely.
void expect_losses(const std::string& run, const json& expected) {
  auto got = metric(run, "train", "loss");
  auto want = expected["step_losses"].get<std::vector<double>>();
  expect_close(got, want, 2e-2);
  got.resize(8);
  want.resize(8);
  expect_close(got, want, 1e-5);
}

TEST(GoldenRun, ReduceOnPlateau) {
  for (const auto& golden : goldens("run_expected.json")) {
    SCOPED_TRACE(golden.folder);
    const test::TempDir dir;
    test::expect_done(train(golden, dir / "run"));
    expect_losses(dir / "run", golden.expected);
    expect_close(metric(dir / "run", "val", "loss"), golden.expected["val_losses"], 2e-2);
    // The rate of the steps of an epoch is the one after the epoch before.
    std::vector<double> rates;
    const auto after = golden.expected["lr_after_epoch"].get<std::vector<double>>();
    const std::size_t steps = golden.expected["step_losses"].size() / after.size();
    for (std::size_t i = 0; i < steps * after.size(); ++i)
      rates.push_back(i < steps ? golden.expected["train"]["lr"].get<double>() : after[i / steps - 1]);
    EXPECT_EQ(metric(dir / "run", "train", "lr"), rates);
  }
}

TEST(GoldenRun, ClippingOneCycleAndAveragedWeights) {
  for (const auto& golden : goldens("run_clip_expected.json")) {
    for (const char* accumulate : {"1", "2"}) {
      SCOPED_TRACE(golden.folder + " accumulate " + accumulate);
      const test::TempDir dir;
      const std::string run = dir / "run";
      test::expect_done(train(golden, run, {std::string("train.accumulate=") + accumulate}));
      expect_losses(run, golden.expected);
      expect_close(metric(run, "train", "lr"), golden.expected["lr_of_step"], 1e-12);
      const auto average = data::read_weights(test::latest(run)).tensors;
      const auto raw = data::read_safetensors(test::latest(run) + "/optimizer.safetensors").tensors;
      const auto find = [](const data::NamedTensors& tensors, const std::string& name) {
        for (const auto& [key, tensor] : tensors)
          if (key == name) return tensor;
        throw_error("no tensor {}", name);
      };
      for (const auto& [name, tensor] : golden.expected["ema"].items()) {
        const Tensor got = find(average, name);
        const Tensor want =
            Tensor::from(tensor["values"].get<std::vector<double>>(), got.shape()).cast(DType::float32);
        EXPECT_LT(test::relative_error(got, want), 1e-4) << name;
        // The student's own weights are elsewhere.
        EXPECT_GT(test::relative_error(find(raw, "raw." + name), want), 1e-3) << name;
      }
    }
  }
}

}  // namespace
}  // namespace vitral
