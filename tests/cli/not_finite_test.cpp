// Values that are not finite: the step is skipped and the image named, a run that diverges ends early, and
// nothing of it reaches a checkpoint.
#include <utility>

#include "data/images/image.h"
#include "tests/cli/small_run.h"
#include "tests/models/tiny_clip.h"

namespace vitral {
namespace {

using test::embedding_of;
using test::SmallRun;

// Every tensor of every checkpoint of a run.
void expect_finite(const std::string& run) {
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(run + "/checkpoints")) {
    if (entry.path().extension() != ".safetensors") continue;
    ++files;
    for (const auto& [name, tensor] : data::read_safetensors(entry.path().string()).tensors)
      for (const double value : tensor.to_vector())
        ASSERT_TRUE(std::isfinite(value)) << entry.path() << " " << name;
  }
  EXPECT_GT(files, 0);
}

std::string last_line(const std::string& text) {
  const auto end = text.rfind('\n');
  const auto begin = end == 0 || end == std::string::npos ? std::string::npos : text.rfind('\n', end - 1);
  return text.substr(begin == std::string::npos ? 0 : begin + 1);
}

class OneBadEmbedding : public testing::TestWithParam<std::pair<float, const char*>> {};

TEST_P(OneBadEmbedding, SkipsItsStepAndNamesIt) {
  const auto [value, what] = GetParam();
  const SmallRun small;
  test::write_dataset(small.train(), 24, embedding_of(12, value));
  const std::string blamed = fmt::format("the embedding of image 12 of {} is {}", small.train(), what);
  const test::Result r = small({"data.shuffle=false"});
  EXPECT_EQ(r.status, 0) << r.err;
  for (const int step : {2, 5}) {
    const std::string line =
        fmt::format("step {}: loss is not finite, the step is skipped (1 in a row): {}\n", step, blamed);
    EXPECT_NE(r.err.find(line), std::string::npos) << r.err;
  }
  const auto lines = test::metrics(small.output("run"));
  ASSERT_EQ(lines.size(), 6U);
  for (const auto& line : lines) EXPECT_EQ(line["loss"].is_null(), line["step"] == 2 || line["step"] == 5);
  expect_finite(small.output("run"));

  test::expect_failure(test::run({"eval", small.output("run"), small.train()}), 1,
                       blamed + "; embed that image again, or remove it");
}

INSTANTIATE_TEST_SUITE_P(Values, OneBadEmbedding,
                         testing::Values(std::pair{test::not_a_number, "not finite"},
                                         std::pair{std::numeric_limits<float>::infinity(), "not finite"},
                                         std::pair{0.0F, "zero"}, std::pair{1e25F, "too large for float32"}));

TEST(NotFinite, AValidationThatFailsKeepsTheEpoch) {
  const SmallRun small(24, true);
  test::write_dataset(small / "val.h5", 16, embedding_of(3, 0));
  const test::Result r = small();
  EXPECT_EQ(r.status, 1);
  EXPECT_EQ(last_line(r.err), "vitral: validation: the embedding of image 3 of " + (small / "val.h5") +
                                  " is zero; embed that image again, or remove it\n");
  EXPECT_TRUE(test::latest(small.output("run")).ends_with("step-000000003"));
  // With the file repaired, the run goes on as if nothing had been.
  test::write_dataset(small / "val.h5", 16, {}, 7);
  test::expect_done(small({"--resume", "auto"}));
  test::expect_done(small({"train.output=" + small.output("reference")}));
  test::expect_same_run(small.output("run"), small.output("reference"));
}

TEST(NotFinite, ThreeStepsInARowEndTheRun) {
  const SmallRun small;
  const std::string run = small.output("run");
  test::expect_done(small({"train.max_steps=3"}));
  const auto good = test::contents_of(run + "/checkpoints");
  test::write_dataset(small.train(), 24, embedding_of({}, test::not_a_number));
  const test::Result r = small({"--resume", "auto"});
  EXPECT_EQ(r.status, 1);
  EXPECT_NE(r.err.find("(3 in a row)"), std::string::npos) << r.err;
  EXPECT_EQ(r.err.find("(4 in a row)"), std::string::npos) << r.err;
  const std::string line = last_line(r.err);
  EXPECT_EQ(line.find("vitral: training diverged: loss is not finite in 3 steps in a row up to step 6: the "
                      "embedding of image "),
            0U)
      << line;
  EXPECT_TRUE(line.ends_with(" is not finite; the checkpoints in " + run +
                             " are untouched, lower train.optimizer.lr or check the data, then resume\n"))
      << line;
  EXPECT_EQ(test::contents_of(run + "/checkpoints"), good);
}

TEST(NotFinite, ALearningRateThatIsTooHigh) {
  // Weights of 1e30 are finite, what follows from them is not; 3e38 overflows the weights themselves.
  for (const char* lr : {"1.0e30", "3.0e38"}) {
    SCOPED_TRACE(lr);
    const SmallRun small;
    const std::string run = small.output("run");
    test::expect_done(small({"train.max_steps=2"}));
    const auto good = test::contents_of(run + "/checkpoints");
    const test::Result r = small({"--resume", "auto", "train.epochs=8", "train.checkpoint_every=1",
                                  "train.keep=9", std::string("train.optimizer.lr=") + lr});
    EXPECT_EQ(r.status, 1) << r.err;
    EXPECT_EQ(last_line(r.err).find("vitral: training diverged: "), 0U) << r.err;
    expect_finite(run);
    for (const auto& [path, bytes] : good) {
      if (path.ends_with("latest") || path.ends_with("best")) continue;  // a resume names others
      EXPECT_EQ(test::bytes_of_file(path), bytes) << path << " changed";
    }
  }
}

// Networks whose outputs are not finite, all or some of them: whoever would show them says so.
class Spoiled : public testing::Test {
 protected:
  Spoiled() {
    std::filesystem::create_directories(small_ / "photos/cat");
    for (const char* name : {"a", "b"})
      data::write_png(small_ / fmt::format("photos/cat/{}.png", name),
                      test::noise({40, 40, 3}, 5, DType::uint8));
    test::write_tiny_clip(clip_);
    const data::NamedTensors weights = models::Student(test::small_student(), 3).state();
    data::write_safetensors(good_, weights, models::to_metadata(test::small_student()));
  }

