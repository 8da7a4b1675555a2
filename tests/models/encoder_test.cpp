// Students from every kind of weights file against what the original PyTorch code computes.
#include "models/student/encoder.h"

#include <utility>

#include "data/weights/safetensors.h"
#include "data/weights/weights.h"
#include "models/student/infer_config.h"
#include "tests/golden.h"

namespace vitral::models {
namespace {

using test::relative_error;

class PublishedCheckpoint : public testing::TestWithParam<const char*> {};

TEST_P(PublishedCheckpoint, GivesTheOriginalsOutputs) {
  VITRAL_NEEDS_SHARED(weights, std::string("golden/") + GetParam() + ".pt");
  std::string reference = weights.substr(0, weights.size() - 3);
  if (reference.ends_with("_cuda")) reference.resize(reference.size() - 5);
  data::WeightsFile file = data::read_weights(weights);
  models::Student student(configure_student(file, weights));
  student.load_state(file.tensors, weights);
  const data::H5File h5 = data::H5File::open(reference + ".h5");
  const NoGrad no_grad;
  const models::StudentOutput y = student.forward(Variable(h5.read("/input")));
  EXPECT_LT(relative_error(y.embedding.value(), h5.read("/embedding")), 1e-5);
  EXPECT_LT(relative_error(y.probs.value(), h5.read("/probs")), 1e-5);
  EXPECT_LT(relative_error(y.patches.value(), h5.read("/patch_embeddings")), 1e-5);
  const Encoder encoder = Encoder::load(weights);
  EXPECT_EQ(encoder.config(), student.config());
}

INSTANTIATE_TEST_SUITE_P(Files, PublishedCheckpoint,
                         testing::Values("checkpoint_masked", "checkpoint_no_scale_unmasked",
                                         "checkpoint_masked_cuda"),
                         [](const auto& tested) { return std::string(tested.param); });

TEST(Encoder, OverridesComeLast) {
  const std::string path = "tests/golden/run_init.safetensors";
  EXPECT_EQ(Encoder::load(path).config().attention, "neighbourhood");
  const Encoder full = Encoder::load(path, cpu, {{"attention", "full"}, {"same_norm", "false"}});
  EXPECT_EQ(full.config().attention, "full");
  const Tensor images = Tensor::full({3, 16, 16, 3}, 90, DType::uint8);
  images.data<std::uint8_t>()[700] = 255;
  const ImageEmbeddings a = Encoder::load(path).embed(images), b = full.embed(images),
                        c = full.embed(images, 2);
  EXPECT_GT(relative_error(b.embeddings, a.embeddings), 1e-3);
  EXPECT_LT(relative_error(c.embeddings, b.embeddings), 1e-6);
  EXPECT_LT(relative_error(c.patches, b.patches), 1e-6);
  // With same_norm every patch embedding has the length `scale`, without it they differ.
  const auto length = [](const ImageEmbeddings& e, std::int64_t patch) {
    double sum = 0;
    for (int i = 0; i < 16; ++i) sum += std::pow(e.patches.data<float>()[patch * 16 + i], 2);
    return std::sqrt(sum);
  };
  EXPECT_NEAR(length(a, 0), length(a, 9), 1e-5);
  EXPECT_GT(std::abs(length(b, 0) - length(b, 9)), 1e-3);
  const auto probs = Encoder::load(path, cpu, {}, 0.01).embed(images).probs.to_vector();
  EXPECT_GT(*std::max_element(probs.begin(), probs.end()), 0.5);
}

// What leaves no trace in the tensors comes out of the metadata.
TEST(Encoder, ReadsEverySwitchBack) {
  const test::TempDir folder;
  const std::string path = folder / "switched.safetensors";
  StudentConfig c{.image_size = 16, .patch_size = 4, .width = 16, .layers = 2, .heads = 2};
  c.attention = {"full", "neighbourhood"};
  c.window = {3, 5};
  c.dilation = {1, 2};
  c.registers = 3;
  for (const char* position : {"learned", "rope", "none"}) {
    c.position = position;
    const Student student(c, 1);
    data::write_safetensors(path, student.state(), to_metadata(c));
    EXPECT_EQ(Encoder::load(path).config(), c) << position;
    const std::string other = c.position == "none" ? "rope" : "none";
    EXPECT_EQ(Encoder::load(path, cpu, {{"position", other}, {"window", "3,7"}}).config().position, other);
  }
  EXPECT_EQ(
      test::message_of([&] {
        Encoder::load(path, cpu, {{"position", "learned"}});
      }),
      path + ": position learned needs the weights 'positional_embedding', which this file does not have");
  EXPECT_EQ(test::message_of([&] {
              Encoder::load(path, cpu, {{"window", "3,5,7"}});
            }),
            "student: window has 3 values, but layers is 2; give one for all, or 2");
  auto metadata = to_metadata(c);
  metadata["model.registers"] = "2";
  data::write_safetensors(path, Student(c, 1).state(), metadata);
  EXPECT_EQ(test::message_of([&] { Encoder::load(path); }),
            path + ": metadata model.registers: is 2, but the tensors are those of 3; write the file again");
}

TEST(Encoder, RefusesEmbeddingsThatAreNotFinite) {
  const test::TempDir folder;
  const std::string path = folder / "diverged.safetensors";
  data::WeightsFile file = data::read_weights("tests/golden/run_init.safetensors");
  for (auto& [name, tensor] : file.tensors)
    if (name.ends_with("in_proj_bias")) tensor.fill(1e30);  // finite, but the products are not
  data::write_safetensors(path, file.tensors, file.metadata);
  EXPECT_EQ(test::message_of([&] {
              Encoder::load(path).embed(Tensor::full({1, 16, 16, 3}, 90, DType::uint8));
            }),
            path + ": its embeddings are not finite; the training diverged, take an earlier checkpoint");
}

// Weights are used where their file is mapped; what happens to its name afterwards is no concern of theirs.
TEST(Encoder, OutlivesItsFile) {
  const test::TempDir folder;
  const std::string path = folder / "student.safetensors";
  std::filesystem::copy_file("tests/golden/run_init.safetensors", path);
  Tensor images({2, 16, 16, 3}, DType::uint8);
  for (std::int64_t i = 0; i < images.numel(); ++i)
    images.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i * 37);
  const Encoder encoder = Encoder::load(path);
  const auto expected = encoder.embed(images).embeddings.to_vector();
  data::write_safetensors(path, {{"w", Tensor::full({2}, 1)}});
  std::filesystem::remove(path);
  EXPECT_EQ(encoder.embed(images).embeddings.to_vector(), expected);
}

TEST(Encoder, HalfPrecisionOnDiskIsCloseToWhole) {
  const test::TempDir folder;
  const std::string path = "tests/golden/run_init.safetensors";
  Tensor images({4, 16, 16, 3}, DType::uint8);
  for (std::int64_t i = 0; i < images.numel(); ++i)
    images.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i * 29 + i / 768 * 11);
  const ImageEmbeddings whole = Encoder::load(path).embed(images);
  for (const auto& [dtype, tolerance] : {std::pair{DType::float16, 2e-3}, {DType::bfloat16, 2e-2}}) {
    data::NamedTensors tensors = data::read_weights(path).tensors;
    for (auto& [name, tensor] : tensors) tensor = tensor.cast(dtype);
    data::write_safetensors(folder / "half.safetensors", tensors);
    const ImageEmbeddings half = Encoder::load(folder / "half.safetensors").embed(images);
    EXPECT_LT(relative_error(half.embeddings, whole.embeddings), tolerance) << name(dtype);
    EXPECT_LT(relative_error(half.patches, whole.patches), tolerance) << name(dtype);
    EXPECT_GT(relative_error(half.embeddings, whole.embeddings), tolerance / 1000) << name(dtype);
  }
}

