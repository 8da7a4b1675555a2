// Texts through CLIP: the golden numbers, templates, and files of text embeddings.
#include "infer/texts.h"

#include <cmath>

#include "data/hdf5/file.h"
#include "tests/golden.h"
#include "tests/models/tiny_clip.h"
#include "tests/support.h"

namespace vitral::infer {
namespace {

using test::message_of;
using test::relative_error;
using test::TempDir;

const std::vector<std::string> golden_texts = {"a photo of a cat", "green shirt", "a dog jumping",
                                               "Big Ben!"};

TEST(ClipTexts, AsPyTorchFromHuggingFaceWeights) {
  VITRAL_NEEDS_SHARED(weights, "golden/clip_tiny_hf.safetensors");
  VITRAL_NEEDS_SHARED(golden, "golden/clip_tiny.h5");
  VITRAL_NEEDS_SHARED(vocabulary, "data/bpe_simple_vocab_16e6.txt.gz");
  const models::TextEncoder clip = models::TextEncoder::load(weights, vocabulary);
  // The token embedding is stored in float16.
  EXPECT_LT(relative_error(clip.embed(golden_texts), data::H5File::open(golden).read("/text_embedding")),
            1e-3);
}

double stream(std::uint64_t k, std::uint64_t i) {
  std::uint64_t z = (i + (k << 40)) * 0x9E3779B97F4A7C15U;
  z += 0x9E3779B97F4A7C15U;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9U;
  z = (z ^ z >> 27) * 0x94D049BB133111EBU;
  z ^= z >> 31;
  return 2 * static_cast<double>(z >> 11) * 0x1p-53 - 1;
}

TEST(ClipTexts, AsPyTorchFromOpenAisNames) {
  VITRAL_NEEDS_SHARED(golden, "golden/clip_tiny.h5");
  VITRAL_NEEDS_SHARED(vocabulary, "data/bpe_simple_vocab_16e6.txt.gz");
  const data::H5File file = data::H5File::open(golden);
  test::State state = test::read_group(file, "/state");
  Tensor embedding({49408, 128});
  for (std::int64_t i = 0; i < embedding.numel(); ++i)
    embedding.data<float>()[i] = static_cast<float>(0.5 * stream(7950, static_cast<std::uint64_t>(i)));
  state.emplace_back("token_embedding.weight", embedding);
  const TempDir folder;
  data::write_safetensors(folder / "clip.safetensors", state);
  const models::TextEncoder clip = models::TextEncoder::load(folder / "clip.safetensors", vocabulary);
  EXPECT_LT(relative_error(clip.embed(golden_texts), file.read("/text_embedding")), 1e-5);
  // One by one: without the padding of longer neighbours.
  EXPECT_LT(relative_error(clip.embed(golden_texts, 1), file.read("/text_embedding")), 1e-5);
}

class TinyClip : public testing::Test {
 protected:
  TinyClip() { test::write_tiny_clip(folder_.str()); }
  models::TextEncoder clip() const { return models::TextEncoder::load(folder_.str()); }
  TempDir folder_;
};

using TinyClipTexts = TinyClip;

TEST_F(TinyClipTexts, DependOnTheTextAndNothingElse) {
  const models::TextEncoder clip = this->clip();
  const Tensor a = clip.embed({"a photo of a cat", "dog", "a photo of a cat  ", ""}), b = clip.embed({"dog"}),
               cat = a.rows(0, 1);
  EXPECT_EQ(a.shape(), (Shape{4, 16}));
  EXPECT_LT(relative_error(a.rows(2, 3), cat), 1e-5);  // the place in the batch moves roundings
  EXPECT_LT(relative_error(b, a.rows(1, 2)), 1e-5);
  EXPECT_GT(relative_error(a.rows(1, 2), cat), 0.1);
  EXPECT_GT(relative_error(a.rows(3, 4), cat), 0.1);
  // What is cut off makes no difference, what is not does.
  const std::string ten = "1 2 3 4 5 6 7 8 9 0";
  EXPECT_EQ(clip.embed({ten + " 1 1"}).to_vector(), clip.embed({ten}).to_vector());
  EXPECT_NE(clip.embed({ten.substr(2) + " 1 1"}).to_vector(), clip.embed({ten}).to_vector());
  EXPECT_EQ(message_of([&] { clip.embed(std::vector<std::string>{}); }), "tokeniser: no texts given");
}

TEST_F(TinyClipTexts, TemplatesAreAveragedAsUnitVectors) {
  const models::TextEncoder clip = this->clip();
  const Tensor one = clip.embed({"a cat"}), two = clip.embed({"cat of a cat"});
  const auto length = [](const Tensor& t) {
    double sum = 0;
    for (const double x : t.to_vector()) sum += x * x;
    return std::sqrt(sum);
  };
  std::vector<double> expected;
  for (int i = 0; i < 16; ++i)
    expected.push_back(one.to_vector()[i] / length(one) + two.to_vector()[i] / length(two));
  double square = 0;
  for (const double x : expected) square += x * x;
  const models::PromptEmbeddings y = clip.embed_prompts({"dog", "cat"}, {"a {}", "{} of a {}"});
  for (int i = 0; i < 16; ++i)
    EXPECT_NEAR(y.units.rows(1, 2).to_vector()[i], expected[i] / std::sqrt(square), 1e-6);
  EXPECT_NEAR(y.lengths.to_vector()[1], (length(one) + length(two)) / 2, 1e-5);
  // Without templates: the prompt itself, of unit length.
  const models::PromptEmbeddings plain = clip.embed_prompts({"a cat"});
  for (int i = 0; i < 16; ++i)
    EXPECT_NEAR(plain.units.to_vector()[i], one.to_vector()[i] / length(one), 1e-6);
  EXPECT_EQ(message_of([&] {
              clip.embed_prompts({"cat"}, {"a {}", "a photo"});
            }),
            "template 'a photo': has no {}, the place of the prompt; write one, as in \"a photo of a {}\"");
}

TEST_F(TinyClipTexts, FilesKeepThem) {
  const models::TextEncoder clip = this->clip();
  const std::string path = folder_ / "texts.h5";
  for (const std::vector<std::string>& templates : {std::vector<std::string>{}, {"a {}", "the {}"}}) {
    const TextEmbeddings made = embed_texts(clip, {"cat", "Ärger 東京"}, templates);
    if (templates.empty())
      EXPECT_EQ(made.embeddings.to_vector(), clip.embed(made.texts).to_vector());
    else
      EXPECT_EQ(made.embeddings.to_vector(), clip.embed_prompts(made.texts, templates).units.to_vector());
    write_texts(path, made);
    const TextEmbeddings read = read_texts(path);
    EXPECT_EQ(read.texts, made.texts);
    EXPECT_EQ(read.embeddings.to_vector(), made.embeddings.to_vector());
    EXPECT_EQ(read.lengths.to_vector(), made.lengths.to_vector());
    const TextEmbeddings one = select_texts(read, {"Ärger 東京"}, path);
    EXPECT_EQ(one.embeddings.to_vector(), made.embeddings.rows(1, 2).to_vector());
    EXPECT_EQ(one.lengths.to_vector()[0], made.lengths.to_vector()[1]);
    EXPECT_EQ(message_of([&] {
                select_texts(read, {"cat", "dog"}, path);
              }),
              path + ": has no text 'dog'; it has 2 of them: cat, Ärger 東京");
  }
}

TEST(TextFiles, OtherFilesAreRefused) {
  const TempDir folder;
  const std::string path = folder / "t.h5";
  const auto message = [&](const std::vector<std::string>& texts, const Tensor& embeddings,
                           const Tensor& lengths = {}) {
    data::H5File file = data::H5File::create(path);
    if (!texts.empty()) file.write_strings("/texts", texts);
    if (embeddings.defined()) file.write("/embeddings", embeddings);
    if (lengths.defined()) file.write("/lengths", lengths);
    file.close();
    return message_of([&] { read_texts(path); });
  };
  const std::string advice = "; give a file that `vitral embed --text` wrote";
  EXPECT_EQ(message({}, Tensor::full({2, 3}, 1)), path + ": has no /texts" + advice);
  EXPECT_EQ(message({"a"}, {}), path + ": has no /embeddings" + advice);
  EXPECT_EQ(message({"a"}, Tensor::full({2, 3}, 1)),
            path + ": /texts is [1] and /embeddings [2, 3]; [T] and float [T,D] are needed");
  EXPECT_EQ(message({"a"}, Tensor::full({1, 3}, 1, DType::int64)),
            path + ": /texts is [1] and /embeddings [1, 3]; [T] and float [T,D] are needed");
  EXPECT_EQ(message({"a", "b"}, Tensor::from(std::vector<float>{1, 1, 0, 0}, {2, 2})),
            path + ": /embeddings row 1 is zero or not finite; embed the texts again");
  EXPECT_EQ(message({"a"}, Tensor::full({1, 2}, NAN)),
            path + ": /embeddings row 0 is zero or not finite; embed the texts again");
  EXPECT_EQ(message({"a"}, Tensor::full({1, 2}, 1), Tensor::full({2}, 1)),
            path + ": /lengths is [2]; float [1] is needed");
  EXPECT_EQ(message({"a"}, Tensor::full({1, 2}, 1), Tensor::full({1}, -1)),
            path + ": /lengths row 0 is not a positive number; embed the texts again");
  EXPECT_EQ(message({"a"}, Tensor::full({1, 2}, 1).cast(DType::float16)), "no error");
  EXPECT_NEAR(read_texts(path).lengths.to_vector()[0], std::sqrt(2), 1e-6);
  EXPECT_EQ(message_of([&] { read_texts(folder / "none"); }), (folder / "none") + ": no such file");
}

TEST(TextEncoder, NeedsItsVocabulary) {
  const TempDir folder;
  test::write_tiny_clip(folder / "clip");
  std::filesystem::remove(folder / "clip/merges.txt");
  EXPECT_EQ(
      message_of([&] { models::TextEncoder::load(folder / "clip"); }),
      (folder / "clip") +
          ": has no vocabulary, neither merges.txt, bpe_simple_vocab_16e6.txt.gz nor tokenizer.json; give "
          "CLIP's bpe_simple_vocab_16e6.txt.gz, merges.txt or tokenizer.json (--vocab, "
          "model.text.vocabulary)");
  EXPECT_EQ(
      message_of([&] { models::TextEncoder::load(folder / "clip/model.safetensors"); }),
      (folder / "clip") +
          ": has no vocabulary, neither merges.txt, bpe_simple_vocab_16e6.txt.gz nor tokenizer.json; give "
          "CLIP's bpe_simple_vocab_16e6.txt.gz, merges.txt or tokenizer.json (--vocab, "
          "model.text.vocabulary)");
  EXPECT_EQ(message_of([&] { models::TextEncoder::load(folder / "clip", test::small_merges); }), "no error");
  test::put_file(folder / "other.txt", "#version: 0.2\na b\n");
  EXPECT_EQ(message_of([&] { models::TextEncoder::load(folder / "clip", folder / "other.txt"); }),
            (folder / "other.txt") + ": has 515 tokens, the text tower of " + (folder / "clip") +
                " knows 614; give the vocabulary that belongs to it (--vocab)");
}

}  // namespace
}  // namespace vitral::infer
