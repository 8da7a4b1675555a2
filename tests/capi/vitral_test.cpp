// The C interface gives what the classes behind it give, and says what is wrong.
#include "capi/vitral.h"

#include <cstddef>
#include <cstring>
#include <fstream>
#include <limits>
#include <memory>
#include <thread>

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include "data/images/transform.h"
#include "models/pretrained/text_encoder.h"
#include "models/student/encoder.h"
#include "tests/capi/models.h"

namespace vitral {
namespace {

using test::bytes_of_file;
using test::put_file;
using test::TempDir;
using test::tiny_student;

using Student = std::unique_ptr<vitral_encoder, decltype(&vitral_close_encoder)>;
using Texts = std::unique_ptr<vitral_text_encoder, decltype(&vitral_close_text_encoder)>;

Student open_student(const std::string& path = tiny_student, const vitral_options* options = nullptr) {
  vitral_encoder* out = nullptr;
  EXPECT_EQ(vitral_open_encoder(path.c_str(), options, &out), VITRAL_OK) << vitral_last_error();
  return {out, vitral_close_encoder};
}

Texts open_texts(const std::string& path, const vitral_options* options = nullptr) {
  vitral_text_encoder* out = nullptr;
  EXPECT_EQ(vitral_open_text_encoder(path.c_str(), nullptr, options, &out), VITRAL_OK) << vitral_last_error();
  return {out, vitral_close_text_encoder};
}

std::vector<float> floats(const Tensor& t) { return {t.data<float>(), t.data<float>() + t.numel()}; }

struct Embedded {
  std::vector<float> embeddings, probs, patches;
  bool operator==(const Embedded&) const = default;
};

Embedded embed(const vitral_encoder* student, const Tensor& pixels) {
  const auto count = static_cast<std::size_t>(pixels.dim(0)),
             n = static_cast<std::size_t>(vitral_encoder_patches(student)),
             d = static_cast<std::size_t>(vitral_encoder_width(student));
  Embedded out{std::vector<float>(count * d), std::vector<float>(count * n),
               std::vector<float>(count * n * d)};
  EXPECT_EQ(vitral_embed_pixels(student, pixels.data<std::uint8_t>(), pixels.dim(0), out.embeddings.data(),
                                out.probs.data(), out.patches.data()),
            VITRAL_OK)
      << vitral_last_error();
  return out;
}

Tensor some_pixels(std::int64_t count, std::uint64_t seed = 1) {
  return test::noise({count, 16, 16, 3}, seed, DType::uint8);
}

TEST(CInterface, EmbedsAsTheEncoderDoes) {
  EXPECT_STREQ(vitral_version(), VITRAL_VERSION);
  const Student student = open_student();
  EXPECT_EQ(vitral_encoder_image_size(student.get()), 16);
  EXPECT_EQ(vitral_encoder_patches(student.get()), 16);
  EXPECT_EQ(vitral_encoder_width(student.get()), 16);
  // More than are computed at once.
  const Tensor pixels = some_pixels(70);
  const models::ImageEmbeddings expected = models::Encoder::load(tiny_student).embed(pixels);
  const Embedded all{floats(expected.embeddings), floats(expected.probs), floats(expected.patches)};
  EXPECT_EQ(embed(student.get(), pixels), all);
  std::vector<float> probs(70 * 16);
  ASSERT_EQ(
      vitral_embed_pixels(student.get(), pixels.data<std::uint8_t>(), 70, nullptr, probs.data(), nullptr),
      VITRAL_OK);
  EXPECT_EQ(probs, all.probs);
}

TEST(CInterface, PreparesImagesAsTheProgramDoes) {
  const TempDir folder;
  const std::string path = folder / "picture.png";
  const Tensor image = test::noise_image(40, 30, 5), expected = data::validation_transform(image, 16);
  data::write_image(path, image);
  const Student student = open_student();
  std::vector<std::uint8_t> pixels(16 * 16 * 3), decoded(pixels.size());
  ASSERT_EQ(vitral_read_image(student.get(), path.c_str(), pixels.data()), VITRAL_OK) << vitral_last_error();
  EXPECT_EQ(std::memcmp(pixels.data(), expected.raw(), pixels.size()), 0);
  const std::string bytes = bytes_of_file(path);
  ASSERT_EQ(vitral_decode_image(student.get(), bytes.data(), bytes.size(), decoded.data()), VITRAL_OK);
  EXPECT_EQ(decoded, pixels);
}

TEST(CInterface, EmbedsTexts) {
  const TempDir folder;
  test::write_capi_files(folder.str());
  const Texts clip = open_texts(folder / "clip");
  ASSERT_EQ(vitral_text_encoder_width(clip.get()), 16);
  std::vector<std::string> texts;
  for (int i = 0; i < 66; ++i) texts.push_back("a photo of " + std::to_string(i) + " caf\u00e9s");
  std::vector<const char*> pointers;
  for (const auto& text : texts) pointers.push_back(text.c_str());
  std::vector<float> out(66 * 16);
  ASSERT_EQ(vitral_embed_texts(clip.get(), pointers.data(), 66, out.data()), VITRAL_OK)
      << vitral_last_error();
  EXPECT_EQ(out, floats(models::TextEncoder::load(folder / "clip").embed(texts)));
}

TEST(CInterface, OptionsSayHowItComputes) {
  vitral_options options{};
  options.size = sizeof options;
  options.temperature = 0.01;
  options.threads = 1;
  options.device = "cpu";
  const Tensor pixels = some_pixels(2);
  const Embedded sharp = embed(open_student(tiny_student, &options).get(), pixels);
  EXPECT_EQ(sharp.probs, floats(models::Encoder::load(tiny_student, cpu, {}, 0.01).embed(pixels).probs));
  EXPECT_NE(sharp.probs, embed(open_student().get(), pixels).probs);
  // A program that was built when there were no more members than these: what lies behind them is not looked
  // at.
  options.size = offsetof(vitral_options, threads);
  options.threads = -1;
  EXPECT_EQ(embed(open_student(tiny_student, &options).get(), pixels), embed(open_student().get(), pixels));
  // One that was built with a newer header, and asks for nothing that is not there.
  struct {
    vitral_options known;
    double added;
  } newer{};
  newer.known.size = sizeof newer;
  EXPECT_EQ(embed(open_student(tiny_student, &newer.known).get(), pixels).probs,
            embed(open_student().get(), pixels).probs);
}

// Its threads stay those of the program that calls it.
TEST(CInterface, LeavesTheThreadsOfItsCaller) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer does not know how OpenMP's threads wait for each other";
#endif
  const int before = cpu_threads();
  vitral_options options{};
  options.size = sizeof options;
  options.threads = before + 1;
  const Student student = open_student(tiny_student, &options);
  embed(student.get(), some_pixels(1));
  EXPECT_EQ(cpu_threads(), before);
}

struct Failure {
  vitral_status status;
  std::string text;
  bool operator==(const Failure&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Failure& f) { return out << f.status << " " << f.text; }

Failure failure(vitral_status status) { return {status, vitral_last_error()}; }
Failure bad(const std::string& text) { return {VITRAL_BAD_REQUEST, text}; }

TEST(CInterface, SaysWhatIsWrong) {
  const TempDir folder;
  test::write_capi_files(folder.str());
  vitral_encoder* opened = nullptr;
  EXPECT_EQ(failure(vitral_open_encoder(nullptr, nullptr, &opened)),
            bad("vitral_open_encoder: path is NULL; give one"));
  EXPECT_EQ(failure(vitral_open_encoder(tiny_student, nullptr, nullptr)),
            bad("vitral_open_encoder: encoder is NULL; give one"));
  const std::string missing = folder / "none", damaged = folder / "damaged.safetensors";
  const Failure no_file = failure(vitral_open_encoder(missing.c_str(), nullptr, &opened));
  EXPECT_EQ(no_file.status, VITRAL_BAD_REQUEST);
  EXPECT_TRUE(no_file.text.starts_with(missing + ": ")) << no_file;
  put_file(damaged, bytes_of_file(tiny_student).substr(0, 5000));
  const Failure short_file = failure(vitral_open_encoder(damaged.c_str(), nullptr, &opened));
  EXPECT_EQ(short_file.status, VITRAL_FAILED);
  EXPECT_TRUE(short_file.text.starts_with(damaged + ": ")) << short_file;
  EXPECT_EQ(opened, nullptr);
  vitral_text_encoder* clip = nullptr;
  const Failure other_kind = failure(vitral_open_text_encoder(tiny_student, nullptr, nullptr, &clip));
  EXPECT_EQ(other_kind.status, VITRAL_BAD_REQUEST) << other_kind;
  EXPECT_EQ(clip, nullptr);

  const Student student = open_student();
  std::vector<std::uint8_t> pixels(16 * 16 * 3);
  std::vector<float> out(16);
  EXPECT_EQ(failure(vitral_embed_pixels(student.get(), pixels.data(), 0, out.data(), nullptr, nullptr)),
            bad("vitral_embed_pixels: count must be at least 1, not 0"));
  EXPECT_EQ(failure(vitral_embed_pixels(nullptr, pixels.data(), 1, out.data(), nullptr, nullptr)),
            bad("vitral_embed_pixels: encoder is NULL; give one"));
  EXPECT_EQ(failure(vitral_embed_pixels(student.get(), nullptr, 1, out.data(), nullptr, nullptr)),
            bad("vitral_embed_pixels: pixels is NULL; give one"));
  EXPECT_EQ(failure(vitral_read_image(student.get(), missing.c_str(), pixels.data())).status,
            VITRAL_BAD_REQUEST);
  EXPECT_EQ(failure(vitral_decode_image(student.get(), "no image", 8, pixels.data())),
            (Failure{VITRAL_FAILED, "the image: not an image of a known format"}));

  const Texts texts = open_texts(folder / "clip");
  const char* lines[] = {"a cat", nullptr};
  EXPECT_EQ(failure(vitral_embed_texts(texts.get(), lines, 2, out.data())),
            bad("vitral_embed_texts: texts[1] is NULL; give one"));
  EXPECT_EQ(failure(vitral_embed_texts(texts.get(), lines, -1, out.data())),
            bad("vitral_embed_texts: count must be at least 1, not -1"));
  EXPECT_EQ(failure(vitral_embed_texts(texts.get(), lines, 1, nullptr)),
            bad("vitral_embed_texts: embeddings is NULL; give one"));

  EXPECT_EQ(vitral_encoder_width(nullptr) + vitral_encoder_patches(nullptr) +
                vitral_encoder_image_size(nullptr) + vitral_text_encoder_width(nullptr),
            0);
  vitral_close_encoder(nullptr);
  vitral_close_text_encoder(nullptr);
}

// What open_clip's files leave open is said by the caller, or can be asked for.
TEST(CInterface, TheCallerSaysWhatTheFilesOfATextTowerDoNot) {
  const TempDir folder;
  test::write_capi_files(folder.str());
  EXPECT_STREQ(vitral_text_encoder_guessed(open_texts(folder / "clip").get()), "");
  std::filesystem::remove(folder / "clip/config.json");
  EXPECT_STREQ(vitral_text_encoder_guessed(open_texts(folder / "clip").get()),
               "as in OpenAI's models: 1 heads (width / 64) and quick_gelu");
  vitral_options options{};
  options.size = sizeof options;
  options.heads = 4;
  options.activation = "gelu";
  vitral_text_encoder* opened = nullptr;
  const auto open = [&] {
    return vitral_open_text_encoder((folder / "clip").c_str(), nullptr, &options, &opened);
  };
  ASSERT_EQ(open(), VITRAL_OK) << vitral_last_error();
  const Texts told(opened, vitral_close_text_encoder);
  EXPECT_STREQ(vitral_text_encoder_guessed(told.get()), "");
  EXPECT_STREQ(vitral_text_encoder_guessed(nullptr), "");
  const char* texts[] = {"a cat"};
  std::vector<float> out(16);
  ASSERT_EQ(vitral_embed_texts(told.get(), texts, 1, out.data()), VITRAL_OK) << vitral_last_error();
  EXPECT_EQ(out, floats(models::TextEncoder::load(folder / "clip", "", cpu, {4, "gelu"}).embed({"a cat"})));
  EXPECT_NE(out, floats(models::TextEncoder::load(folder / "clip").embed({"a cat"})));
  options.activation = "relu";
  EXPECT_EQ(failure(open()), bad("vitral_open_text_encoder: options.activation is 'relu'; it must be one "
                                 "of quick_gelu, gelu, gelu_pytorch_tanh, or NULL"));
  options.activation = nullptr;
  options.heads = -1;
  EXPECT_EQ(failure(open()), bad("vitral_open_text_encoder: options.heads must be 0 or more, not -1"));
}

TEST(CInterface, RefusesOptionsThatMakeNoSense) {
  vitral_encoder* opened = nullptr;
  struct {
    vitral_options known;
    double added;
  } newer{};
  vitral_options& options = newer.known;
  const auto refused = [&] { return failure(vitral_open_encoder(tiny_student, &options, &opened)); };
  EXPECT_EQ(refused(), bad("vitral_open_encoder: options.size is 0; set it to sizeof(vitral_options)"));
  options.size = sizeof options;
  options.threads = -1;
  EXPECT_EQ(refused(), bad("vitral_open_encoder: options.threads must be an integer from 0 to 4096, not -1"));
  options.threads = 0;
  for (const double temperature : {-1.0, std::numeric_limits<double>::infinity()}) {
    options.temperature = temperature;
    EXPECT_EQ(
        refused(),
        bad(fmt::format("vitral_open_encoder: options.temperature must be 0 or a number >= 1e-30, not {}",
                        temperature)));
  }
  options.temperature = 0;
  options.device = "tpu";
  EXPECT_EQ(refused(), bad("device: 'tpu' is unknown, choose cpu, cuda, cuda:N or auto"));
  options.device = nullptr;
  options.size = sizeof newer;
  newer.added = 1;
  EXPECT_EQ(refused(), bad("vitral_open_encoder: options has members that libvitral " VITRAL_VERSION
                           " does not know; install a newer one, or leave them 0"));
  EXPECT_EQ(opened, nullptr);
}

TEST(CInterface, WhatIsNotFiniteIsNoAnswer) {
  const TempDir folder;
  const std::string path = folder / "diverged.safetensors";
  data::WeightsFile weights = data::read_weights(tiny_student);
  for (auto& [name, tensor] : weights.tensors) tensor.fill(std::numeric_limits<double>::quiet_NaN());
  data::write_safetensors(path, weights.tensors, weights.metadata);
  const Student student = open_student(path);
  std::vector<float> out(16);
  EXPECT_EQ(
      failure(vitral_embed_pixels(student.get(), some_pixels(1).data<std::uint8_t>(), 1, out.data(), nullptr,
                                  nullptr)),
      (Failure{VITRAL_FAILED,
               path + ": its embeddings are not finite; the training diverged, take an earlier checkpoint"}));
}

// The picture decodes to 144 MB, of which the process may have some.
TEST(CInterface, MemoryThatEndsIsAStatus) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer needs terabytes of addresses";
#endif
  const Student student = open_student();
  const std::string picture = "P4\n12000 4000\n" + std::string(12000 / 8 * 4000, '\0');
  std::vector<std::uint8_t> pixels(16 * 16 * 3);
  std::size_t pages = 0;  // of addresses in use
  std::ifstream("/proc/self/statm") >> pages;
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_AS, &before), 0);
  const rlimit limit{pages * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE)) + (rlim_t{96} << 20),
                     before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_AS, &limit), 0);
  const Failure short_of =
      failure(vitral_decode_image(student.get(), picture.data(), picture.size(), pixels.data()));
  ASSERT_EQ(::setrlimit(RLIMIT_AS, &before), 0);
  EXPECT_EQ(short_of.status, VITRAL_OUT_OF_MEMORY) << short_of;
  EXPECT_TRUE(short_of.text.starts_with("cpu: out of memory asking for ")) << short_of;
  const std::string small = "P4\n8 1\n" + std::string(1, '\0');
  EXPECT_EQ(vitral_decode_image(student.get(), small.data(), small.size(), pixels.data()), VITRAL_OK);
}