TEST(Encoder, WhatDoesNotGiveAStudent) {
  EXPECT_EQ(test::message_of([] {
              Encoder::load("tests/golden/run_init.safetensors", cpu, {{"window", "4"}});
            }),
            "window must be an odd integer from 1 to 8191, or a list of one for each layer, not 4");
  EXPECT_EQ(test::message_of([] {
              Encoder::load("tests/golden/run_init.safetensors", cpu, {{"width", "4"}});
            }),
            "width: is no field of a student that may be set over its weights");
}

TEST(Encoder, MetadataAndTensorsAgree) {
  const test::TempDir folder;
  const std::string path = folder / "a.safetensors";
  const data::WeightsFile file = data::read_weights("tests/golden/run_init.safetensors");
  const auto right = to_metadata(infer_student_config(file.tensors, path));
  for (const auto& [key, said] : {std::pair{"layers", "1024"},
                                  {"layers", "1"},
                                  {"width", "64"},
                                  {"heads", "2"},
                                  {"image_size", "32"},
                                  {"patch_size", "2"},
                                  {"same_norm", "false"}}) {
    auto metadata = right;
    const std::string there = std::exchange(metadata.at(std::string("model.") + key), said);
    data::write_safetensors(path, file.tensors, metadata);
    EXPECT_EQ(
        test::message_of([&] { Encoder::load(path); }),
        fmt::format("{}: metadata model.{}: is {}, but the tensors are those of {}; write the file again",
                    path, key, said, there));
  }
  auto metadata = right;
  metadata["model.layers"] = "2147483647";
  data::write_safetensors(path, file.tensors, metadata);
  EXPECT_EQ(test::message_of([&] { Encoder::load(path); }),
            path + ": metadata model.layers: must be an integer from 1 to 1024, not 2147483647");
}

