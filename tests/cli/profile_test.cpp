// vitral train --profile and --json.
#include <cmath>

#include "tests/cli/small_run.h"

namespace vitral {
namespace {

using nlohmann::json;
using test::expect_done;
using test::SmallRun;

// 24 images in batches of 8, two epochs.
constexpr int steps = 6;

json profile_of(const SmallRun& small, const test::Program::Arguments& more = {}) {
  auto arguments = test::Program::Arguments{"--profile", "--json"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  const test::Result r = small(arguments);
  expect_done(r);
  EXPECT_EQ(std::count(r.out.begin(), r.out.end(), '\n'), 1) << r.out;
  return json::parse(r.out);
}

json operation(const json& summary, const std::string& name) {
  for (const auto& o : summary["profile"]["operations"])
    if (o["name"] == name) return o;
  ADD_FAILURE() << name << " is not in " << summary["profile"].dump();
  return {};
}

TEST(TrainProfile, CountsTheWorkOfTheSteps) {
  // Validations run the same kernels and are not counted.
  const SmallRun small(24, true);
  const json summary = profile_of(small), profile = summary["profile"];
  EXPECT_EQ(summary["steps_now"], steps);
  EXPECT_EQ(profile["steps"], steps);

  const json linear = operation(summary, "linear");
  EXPECT_EQ(linear["calls"], steps * 4);  // the patches, and three in the one layer
  const models::StudentConfig c = test::small_student();
  const double w = c.internal_width(), tokens = 8.0 * c.tokens();
  EXPECT_EQ(linear["flops"], steps * 2 * tokens * (3.0 * c.patch_size * c.patch_size * w + 8 * w * w));
  // The second half of the MLP is a kernel of its own.
  EXPECT_EQ(operation(summary, "activation_linear")["flops"], steps * 2 * tokens * 4 * w * w);
  EXPECT_EQ(operation(summary, "activation_linear_backward")["flops"], steps * 4 * tokens * 4 * w * w);
  EXPECT_NEAR(linear["gflops_per_second"].get<double>() * 1e9 * linear["seconds"].get<double>(),
              linear["flops"].get<double>(), 1);
  EXPECT_EQ(operation(summary, "linear_backward")["flops"], linear["flops"]);

  const json attention = operation(summary, "neighbourhood_attention");
  EXPECT_EQ(attention["calls"], steps);
  EXPECT_EQ(attention["bytes"], steps * tokens * 4 * w * 4);  // q, k, v in, the result out
  EXPECT_GT(attention["gb_per_second"], 0);
  EXPECT_EQ(operation(summary, "neighbourhood_attention_backward")["calls"], steps);
  EXPECT_EQ(operation(summary, "adamw")["calls"], steps);

  double sum = profile["data_wait_seconds"].get<double>() + profile["other_seconds"].get<double>(),
         last = 1e9;
  for (const auto& o : profile["operations"]) {
    sum += o["seconds"].get<double>();
    EXPECT_LE(o["seconds"], last);
    last = o["seconds"];
  }
  EXPECT_NEAR(sum, profile["seconds"].get<double>(), 1e-6);
  EXPECT_LT(profile["seconds"], summary["seconds"]);
}

TEST(TrainProfile, PrintsATable) {
  const SmallRun small;
  const test::Result r = small({"--profile", "train.max_steps=1"});
  expect_done(r);
  EXPECT_EQ(r.out.find(small.output("run") + ": step 1, 1 step in "), 0U) << r.out;
  EXPECT_NE(r.out.find("\nprofile of 1 training step: "), std::string::npos) << r.out;
  for (const char* line : {"\noperation ", "\nlinear ", "\nlinear_backward ", "\nneighbourhood_attention ",
                           "\nwaiting for data ", "\noutside of kernels "})
    EXPECT_NE(r.out.find(line), std::string::npos) << line << "\n" << r.out;
  EXPECT_NE(r.out.find(" GFLOP/s\n"), std::string::npos) << r.out;
  EXPECT_NE(r.out.find(" GB/s\n"), std::string::npos) << r.out;
}

TEST(TrainProfile, ChangesNothing) {
  const SmallRun small;
  expect_done(small({"train.output=" + small.output("plain")}));
  const json summary = profile_of(small, {"train.output=" + small.output("profiled")});
  test::expect_same_run(small.output("plain"), small.output("profiled"));
}

TEST(TrainJson, IsTheSummary) {
  const SmallRun small(24, true);
  const test::Result r = small({"--json"});
  expect_done(r);
  const json summary = json::parse(r.out);
  EXPECT_EQ(summary["output"], small.output("run"));
  EXPECT_EQ(summary["step"], steps);
  EXPECT_EQ(summary["val_loss"], test::metric(small.output("run"), "val", "loss").back());
  EXPECT_EQ(summary["skipped_images"], 0);
  EXPECT_TRUE(summary["stopped_by"].is_null());
  EXPECT_FALSE(summary.contains("profile"));
}

}  // namespace
}  // namespace vitral
