// What earlier versions wrote stays readable, and a run that one of them began goes on as it would have gone
// on there: tests/golden/before, whose expected.json says what made it.
#include <filesystem>

#include "tests/cli/golden_run.h"
#include "tests/cli/program.h"
#include "tests/cli/small_run.h"

namespace vitral::test {
namespace {

const std::string before = "tests/golden/before";

TEST(FilesOfBefore, ARunGoesOn) {
  const auto expected = nlohmann::json::parse(bytes_of_file(before + "/expected.json"));
  const TempDir dir;
  const std::string folder = dir / "run";
  std::filesystem::copy(before + "/run", folder, std::filesystem::copy_options::recursive);
  expect_done(run({"train", before + "/config.yaml", "train.output=" + folder, "--resume", "auto",
                   "train.max_steps=" + expected["max_steps"].dump()}));
  const auto after = [&](const char* kind, const char* key) {  // of the steps that this program made
    auto all = metric(folder, kind, key);
    const std::size_t made = expected[std::string(kind) + "_" + key].size();
    return std::vector<double>(all.end() - static_cast<std::ptrdiff_t>(made), all.end());
  };
  for (const auto& [kind, key] : {std::pair{"train", "loss"}, {"val", "loss"}, {"val", "cosine"}})
    expect_near(after(kind, key), expected[std::string(kind) + "_" + key].get<std::vector<double>>(), 1e-5);
}

TEST(FilesOfBefore, ACheckpointIsEvaluated) {
  const auto expected = nlohmann::json::parse(bytes_of_file(before + "/expected.json"));
  const Result r = run({"eval", before + "/run", "tests/golden/run_dataset.h5", "--json"});
  expect_done(r);
  const auto got = nlohmann::json::parse(r.out);
  for (const char* key : {"loss", "cosine"})
    EXPECT_NEAR(got[key].get<double>(), expected["eval"][key].get<double>(), 1e-5) << key;
}

}  // namespace
}  // namespace vitral::test