// Every switch that tensors tell is found in them; what they leave open is said by overrides, or is an error.
TEST(Encoder, BareWeightsOfAnyArchitecture) {
  const test::TempDir folder;
  StudentConfig c{.image_size = 16, .patch_size = 4, .width = 16, .layers = 3, .heads = 2};
  c.registers = 3, c.position = "rope";
  c.mlp = "swiglu", c.mlp_ratio = 2.5, c.norm = "rms_norm", c.last_block = "attention", c.head = "query";
  const Student student(c, 5);
  const std::string bare = folder / "bare.safetensors", told = folder / "told.safetensors";
  data::write_safetensors(bare, student.state());
  data::write_safetensors(told, student.state(), to_metadata(c));
  Tensor images({2, 16, 16, 3}, DType::uint8);
  for (std::int64_t i = 0; i < images.numel(); ++i)
    images.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i * 37);
  const Encoder encoder = Encoder::load(told);
  EXPECT_EQ(encoder.config(), c);

  StudentOverrides overrides;
  const auto error = [&] { return test::message_of([&] { Encoder::load(bare, cpu, overrides); }); };
  EXPECT_EQ(error(),
            bare + ": its tensors do not tell how many attention heads it has; say it by --student-heads");
  overrides["heads"] = "2";
  EXPECT_EQ(error(), bare + ": has no weights 'positional_embedding'; these are not a student's weights");
  overrides["position"] = "rope";
  EXPECT_EQ(error(), bare + ": its tensors do not tell the size of its images; say it by --image-size");
  overrides["image_size"] = "16";
  const Encoder again = Encoder::load(bare, cpu, overrides);
  EXPECT_EQ(again.embed(images).embeddings.to_vector(), encoder.embed(images).embeddings.to_vector());
  EXPECT_EQ(again.embed(images).probs.to_vector(), encoder.embed(images).probs.to_vector());
}

// An option that the tensors contradict made convert write files that no command reads.
TEST(Encoder, OverridesGoWithTheTensors) {
  const test::TempDir folder;
  const std::string path = folder / "a.safetensors";
  const data::WeightsFile file = data::read_weights("tests/golden/run_init.safetensors");
  const StudentConfig config = infer_student_config(file.tensors, path);
  for (const bool told : {true, false}) {
    data::write_safetensors(path, file.tensors,
                            told ? to_metadata(config) : std::map<std::string, std::string>());
    for (const auto& [field, said, there] : {std::tuple{"norm", "rms_norm", "layer_norm"},
                                             {"last_block", "attention", "residual"},
                                             {"head", "mean", "convex"},
                                             {"mlp", "swiglu", "quick_gelu"}})
      EXPECT_EQ(test::message_of([&, &f = field, &s = said] {
                  Encoder::load(path, cpu, {{f, s}});
                }),
                fmt::format("{}: {} {} does not go with its tensors, which are those of {}", path, field,
                            said, there));
    EXPECT_EQ(Encoder::load(path, cpu, {{"mlp", "gelu"}}).config().mlp, "gelu");
    EXPECT_EQ(Encoder::load(path, cpu, {{"window", "5"}}).config().window, OneOrEach<int>(5));
    EXPECT_FALSE(Encoder::load(path, cpu, {{"same_norm", "false"}}).config().same_norm);
  }
}

// As many layers as names say, each as large as the first tensor says: terabytes, if they were made before
// the others are compared.
TEST(Encoder, ComparesBeforeItTakesMemory) {
  const test::TempDir folder;
  const std::string path = folder / "a.safetensors";
  StudentConfig c;
  c.image_size = c.patch_size = 1;
  c.width = 65536;
  c.heads = 16;
  c.layers = 1024;
  data::NamedTensors tensors{{"conv1.weight", Tensor::zeros({c.internal_width(), 3, 1, 1})},
                             {"positional_embedding", Tensor::zeros({1, c.internal_width()})},
                             {"ln_post.weight", Tensor::zeros({c.width})},
                             {"scale", Tensor::zeros({1})}};
  for (int i = 0; i < c.layers; ++i)
    tensors.emplace_back(fmt::format("transformer.resblocks.{}.ln_1.weight", i), Tensor::zeros({1}));
  data::write_safetensors(path, tensors, to_metadata(c));
  tensors.clear();
  const auto before = allocator_stats(cpu).bytes_reserved;
  EXPECT_EQ(test::message_of([&] { Encoder::load(path); }),
            path + ": has no weights 'ln_pre.weight'; it belongs to another architecture");
  EXPECT_LT(allocator_stats(cpu).bytes_reserved - before, std::size_t{8} << 30);
}

}  // namespace
}  // namespace vitral::models
