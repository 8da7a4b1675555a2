// Whole runs against what PyTorch computed (tests/reference/make_run.py), by the program or by the library.
#pragma once
#include <cmath>

#include "tests/cli/small_run.h"
#include "tests/golden.h"

namespace vitral::test {

// A golden run: the folder of its files and what came out.
struct GoldenRun {
  std::string folder;
  nlohmann::json expected;
};

inline std::vector<GoldenRun> golden_runs(const std::string& name) {
  std::vector<GoldenRun> out;
  for (const auto& path : golden_files(name))
    out.push_back(
        {std::filesystem::path(path).parent_path().string(), nlohmann::json::parse(bytes_of_file(path))});
  return out;
}

/// A configuration file with the golden run's settings, into `output`.
inline void write_golden_config(const GoldenRun& golden, const std::string& path, const std::string& output,
                                const std::string& device) {
  const nlohmann::json &model = golden.expected["model"], &train = golden.expected["train"];
  const std::string dataset = golden.folder + "/run_dataset.h5";
  nlohmann::json config;
  config["model"] = model;
  config["model"]["init_from"] = golden.folder + "/run_init.safetensors";
  config["data"] = {
      {"train", {dataset}}, {"val", {dataset}}, {"shuffle", train["shuffle"]}, {"augment", train["augment"]}};
  config["train"] = {{"batch_size", train["batch_size"]},
                     {"epochs", train["epochs"]},
                     {"loss_norm", train["loss_norm"]},
                     {"device", device},
                     {"optimizer", {{"lr", train["lr"]}, {"weight_decay", train["weight_decay"]}}},
                     {"scheduler", train["scheduler"]},
                     {"log_every", 1},
                     {"output", output}};
  for (const char* key : {"clip_norm", "ema"})
    if (train.contains(key)) config["train"][key] = train[key];
  std::ofstream(path) << config.dump();  // JSON is YAML
}

inline void expect_near(const std::vector<double>& got, const std::vector<double>& expected,
                        double tolerance) {
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i)
    EXPECT_NEAR(got[i], expected[i], tolerance * std::abs(expected[i])) << "number " << i;
}

/// AdamW amplifies rounding, so only the first steps can be compared closely, within `first`.
inline void expect_losses(const std::string& run, const nlohmann::json& expected, double first) {
  auto got = metric(run, "train", "loss");
  auto want = expected["step_losses"].get<std::vector<double>>();
  expect_near(got, want, 2e-2);
  got.resize(8);
  want.resize(8);
  expect_near(got, want, first);
}

}  // namespace vitral::test
