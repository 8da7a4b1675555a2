// Teachers of every family, and what their files leave open, in every command that takes their weights.
#include <algorithm>

#include "data/dataset_writer.h"
#include "data/hdf5/file.h"
#include "data/images/image.h"
#include "models/pretrained/image_encoder.h"
#include "tests/cli/program.h"
#include "tests/golden.h"
#include "tests/models/tiny_clip.h"
#include "tests/noise.h"

namespace vitral::test {
namespace {

using nlohmann::json;

const std::string student = "tests/golden/run_init.safetensors";  // 16x16 pixels, width 16

// A folder with a CLIP of two heads a tower (`clip`), which its configuration says, the same without a
// configuration (`bare`), and three images.
class Teachers : public testing::Test {
 protected:
  Teachers() {
    write_tiny_clip(clip_);
    std::filesystem::copy(clip_, bare_);
    std::filesystem::remove(bare_ + "/config.json");
    put_file(clip_ + "/config.json",
             R"({"vision_config": {"num_attention_heads": 2, "hidden_act": "gelu"},
                 "text_config": {"num_attention_heads": 4, "hidden_act": "gelu"}})");
    std::filesystem::create_directory(dir_ / "in");
    for (int i = 0; i < 3; ++i)
      data::write_png(fmt::format("{}/in/{}.png", dir_.str(), i),
                      noise({30, 20 + i, 3}, static_cast<std::uint64_t>(i), DType::uint8));
  }
  std::string images() const { return dir_ / "in"; }
  std::string out() const { return dir_ / "out.h5"; }
  static std::string guess(const std::string& path, const char* heads_option) {
    return fmt::format(
        "{}: neither it nor a configuration beside it says all; taken as in OpenAI's models: 1 heads (width "
        "/ "
        "64) and quick_gelu; {} and --activation say otherwise\n",
        path, heads_option);
  }

