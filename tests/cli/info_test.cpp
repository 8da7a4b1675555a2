// What `vitral info` says of weights and models that are not a run's.
#include "data/weights/torch_write.h"
#include "tests/cli/small_run.h"
#include "tests/models/tiny_clip.h"

namespace vitral {
namespace {

using nlohmann::json;
using test::expect_done;
using test::run;

json info(const std::string& path) {
  expect_done(run({"info", path}));
  return test::json_of(run({"info", path, "--json"}));
}

TEST(Info, OfClipsTowers) {
  const test::TempDir dir;
  data::NamedTensors both = test::tiny_clip_state(), image;
  data::write_safetensors(dir / "clip.safetensors", both);
  for (auto& [name, tensor] : both) tensor = tensor.cast(DType::float16);
  data::write_torch_file(dir / "clip.pt", both);
  const char* guess = "as in OpenAI's models: 1 heads (width / 64) and quick_gelu";
  for (const char* name : {"clip.safetensors", "clip.pt"}) {
    const json clip = info(dir / name);
    EXPECT_EQ(clip["kind"], "weights");
    EXPECT_TRUE(clip["model"].is_null());
    EXPECT_EQ(clip["pretrained"]["family"], "CLIP");
    EXPECT_EQ(clip["pretrained"]["image"], (json{{"image_size", 24},
                                                 {"patch_size", 8},
                                                 {"width", 64},
                                                 {"layers", 1},
                                                 {"heads", 1},
                                                 {"activation", "quick_gelu"},
                                                 {"embedding", 16},
                                                 {"guessed", guess}}));
    EXPECT_EQ(clip["pretrained"]["text"], (json{{"context", 12},
                                                {"vocabulary", 614},
                                                {"width", 64},
                                                {"layers", 2},
                                                {"heads", 1},
                                                {"activation", "quick_gelu"},
                                                {"embedding", 16},
                                                {"guessed", guess}}));
  }
  // A Hugging Face folder is one of weights, and an image tower may be alone.
  for (const auto& [name, tensor] : test::tiny_clip_state())
    if (name.starts_with("visual.")) image.emplace_back(name, tensor);
  std::filesystem::create_directory(dir / "folder");
  data::write_torch_file(dir / "folder/pytorch_model.bin", image);
  const json alone = info(dir / "folder");
  EXPECT_EQ(alone["kind"], "weights");
  EXPECT_EQ(alone["read_from"], dir / "folder/pytorch_model.bin");
  EXPECT_EQ(alone["pretrained"]["image"]["embedding"], 16);
  EXPECT_TRUE(alone["pretrained"]["text"].is_null());
}

// As a training leaves it; heads are what tensors do not tell.
TEST(Info, OfAClipThatVitralTrained) {
  const test::TempDir dir;
  const std::string run_folder = dir / "run", step = test::write_trained_clip(run_folder);
  for (const std::string& path : {run_folder, step, step + "/model.safetensors"}) {
    const json clip = info(path);
    EXPECT_EQ(clip["kind"], path == run_folder ? "run" : "weights");
    EXPECT_EQ(
        clip["model"],
        (json{{"kind", "clip"},
              {"image_size", 24},
              {"patch_size", 8},
              {"width", 16},
              {"vision", {{"width", 64}, {"layers", 1}, {"heads", 2}}},
              {"text",
               {{"width", 64}, {"layers", 2}, {"heads", 2}, {"context", 12}, {"vocabulary_size", 614}}}}));
    EXPECT_EQ(clip["pretrained"]["image"]["heads"], 2);
    EXPECT_EQ(clip["pretrained"]["text"]["heads"], 2);
  }
}

TEST(Info, OfATrainingThatPyTorchBegan) {
  const json begun = info("tests/golden/run_torch.pt");
  EXPECT_EQ(begun["model"]["width"], 16);
  const json& training = begun["training"];
  EXPECT_EQ(training["optimizer"], "AdamW");
  EXPECT_EQ(training["step"], 6);
  EXPECT_EQ(training["last_epoch"], 1);
  EXPECT_EQ(training["lr"], 1e-3);
  EXPECT_EQ(training["scheduler"], "ReduceLROnPlateau");
  EXPECT_EQ(training["bad_epochs"], 1);
  EXPECT_FALSE(info("tests/golden/run_init.safetensors").contains("training"));
  EXPECT_FALSE(info("tests/golden/tiny_torchscript.pt").contains("training"));
  // Of state that cannot go on it says why.
  const json tiny = info("tests/golden/tiny.pt");
  EXPECT_TRUE(tiny["training"]["not_resumable"].get<std::string>().starts_with(
      "tests/golden/tiny.pt: its optimizer has 1 parameters, its model 13 tensors; "));
}

TEST(Info, OfAnOnnxModel) {
  const test::TempDir dir;
  const std::string path = dir / "student.onnx";
  expect_done(run({"convert", "tests/golden/run_init.safetensors", path}));
  const json model = info(path);
  EXPECT_EQ(model["kind"], "ONNX");
  EXPECT_EQ(model["producer"], "vitral " VITRAL_VERSION);
  EXPECT_EQ(model["opset"], 17);
  EXPECT_EQ(model["metadata"]["model.width"], "16");
  ASSERT_EQ(model["tensors"].size(), 4U);
  EXPECT_EQ(
      model["tensors"][0],
      (json{{"name", "images"}, {"role", "input"}, {"dtype", "float32"}, {"shape", "[batch, 3, 16, 16]"}}));
  EXPECT_EQ(model["tensors"][3]["role"], "output");
  const std::string bytes = test::bytes_of_file(path);
  test::put_file(path, bytes.substr(0, 1000));
  test::expect_failure(run({"info", path}), 1,
                       path +
                           ": a field is cut off or of an unknown kind; it is damaged or not an ONNX model, "
                           "export it again");
}

TEST(Info, OfEmbeddingsOfTexts) {
  const test::TempDir dir;
  {
    data::H5File file = data::H5File::create(dir / "t.h5");
    file.write_strings("/texts", {"a cat", "a dog"});
    file.write("/embeddings", Tensor::full({2, 8}, 0.5));
    file.close();
  }
  const json texts = info(dir / "t.h5");
  EXPECT_EQ(texts["kind"], "embeddings of texts");
  EXPECT_EQ(texts["texts"], 2);
  EXPECT_EQ(texts["width"], 8);
}

TEST(Info, OfTheGoldenClip) {
  VITRAL_NEEDS_SHARED(clip, "golden/clip_tiny_hf.safetensors");
  const json c = info(clip);
  EXPECT_TRUE(c["pretrained"]["image"].is_object());
  EXPECT_TRUE(c["pretrained"]["text"].is_object());
  EXPECT_EQ(c["pretrained"]["image"]["embedding"], c["pretrained"]["text"]["embedding"]);
  EXPECT_EQ(c["pretrained"]["text"]["vocabulary"], 49408);
}

}  // namespace
}  // namespace vitral
