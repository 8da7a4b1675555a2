// A vocabulary from texts and datasets, and what a CLIP with one becomes for transformers.
#include "data/text/vocabulary.h"

#include <sys/resource.h>

#include "data/images/image.h"
#include "data/text/clip_tokenizer.h"
#include "data/weights/safetensors.h"
#include "tests/cli/clip_run.h"
#include "tests/golden.h"
#include "tests/gzip.h"

namespace vitral {
namespace {

using nlohmann::json;
using test::expect_done;
using test::expect_failure;
using test::json_of;
using test::run;
using test::write_captioned;

const std::string texts = "tests/golden/vocabulary/texts.txt";

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> out;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    out.push_back(entry.path().filename().string());
  std::sort(out.begin(), out.end());
  return out;
}

class Vocabulary : public testing::Test {
 protected:
  test::TempDir dir_;
  std::string out_ = dir_ / "vocabulary";
};

TEST_F(Vocabulary, IsLearnedFromTexts) {
  const json summary = json_of(run({"vocabulary", texts, "-o", out_, "--size", "700", "--json"}));
  EXPECT_EQ(summary["folder"], out_);
  EXPECT_EQ(summary["tokens"], 700);
  EXPECT_EQ(summary["merges"], 186);
  EXPECT_EQ(summary["texts"], 160);
  EXPECT_GT(summary["words"].get<int>(), summary["different_words"].get<int>());
  EXPECT_EQ(names_in(out_), (std::vector<std::string>{"merges.txt", "special_tokens_map.json",
                                                      "tokenizer_config.json", "vocab.json"}));
  EXPECT_EQ(names_in(dir_.str()), std::vector<std::string>{"vocabulary"});
  auto expected = data::read_vocabulary("tests/golden/vocabulary/merges.txt").merges();
  expected.resize(186);
  EXPECT_EQ(data::read_vocabulary(out_).merges(), expected);
}

// Of all kinds of inputs together the merges are those of their texts together.
TEST_F(Vocabulary, TakesDatasetsAndPackedTexts) {
  write_captioned(dir_ / "a.h5", {"a photo of a cat", "", "a photo of a dog"});
  test::put_file(dir_ / "b.txt.gz", test::zipped("a cat\n\nthe dog\n"));
  test::put_file(dir_ / "all.txt", "a photo of a cat\na photo of a dog\na cat\nthe dog\n");
  const test::Result two = run({"vocabulary", dir_ / "a.h5", dir_ / "b.txt.gz", "-o", out_});
  expect_done(two);
  EXPECT_EQ(two.out, out_ + ": 523 tokens from 4 texts with 14 words, 6 of them different\n");
  EXPECT_EQ(two.err, out_ + ": 523 tokens, not 2000: no other pair occurs twice in these texts\n");
  const std::string other = dir_ / "new/folders/here/";
  expect_done(run({"vocabulary", dir_ / "all.txt", "-o", other}));
  EXPECT_EQ(data::read_vocabulary(out_).merges(), data::read_vocabulary(other).merges());
}

TEST_F(Vocabulary, WrongRequestsChangeNothing) {
  expect_done(run({"vocabulary", texts, "-o", out_, "--size", "600"}));
  std::filesystem::create_directory(dir_ / "mine");
  test::put_file(dir_ / "mine/notes.txt", "mine");
  test::put_file(dir_ / "empty.txt", "\n \n");
  test::put_file(dir_ / "signs.txt", "<|endoftext|>\n");
  test::put_file(dir_ / "latin.txt", "a\ncaf\xe9\n");
  write_captioned(dir_ / "none.h5", {"", ""});
  {
    data::H5File file = data::H5File::create(dir_ / "images.h5");
    file.write("/images", test::noise({2, 8, 8, 3}, 1, DType::uint8));
    file.close();
  }
  const auto before = test::contents_of(dir_.str());
  const auto fails = [&](std::vector<std::string> arguments, const std::string& message) {
    arguments.insert(arguments.begin(), "vocabulary");
    expect_failure(run(arguments), 2, message);
  };
  const std::string fresh = dir_ / "fresh";
  fails({texts, "-o", out_}, out_ + ": is there already; give --force to replace it, or name another folder");
  for (const char* force : {"--json", "--force"})
    fails(
        {texts, "-o", dir_ / "mine", force},
        dir_ / "mine" + ": holds 'notes.txt', which is none of the files to be written; name another folder");
  fails({texts, "-o", dir_ / "empty.txt", "--force"}, dir_ / "empty.txt" + ": is no folder; name one");
  fails({texts, "-o", fresh, "--size", "513"},
        "--size: must be an integer >= 514, not 513; see vitral --help");
  fails({dir_ / "empty.txt", "-o", fresh}, dir_ / "empty.txt" + ": holds no lines; write one entry a line");
  for (const char* name : {"signs.txt", "none.h5"})
    fails({dir_ / name, "-o", fresh},
          dir_ / name + ": no text in it has a word; there is nothing to learn from");
  fails({dir_ / "latin.txt", "-o", fresh},
        dir_ / "latin.txt" +
            ":2: is not UTF-8; convert the file, as with: iconv -f WINDOWS-1252 -t UTF-8 FILE");
  fails(
      {dir_ / "images.h5", "-o", fresh},
      dir_ / "images.h5" + ": has no /captions; pack it with --captions, or give a file with a text a line");
  fails({dir_ / "mine", "-o", fresh}, dir_ / "mine" + ": is a directory, not a file; give a regular file");
  fails({dir_ / "nothing.txt", "-o", fresh}, dir_ / "nothing.txt" + ": no such file");
  EXPECT_EQ(test::contents_of(dir_.str()), before);
  expect_done(run({"vocabulary", texts, "-o", out_, "--size", "601", "--force"}));
  EXPECT_EQ(data::vocabulary_size(data::read_vocabulary(out_)), 601);
}

TEST_F(Vocabulary, AFullDiskLeavesTheOldFolder) {
  expect_done(run({"vocabulary", texts, "-o", out_, "--size", "600"}));
  const auto before = test::contents_of(dir_.str());
  test::Program program({"vocabulary", texts, "-o", out_, "--size", "700", "--force"}, [] {
    struct rlimit limit {
      4096, 4096
    };  // bytes a file
    ::setrlimit(RLIMIT_FSIZE, &limit);
  });
  const test::Result r = program.wait();
  EXPECT_EQ(r.status, 1);
  EXPECT_NE(r.err.find(": cannot write: File too large"), std::string::npos) << r.err;
  EXPECT_EQ(test::contents_of(dir_.str()), before);
}

// --- convert CLIP FOLDER/
// -----------------------------------------------------------------------------------

class ConvertClip : public testing::Test {
 protected:
  ConvertClip() {
    test::write_tiny_clip(clip_);
    data::write_png(image_, test::noise({30, 24, 3}, 1, DType::uint8));
  }