  TempDir dir_;
  std::string clip_ = dir_ / "clip", bare_ = dir_ / "bare";
};

TEST_F(Teachers, EveryCommandSaysWhatItGuessesAndIsTold) {
  struct Case {
    std::vector<std::string> command;
    bool texts, image;  // which towers it takes
  };
  const std::vector<Case> cases{
      {{"embed", "--text", "cat", "-o", out()}, true, false},
      {{"report", student, images(), "--text", "cat", "-o", dir_ / "r.html"}, true, true},
      {{"activate", student, images(), "--text", "cat", "--json"}, true, true},
      {{"search", student, images(), "--text", "cat", "--json"}, true, true},
      {{"eval", student, images(), "--zero-shot", "--classes", dir_ / "classes", "--json"}, true, true}};
  put_file(dir_ / "classes", "in\tcat\n");
  std::filesystem::create_directory(dir_ / "eval");
  std::filesystem::copy(images(), dir_ / "eval/in");
  for (Case c : cases) {
    SCOPED_TRACE(c.command[0]);
    if (c.command[0] == "eval") c.command[2] = dir_ / "eval";
    const auto with = [&](const std::string& weights, const std::vector<std::string>& more) {
      auto arguments = c.command;
      arguments.insert(arguments.end(), {"--clip", weights, "--device", "cpu"});
      if (c.image) arguments.insert(arguments.end(), {"--teacher", weights});
      arguments.insert(arguments.end(), more.begin(), more.end());
      return run(arguments);
    };
    const Result guessed = with(bare_, {}), configured = with(clip_, {});
    expect_done(guessed);
    expect_done(configured);
    EXPECT_NE(guessed.err.find(guess(bare_, c.image ? "--text-heads" : "--heads")), std::string::npos)
        << guessed.err;
    if (c.image) {
      EXPECT_NE(guessed.err.find(guess(bare_, "--heads")), std::string::npos) << guessed.err;
    }
    EXPECT_EQ(configured.err, "");
    const Result told = c.image ? with(bare_, {"--heads", "2", "--text-heads", "4", "--activation", "gelu"})
                                : with(bare_, {"--heads", "4", "--activation", "gelu"});
    expect_done(told);
    EXPECT_EQ(told.err, "");
    if (c.command.back() == "--json" && c.command[0] != "eval") {  // which prints its time
      EXPECT_EQ(told.out, configured.out);
      EXPECT_NE(guessed.out, configured.out);
    }
  }
}

TEST_F(Teachers, InfoSaysWhatItGuesses) {
  const json guessed = json_of(run({"info", bare_, "--json"}))["pretrained"],
             configured = json_of(run({"info", clip_, "--json"}))["pretrained"];
  for (const char* tower : {"image", "text"}) {
    EXPECT_EQ(guessed[tower]["guessed"], "as in OpenAI's models: 1 heads (width / 64) and quick_gelu");
    EXPECT_FALSE(configured[tower].contains("guessed"));
  }
}

TEST_F(Teachers, HeadsNeedTheirTower) {
  expect_failure(
      run({"activate", student, images(), "--weights", "--heads", "2", "--json", "--device", "cpu"}), 2,
      "--heads: belongs to --teacher, which is not given");
  expect_failure(run({"embed", student, images(), "-o", out(), "--heads", "2", "--device", "cpu"}), 2,
                 "--heads: belongs to --text, and no text is given");
}

// A configuration of a training in which the teacher answers to images.
TEST_F(Teachers, TheTeacherInTheLoopSaysWhatItGuessesAndIsTold) {
  {
    data::DatasetWriter writer(dir_ / "train.h5", data::Dataset::Size{16, 16});
    for (int i = 0; i < 8; ++i)
      writer.add_image(noise({16, 16, 3}, static_cast<std::uint64_t>(i), DType::uint8), std::to_string(i));
    writer.finish();
  }
  put_file(
      dir_ / "c.yaml",
      "model: {image_size: 16, patch_size: 4, width: 16, layers: 1, heads: 2}\n"
      "data: {train: " +
          (dir_ / "train.h5") +
          ", val: [], workers: 1}\n"
          "train: {batch_size: 4, epochs: 1, device: cpu, seed: 5, scheduler: {name: constant}, output: " +
          (dir_ / "run") + "}\n");
  const auto train = [&](const std::string& weights, const std::vector<std::string>& more) {
    std::filesystem::remove_all(dir_ / "run");
    std::vector<std::string> arguments{"train", dir_ / "c.yaml", "teacher.weights=" + weights};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  };
  const auto losses = [&] {
    std::vector<double> out;
    std::ifstream file(dir_ / "run/metrics.jsonl");
    for (std::string line; std::getline(file, line);)
      if (const json record = json::parse(line); record.contains("loss")) out.push_back(record["loss"]);
    return out;
  };
  const Result guessed = train(bare_, {});
  expect_done(guessed);
  EXPECT_NE(
      guessed.err.find("warning: teacher.weights: " + bare_ +
                       ": neither it nor a configuration beside it says all; taken as in OpenAI's models: "
                       "1 heads (width / 64) and quick_gelu; teacher.heads and teacher.activation say "
                       "otherwise\n"),
      std::string::npos)
      << guessed.err;
  const auto by_guess = losses();
  expect_done(train(clip_, {}));
  const auto configured = losses();
  const Result told = train(bare_, {"teacher.heads=2", "teacher.activation=gelu"});
  expect_done(told);
  EXPECT_EQ(told.err.find("neither it"), std::string::npos) << told.err;
  EXPECT_EQ(losses(), configured);
  EXPECT_NE(by_guess, configured);
  expect_failure(run({"train", dir_ / "c.yaml", "teacher.activation=gelu"}), 2,
                 "override teacher.activation=gelu: needs teacher.weights");
}

TEST_F(Teachers, SiglipAndDinov2Teach) {
  for (const auto& [name, family, side] : {std::tuple{"siglip", "SigLIP", 16},
                                           {"siglip2", "SigLIP", 16},
                                           {"dinov2", "DINOv2", 24},
                                           {"dinov2_with_registers", "DINOv2", 24}}) {
    SCOPED_TRACE(name);
    const std::string teacher = std::string("tests/golden/") + name,
                      file = dir_ / (name + std::string(".h5"));
    expect_done(run({"pack", images(), "-o", file, "--encoded"}));
    expect_done(run({"teach", file, "--teacher", teacher, "--transform", "clip", "--device", "cpu"}));
    const models::ImageEncoder encoder = models::ImageEncoder::load(teacher);
    EXPECT_EQ(encoder.config().image_size, side);
    const data::H5File h5 = data::H5File::open(file);
    const Tensor embeddings = h5.read("/embeddings");
    for (int i = 0; i < 3; ++i) {
      const Tensor image = encoder.prepare(data::read_image(fmt::format("{}/{}.png", images(), i)),
                                           data::PlainTransform::clip);
      EXPECT_LE(relative_error(embeddings.rows(i, i + 1), encoder.embed(image.reshape({1, side, side, 3}))),
                1e-6);
    }
    EXPECT_TRUE(h5.attribute("teacher_tower")->starts_with(std::string(family) + ", 2 heads, gelu"));
    EXPECT_TRUE(h5.attribute("teacher_tower")
                    ->ends_with(family == std::string("DINOv2")
                                    ? ", shorter edge to 256, bicubic, margins to even"
                                    : ", both edges to its size, bicubic, margins to even"))
        << *h5.attribute("teacher_tower");
    const json told = json_of(run({"info", teacher, "--json"}));
    EXPECT_EQ(told["pretrained"]["family"], family);
    EXPECT_EQ(told["pretrained"]["image"]["embedding"], 16);
    EXPECT_EQ(told["pretrained"]["text"].is_null(), std::string(family) == "DINOv2");
    // Beside a student: its ranking, and what its embedding attends to.
    const json found = json_of(run({"search", student, images(), "--query-image", images() + "/1.png",
                                    "--teacher", teacher, "--device", "cpu", "--json"}));
    EXPECT_EQ(found["queries"][0]["teacher_hits"][0]["name"], "1.png");
    const json seen =
        json_of(run({"activate", student, images(), "--teacher", teacher, "--device", "cpu", "--json"}));
    EXPECT_EQ(seen["images"][0]["teacher_attention"].size(), static_cast<std::size_t>(side / 4));
  }
  expect_failure(run({"embed", "--text", "cat", "--clip", "tests/golden/dinov2", "-o", out()}), 2,
                 "tests/golden/dinov2: DINOv2 has no texts that vitral can embed; give the weights of a CLIP "
                 "or SigLIP");
}

}  // namespace
}  // namespace vitral::test