TEST(CInterface, AnErrorBelongsToItsThread) {
  EXPECT_NE(vitral_open_encoder(nullptr, nullptr, nullptr), VITRAL_OK);
  std::string other = "?";
  std::thread([&] { other = vitral_last_error(); }).join();
  EXPECT_EQ(other, "");
  open_student();
  EXPECT_STREQ(vitral_last_error(), "vitral_open_encoder: path is NULL; give one");
}

// Eight threads with one student and one text tower, each with batches of its own, as often as it takes for
// them to meet.
TEST(CInterface, ThreadsShareAnEncoder) {
  constexpr int threads = 8, rounds = 6;
  const TempDir folder;
  test::write_capi_files(folder.str());
  const std::string bytes = bytes_of_file(folder / "picture.png");
  const Student student = open_student();
  const Texts clip = open_texts(folder / "clip");
  struct Work {
    Embedded images;
    std::vector<float> texts;
    std::vector<std::uint8_t> picture;
    bool operator==(const Work&) const = default;
  };
  const auto work = [&](int of) {
    Work out{embed(student.get(), some_pixels(1 + of % 4, static_cast<std::uint64_t>(of))),
             std::vector<float>(32), std::vector<std::uint8_t>(16 * 16 * 3)};
    const std::string text = "a photo of " + std::to_string(of) + " cats";
    const char* const texts[] = {text.c_str(), "a dog"};
    EXPECT_EQ(vitral_embed_texts(clip.get(), texts, 2, out.texts.data()), VITRAL_OK) << vitral_last_error();
    EXPECT_EQ(vitral_decode_image(student.get(), bytes.data(), bytes.size(), out.picture.data()), VITRAL_OK);
    return out;
  };
  std::vector<Work> alone;
  std::vector<std::vector<Work>> together(threads);
  {
    std::vector<std::jthread> running;
    for (int t = 0; t < threads; ++t)
      running.emplace_back([&, t] {
        for (int i = 0; i < rounds; ++i) together[static_cast<std::size_t>(t)].push_back(work(t));
      });
  }
  for (int t = 0; t < threads; ++t) alone.push_back(work(t));
  for (std::size_t t = 0; t < threads; ++t)
    for (const Work& w : together[t]) EXPECT_EQ(w, alone[t]) << "thread " << t;
}

}  // namespace
}  // namespace vitral