  // What a CLIP makes of two texts and an image.
  std::pair<std::vector<double>, std::vector<double>> embedded(const std::string& clip) {
    expect_done(run({"embed", "--text", "a cat", "the dog", "--clip", clip, "-o", dir_ / "t.h5"}));
    expect_done(run({"pack", image_, "-o", dir_ / "i.h5", "--force"}));
    expect_done(run({"teach", dir_ / "i.h5", "--teacher", clip}));
    return {data::H5File::open(dir_ / "t.h5").read("/embeddings").to_vector(),
            data::H5File::open(dir_ / "i.h5").read("/embeddings").to_vector()};
  }

  test::TempDir dir_;
  std::string clip_ = dir_ / "clip", out_ = dir_ / "out", image_ = dir_ / "image.png";
};

TEST_F(ConvertClip, TheFolderIsAClipToEveryCommand) {
  const test::Result r = run({"convert", clip_, out_ + "/"});
  expect_done(r);
  EXPECT_EQ(r.err, "");
  EXPECT_TRUE(r.out.starts_with(out_ + "/: 62 tensors, ")) << r.out;
  EXPECT_EQ(names_in(out_), (std::vector<std::string>{"config.json", "merges.txt", "model.safetensors",
                                                      "preprocessor_config.json", "special_tokens_map.json",
                                                      "tokenizer_config.json", "vocab.json"}));
  EXPECT_EQ(json::parse(test::bytes_of_file(out_ + "/tokenizer_config.json"))["model_max_length"], 12);
  const json info = json_of(run({"info", out_, "--json"})), before = json_of(run({"info", clip_, "--json"}));
  EXPECT_EQ(info["pretrained"], before["pretrained"]);
  EXPECT_EQ(info["parameters"], before["parameters"]);
  EXPECT_EQ(embedded(out_), embedded(clip_));
  // And on: its own form is a fixed point.
  expect_done(run({"convert", out_, dir_ / "again/"}));
  for (const std::string& name : names_in(out_))
    EXPECT_TRUE(test::bytes_of_file(dir_ / "again" + "/" + name) == test::bytes_of_file(out_ + "/" + name))
        << name;
}

TEST_F(ConvertClip, ARunIsAClipToEveryCommand) {
  const std::string trained = dir_ / "run", checkpoint = test::write_trained_clip(trained);
  const test::Result r = run({"convert", trained, out_ + "/"});
  expect_done(r);
  EXPECT_EQ(r.err, "");
  const auto expected = embedded(out_);
  for (const std::string& path : {trained, checkpoint, checkpoint + "/model.safetensors"})
    EXPECT_EQ(embedded(path), expected) << path;
}

TEST_F(ConvertClip, InHalfPrecisionAndFromOneFile) {
  std::filesystem::copy_file(clip_ + "/model.safetensors", dir_ / "alone.safetensors");
  std::filesystem::create_directory(out_);  // an empty folder needs no slash
  const test::Result r =
      run({"convert", dir_ / "alone.safetensors", out_, "--dtype", "float16", "--vocab", test::small_merges,
           "--heads", "2", "--text-heads", "4", "--activation", "gelu"});
  expect_done(r);
  EXPECT_EQ(r.err, "");
  for (const auto& [name, tensor] : data::read_safetensors(out_ + "/model.safetensors").tensors)
    EXPECT_EQ(tensor.dtype(), DType::float16) << name;
  const json config = json::parse(test::bytes_of_file(out_ + "/config.json"));
  EXPECT_EQ(config["torch_dtype"], "float16");
  EXPECT_EQ(config["vision_config"]["num_attention_heads"], 2);
  EXPECT_EQ(config["text_config"]["num_attention_heads"], 4);
  for (const char* tower : {"vision_config", "text_config"}) EXPECT_EQ(config[tower]["hidden_act"], "gelu");
  const std::string guess =
      dir_ / "alone.safetensors" +
      ": neither it nor a configuration beside it says all; taken as in OpenAI's models: 1 heads (width / "
      "64) and quick_gelu; ";
  EXPECT_EQ(
      run({"convert", dir_ / "alone.safetensors", dir_ / "guessed/", "--vocab", test::small_merges}).err,
      guess + "--heads and --activation say otherwise\n" + guess +
          "--text-heads and --activation say otherwise\n");
}

TEST_F(ConvertClip, WrongRequestsChangeNothing) {
  std::filesystem::create_directory(dir_ / "mine");
  test::put_file(dir_ / "mine/notes.txt", "mine");
  std::filesystem::copy_file(clip_ + "/model.safetensors", dir_ / "alone.safetensors");
  expect_done(run({"vocabulary", texts, "-o", dir_ / "other", "--size", "600"}));
  expect_done(run({"convert", clip_, out_ + "/"}));
  const auto before = test::contents_of(dir_.str());
  const auto fails = [&](std::vector<std::string> arguments, const std::string& message) {
    arguments.insert(arguments.begin(), "convert");
    expect_failure(run(arguments), 2, message);
  };
  const std::string fresh = dir_ / "fresh/";
  fails({clip_, out_}, out_ + ": is there already; give --force to replace it, or name another folder");
  fails({clip_, dir_ / "mine", "--force"},
        dir_ / "mine" + ": holds 'notes.txt', which is none of the files to be written; name another folder");
  for (const std::string& in : {clip_, clip_ + "/model.safetensors"})
    fails({in, clip_, "--force"}, clip_ + ": is one of the inputs; name another folder for the output");
  fails({dir_ / "alone.safetensors", fresh},
        dir_.str() +
            ": has no vocabulary, neither merges.txt, bpe_simple_vocab_16e6.txt.gz nor "
            "tokenizer.json; give CLIP's bpe_simple_vocab_16e6.txt.gz, merges.txt or "
            "tokenizer.json (--vocab, model.text.vocabulary)");
  fails({clip_, fresh, "--vocab", dir_ / "other"},
        dir_ / "other" + ": has 600 tokens, the text tower of " + clip_ +
            " knows 614; give the vocabulary that belongs to it (--vocab)");
  fails({"tests/golden/run_init.safetensors", fresh},
        "tests/golden/run_init.safetensors: these are the weights of no teacher that vitral knows; give a "
        "folder of transformers or open_clip, or a .safetensors or .pt file, of CLIP, SigLIP or DINOv2");
  fails({clip_, fresh, "--window", "5"},
        fresh +
            ": a folder for transformers is made of a CLIP; --image-size, --student-heads, --attention, "
            "--window, --dilation, --position, --same-norm, --mlp, --norm, --last-block and --head are for "
            "a student");
  for (const char* option : {"--heads", "--text-heads"})
    fails({clip_, dir_ / "a.safetensors", option, "2"},
          "--heads, --text-heads, --activation and --vocab are for a folder for transformers; end " +
              dir_ / "a.safetensors" + " in /");
  EXPECT_EQ(test::contents_of(dir_.str()), before);
  expect_done(run({"convert", clip_, out_, "--force", "--dtype", "bfloat16"}));
  EXPECT_EQ(json::parse(test::bytes_of_file(out_ + "/config.json"))["torch_dtype"], "bfloat16");
}

}  // namespace
}  // namespace vitral
