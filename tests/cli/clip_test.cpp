// vitral train with model.kind clip: several processes, towers that stay, weights to begin with, and what is
// refused.
#include "tests/cli/clip_run.h"
#include "tests/cli/processes.h"

namespace vitral {
namespace {

using test::expect_done;
using test::expect_failure;
using test::expect_same_run;
using test::latest;
using test::Processes;
using test::Result;
using test::run;
using test::SmallClip;
using test::some_captions;
using test::train;
using test::write_captioned;

// 22 images in batches of 8: the last one is cut unevenly. One image has no caption, and is compared with
// none.
TEST_F(Processes, AClipIsTheSameOnOneTwoAndFour) {
  const SmallClip data(22, true);
  auto captions = some_captions(22);
  captions[10] = " ";
  captions[11] = "";
  write_captioned(data.train(), captions, 2);
  std::vector<test::Program::Arguments> kinds{
      {"train.slices=4"},
      {"train.slices=4", "train.accumulate=2", "train.ema=0.9", "train.clip_norm=0.01",
       "data.augment={flip: 0.5}", "train.checkpoint_every=2"},
      {"train.slices=8", "train.freeze=image"}};
  const test::Program::Arguments bf16{"train.slices=4", "train.precision=bf16"};
  if (train(data, "bf16", 1, bf16).status == 0) kinds.push_back(bf16);  // not every processor has it
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    SCOPED_TRACE(i);
    for (const int processes : {1, 2, 4}) {
      const Result r = train(data, fmt::format("{}-{}", i, processes), processes, kinds[i]);
      expect_done(r);
      EXPECT_NE(r.err.find("skipped image 5 of " + data.train() + ": it has no caption\n"), std::string::npos)
          << r.err;
      EXPECT_NE(r.out.find(", 2 images skipped"), std::string::npos) << r.out;  // one in each of two epochs
    }
    expect_same_run(data.output(fmt::format("{}-1", i)), data.output(fmt::format("{}-2", i)));
    expect_same_run(data.output(fmt::format("{}-1", i)), data.output(fmt::format("{}-4", i)));
  }
  // Begun by four, ended by two.
  expect_done(train(data, "mixed", 4, {"train.slices=4", "train.max_steps=4"}));
  expect_done(train(data, "mixed", 2, {"train.slices=4", "--resume", "auto"}));
  for (const char* file : {"/model.safetensors", "/optimizer.safetensors"})
    EXPECT_EQ(test::bytes_of_file(latest(data.output("mixed")) + file),
              test::bytes_of_file(latest(data.output("0-1")) + file))
        << file;
}

// The loss is of the whole batch, not the mean of its pieces'.
TEST(Clip, PiecesAreComparedWithEachOther) {
  const SmallClip data;
  const auto first_loss = [&](const std::string& pieces) {
    expect_done(data({pieces, "train.max_steps=1", "train.output=" + data.output(pieces)}));
    return test::metric(data.output(pieces), "train", "loss").front();
  };
  const double whole = first_loss("train.accumulate=1");
  EXPECT_GT(whole, std::log(4));  // about ln 8: they know nothing yet; pieces of two have ln 2
  EXPECT_NEAR(first_loss("train.accumulate=4"), whole, 1e-5);
  EXPECT_NEAR(first_loss("train.slices=4"), whole, 1e-5);
}

using Weights = std::map<std::string, std::vector<double>>;

Weights weights_of(const std::string& path) {
  Weights out;
  for (const auto& [name, tensor] : data::read_safetensors(path).tensors) out[name] = tensor.to_vector();
  return out;
}

// Of two files with the same weights: those that are equal are exactly the ones of this tower.
void expect_frozen(const std::string& tower, const Weights& before, const Weights& after) {
  ASSERT_EQ(before.size(), after.size());
  int equal = 0;
  for (const auto& [name, values] : before) {
    const bool is_of_image = name.starts_with("visual."),
               stays = name != "logit_scale" && is_of_image == (tower == "image");
    EXPECT_EQ(after.at(name) == values, stays) << tower << ": " << name;
    equal += stays;
  }
  EXPECT_GT(equal, 10);
}

TEST(Clip, ATowerStaysAsItBegan) {
  const SmallClip data;
  expect_done(data({"train.max_steps=2", "train.output=" + data.output("first")}));
  const Weights first = weights_of(latest(data.output("first")) + "/model.safetensors");
  for (const std::string tower : {"image", "text"}) {
    // Averages and decay leave it alone, too; the initial weights as a run, a checkpoint and a file.
    const std::string from =
        tower == "image" ? data.output("first") : latest(data.output("first")) + "/model.safetensors";
    const Result r = data({"train.freeze=" + tower, "model.init_from=" + from, "train.ema=0.5",
                           "train.optimizer.weight_decay=0.1", "train.output=" + data.output(tower)});
    expect_done(r);
    expect_frozen(tower, first, weights_of(latest(data.output(tower)) + "/model.safetensors"));
  }
}

// As CLIP is published: a folder of transformers, with OpenAI's names here.
TEST(Clip, BeginsWithPublishedWeights) {
  const SmallClip data;
  const std::string clip = data / "clip";
  test::write_tiny_clip(clip);
  const std::string text = "text: {width: 64, layers: 2, heads: 1, context: 12, vocabulary: " + clip + "}";
  const test::Program::Arguments settings{
      "model={kind: clip, image_size: 24, patch_size: 8, width: 16, vision: {width: 64, layers: 1, heads: "
      "1}, " +
          text + ", init_from: " + clip + "}",
      "train.freeze=text"};
  expect_done(data(settings));
  Weights published = weights_of(clip + "/model.safetensors");
  expect_frozen("text", published, weights_of(latest(data.output("run")) + "/model.safetensors"));

  auto wrong = settings;
  wrong.insert(wrong.end(),
               {"model.text.layers=3", "model.vision.heads=2", "train.output=" + data.output("wrong")});
  expect_failure(
      data(wrong), 2,
      clip + ": is another CLIP than the one that is trained: text.layers 2, not 3; vision.heads 1, not 2");
  EXPECT_FALSE(std::filesystem::exists(data.output("wrong")));
}

// As many tokens, but they mean something else.
TEST(Clip, AnotherVocabularyIsAnotherModel) {
  const SmallClip data;
  const auto learned = [&](const std::string& name, const std::string& words) {
    test::put_file(data / name + ".txt", words);
    expect_done(run({"vocabulary", data / name + ".txt", "-o", data / name, "--size", "517"}));
    return "model.text.vocabulary=" + data / name;
  };
  const std::string cats = learned("cats", "cats cats cats"), dogs = learned("dogs", "dogs dogs dogs");
  expect_done(data({cats, "train.max_steps=2"}));
  const std::string checkpoint = latest(data.output("run"));
  const auto before = test::contents_of(data.output("run"));
  const auto digest = [&](const std::string& name) {
    return data::digest(data::read_vocabulary(data / name));
  };
  expect_failure(data({dogs, "train.max_steps=4", "--resume", "auto"}), 2,
                 fmt::format("{}: was trained with clip.text.vocabulary_digest={}, this configuration has "
                             "{}; set it alike, or start a new "
                             "run with model.init_from",
                             checkpoint, digest("cats"), digest("dogs")));
  EXPECT_EQ(test::contents_of(data.output("run")), before);
  expect_failure(
      data({dogs, "train.output=" + data.output("other"), "model.init_from=" + data.output("run")}), 2,
      data.output("run") +
          ": was trained with another vocabulary than model.text.vocabulary; name that of its run");
  // The run's own copy is the same, wherever it lies.
  expect_done(data({"model.text.vocabulary=" + data.output("run"), "train.max_steps=4", "--resume", "auto"}));
}

TEST(Clip, DataThatTeachNothingAreRefused) {
  const SmallClip data(24, true);
  const auto fails = [&](const std::string& key, const std::string& file, const std::string& message) {
    expect_failure(data({key + "=" + file}), 2, file + message);
    EXPECT_FALSE(std::filesystem::exists(data.output("run")));
  };
  const std::string says =
      " of its images has a caption, and a CLIP compares two or more; pack it with --captions FILE";
  write_captioned(data / "empty.h5", std::vector<std::string>(48), 2);
  write_captioned(data / "blank.h5", {" ", "\t", "\n", ""});
  write_captioned(data / "one.h5", {"", "a cat", ""});
  test::write_dataset(data / "none.h5", 24);
  for (const std::string key : {"data.train", "data.val"}) {
    for (const char* name : {"empty.h5", "blank.h5"}) fails(key, data / name, ": none" + says);
    fails(key, data / "one.h5", ": one" + says);
    fails(key, data / "none.h5", ": has no /captions to train on; pack it with --captions FILE");
  }
  // The captions of all files count, those without are skipped.
  const Result r = data({"data.train=[" + data / "one.h5" + ", " + data.train() + "]", "train.epochs=1"});
  expect_done(r);
  for (const int image : {0, 2})
    EXPECT_NE(r.err.find(fmt::format("skipped image {} of {}: it has no caption\n", image, data / "one.h5")),
              std::string::npos)
        << r.err;
}

// 25 images in batches of 8: the last has nothing to compare, and the run goes on.
TEST(Clip, ABatchOfOneImageTeachesNothing) {
  const SmallClip data(25);
  expect_done(data({"train.epochs=1"}));
  const auto losses = test::metric(data.output("run"), "train", "loss"),
             norms = test::metric(data.output("run"), "train", "grad_norm");
  ASSERT_EQ(losses.size(), 4U);
  EXPECT_GT(losses[2], 1);
  EXPECT_GT(norms[2], 0.01);
  EXPECT_NEAR(losses[3], 0, 1e-6);
  EXPECT_NEAR(norms[3], 0, 1e-6);
}

// What comes behind the context is cut, so that a longer caption is as good as a short one.
TEST(Clip, LongCaptionsAreCut) {
  const SmallClip data;
  const auto trained_on = [&](const std::string& name, const std::string& tail,
                              const std::string& head = "") {
    std::vector<std::string> captions;
    for (int i = 0; i < 24; ++i)
      captions.push_back(fmt::format("{}{} cats on a photo of the dog and the cat{}", head, i, tail));
    write_captioned(data / name + ".h5", captions);
    expect_done(data(
        {"data.train=" + data / name + ".h5", "model.text.context=7", "train.output=" + data.output(name)}));
    return weights_of(latest(data.output(name)) + "/model.safetensors");
  };
  std::string tail;
  for (int i = 0; i < 3000; ++i) tail += " and more";
  const Weights expected = trained_on("short", "");
  EXPECT_EQ(trained_on("long", tail), expected);
  EXPECT_NE(trained_on("other", "", "the "), expected);
}

TEST(Clip, FilesOfTheConfigurationThatAreNotThere) {
  const SmallClip data;
  for (const std::string key : {"model.text.vocabulary", "model.init_from"}) {
    const std::string path = data / "nothing", given = key + "=" + path;
    expect_failure(data({given}), 2, "override " + given + ": " + path + ": no such file");
  }
  std::filesystem::create_directory(data / "folder");
  expect_failure(data({"model.text.vocabulary=" + data / "folder"}), 2,
                 data / "folder" +
                     ": has no vocabulary, neither merges.txt, bpe_simple_vocab_16e6.txt.gz nor "
                     "tokenizer.json; give CLIP's bpe_simple_vocab_16e6.txt.gz, merges.txt or tokenizer.json "
                     "(--vocab, model.text.vocabulary)");
  EXPECT_FALSE(std::filesystem::exists(data.output("run")));
}

}  // namespace
}  // namespace vitral