  // A copy in which the first value of these tensors is none.
  static void spoil(const std::string& from, const std::string& to, const std::vector<std::string>& names) {
    data::WeightsFile file = data::read_weights(from);
    std::size_t spoiled = 0;
    for (auto& [name, tensor] : file.tensors)
      for (const auto& wanted : names)
        if (name == wanted) tensor.data<float>()[0] = test::not_a_number, ++spoiled;
    ASSERT_EQ(spoiled, names.size());
    data::write_safetensors(to, file.tensors, file.metadata);
  }

  void expect_refused(const std::vector<test::Program::Arguments>& commands, int status,
                      const std::string& message) const {
    for (auto arguments : commands) {
      for (const std::string& a : arguments) command_ += a + " ";
      SCOPED_TRACE(std::exchange(command_, ""));
      arguments.insert(arguments.end(), {"--device", "cpu"});
      test::expect_failure(test::run(arguments), status, message);
      for (const char* output : {"out.h5", "out.png", "out.html"})
        EXPECT_FALSE(std::filesystem::exists(small_ / output)) << output;
    }
  }

  SmallRun small_;
  std::string photos_ = small_ / "photos", clip_ = small_ / "clip", good_ = small_ / "good.safetensors",
              bad_ = small_ / "bad.safetensors", h5_ = small_ / "out.h5", png_ = small_ / "out.png",
              html_ = small_ / "out.html";
  mutable std::string command_;
};

TEST_F(Spoiled, StudentsAreAnErrorOfEveryCommand) {
  // Of one patch; of all.
  for (const char* name : {"positional_embedding", "conv1.weight"}) {
    spoil(good_, bad_, {name});
    expect_refused(
        {{"embed", bad_, photos_, "-o", h5_},
         {"embed", bad_, photos_, "--patches", "-o", h5_},
         {"eval", bad_, small_.train()},
         {"eval", bad_, photos_, "--zero-shot", "--clip", clip_},
         {"activate", bad_, photos_, "--weights", "--json"},
         {"activate", bad_, photos_, "--text", "cat", "--clip", clip_, "-o", png_},
         {"activate", bad_, small_.train(), "--text", "cat", "--clip", clip_, "-o", png_},
         {"report", bad_, photos_, "-o", html_},
         {"report", bad_, small_.train(), "--text", "cat", "--clip", clip_, "-o", html_},
         {"search", bad_, photos_, "--text", "cat", "--clip", clip_},
         {"search", bad_, photos_, "--query-image", photos_ + "/cat/a.png"}},
        1, bad_ + ": its embeddings are not finite; the training diverged, take an earlier checkpoint");
  }
}

TEST_F(Spoiled, TeachersAreAnErrorOfEveryCommand) {
  const std::string bad = small_ / "bad-clip";
  std::filesystem::copy(clip_, bad);
  spoil(clip_ + "/model.safetensors", bad + "/model.safetensors",
        {"visual.conv1.weight", "positional_embedding"});
  test::write_dataset(small_ / "plain.h5", 4, [](Tensor& embeddings) { embeddings = {}; });
  expect_refused({{"teach", small_ / "plain.h5", "--teacher", bad},
                  {"eval", good_, photos_, "--zero-shot", "--clip", clip_, "--teacher", bad},
                  {"activate", good_, photos_, "--teacher", bad, "--json"},
                  {"search", good_, photos_, "--text", "cat", "--clip", clip_, "--teacher", bad}},
                 1, bad + ": its embeddings are not finite; the weights are damaged, get them again");
  expect_refused({{"embed", "--text", "cat", "--clip", bad, "-o", h5_},
                  {"search", good_, photos_, "--text", "cat", "--clip", bad},
                  {"activate", good_, photos_, "--text", "cat", "--clip", bad, "-o", png_},
                  {"report", good_, photos_, "--text", "cat", "--clip", bad, "-o", html_},
                  {"eval", good_, photos_, "--zero-shot", "--clip", bad}},
                 2, "text 'cat': its embedding is zero or not finite; check the weights of CLIP");
}

}  // namespace
}  // namespace vitral
