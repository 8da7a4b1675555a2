#include "data/weights/weights.h"

#include <atomic>
#include <thread>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "data/weights/checkpoint_files.h"
#include "tests/support.h"

namespace vitral::data {
namespace {

using test::bytes_of_file;
using test::message_of;
using test::put_file;
using test::TempDir;

void put_checkpoint(const std::string& run, std::int64_t step, double value) {
  const std::string folder = checkpoints_folder(run) + "/" + checkpoint_name(step);
  std::filesystem::create_directories(folder);
  std::map<std::string, FileDigest> files;
  for (const char* name : {model_file, optimizer_file})
    files[name] = write_safetensors(folder + "/" + name, {{"w", Tensor::full({2}, value)}});
  write_file_atomic(folder + "/" + state_file,
                    format_checkpoint_state(step, files, nlohmann::json::object()));
}

double first_value(const std::string& path) {
  return read_weights(path).tensors.at(0).second.to_vector().at(0);
}

TEST(Weights, PrefixesOfWrappersAreLeftOut) {
  const TempDir folder;
  const auto names = [&](const NamedTensors& tensors) {
    write_safetensors(folder / "w.safetensors", tensors);
    std::string out;
    for (const auto& [name, tensor] : read_weights(folder / "w.safetensors").tensors) out += name + " ";
    return out;
  };
  const Tensor w = Tensor::full({2}, 1);
  EXPECT_EQ(names({{"module._orig_mod.conv1.weight", w}, {"module._orig_mod.scale", w}}),
            "conv1.weight scale ");
  EXPECT_EQ(names({{"_orig_mod.conv1.weight", w}, {"_orig_mod.scale", w}}), "conv1.weight scale ");
  EXPECT_EQ(names({{"module.conv1.weight", w}, {"scale", w}}), "module.conv1.weight scale ");  // not all
}

TEST(Weights, RunFolderMeansBestThenLatest) {
  const TempDir folder;
  const std::string run = folder / "run";
  put_checkpoint(run, 10, 1);
  put_checkpoint(run, 20, 2);
  EXPECT_EQ(message_of([&] { read_weights(run); }),
            run +
                ": no weights in this folder (neither model.safetensors, pytorch_model.bin nor "
                "checkpoints/best or latest); give a "
                "run folder, a checkpoint folder, a .safetensors or a .pt file");
  put_file(checkpoints_folder(run) + "/latest", "step-000000020\n");
  EXPECT_EQ(first_value(run), 2);
  put_file(checkpoints_folder(run) + "/best", "step-000000010\n");
  EXPECT_EQ(first_value(run), 1);
  EXPECT_EQ(first_value(run + "/"), 1);
  EXPECT_EQ(first_value(checkpoints_folder(run) + "/step-000000020"), 2);
  EXPECT_EQ(find_weights(run), run + "/checkpoints/step-000000010/model.safetensors");
  for (const char* bad : {"step-000000030\n", "../../x\n", ""}) {
    put_file(checkpoints_folder(run) + "/best", bad);
    EXPECT_EQ(message_of([&] { read_weights(run); }),
              checkpoints_folder(run) +
                  "/best: does not name a checkpoint that is there; give one of the folders "
                  "step-... beside it");
  }
}

// A training removes checkpoints while they are read.
TEST(Weights, ThePointerIsLookedUpAgain) {
  const TempDir folder;
  const std::string run = folder / "run";
  std::atomic<bool> reading = true;
  std::atomic<std::int64_t> step = 1;
  const auto save = [&] {
    put_checkpoint(run, step, static_cast<double>(step));
    write_file_atomic(checkpoints_folder(run) + "/latest", checkpoint_name(step) + "\n");
    std::filesystem::remove_all(checkpoints_folder(run) + "/" + checkpoint_name(step - 1));
  };
  save();
  std::thread training([&] {
    while (reading) {
      ++step;
      save();
    }
  });
  for (int i = 0; i < 300; ++i) {
    const auto before = static_cast<double>(step - 1);
    double value = 0;
    EXPECT_EQ(message_of([&] { value = first_value(run); }), "no error");
    EXPECT_GE(value, before);
  }
  reading = false;
  training.join();
}

TEST(Weights, ADamagedCheckpointIsNoticed) {
  const TempDir folder;
  const std::string run = folder / "run";
  put_checkpoint(run, 10, 1);
  const std::string checkpoint = checkpoints_folder(run) + "/step-000000010",
                    file = checkpoint + "/" + model_file;
  std::string bytes = bytes_of_file(file);
  bytes.back() ^= 1;
  put_file(file, bytes);
  for (const std::string& named : {checkpoint, file})
    EXPECT_EQ(message_of([&] { read_weights(named); }),
              file + ": damaged: its checksum is not the one in state.json; use another checkpoint");
  put_file(file, bytes.substr(0, bytes.size() - 1));
  EXPECT_EQ(message_of([&] { read_weights(checkpoint); }),
            fmt::format("{}: truncated or damaged: {} bytes, state.json says {}; use another checkpoint",
                        file, bytes.size() - 1, bytes.size()));
}

// The optimiser's file belongs to a complete checkpoint, but only who reads its contents reads all of it.
TEST(Weights, OfACheckpointTheModelsChecksumCounts) {
  const TempDir folder;
  const std::string run = folder / "run";
  put_checkpoint(run, 10, 1);
  const std::string checkpoint = checkpoints_folder(run) + "/step-000000010",
                    model = checkpoint + "/" + model_file, optimizer = checkpoint + "/" + optimizer_file;
  const auto value = [&] {
    return read_weights(checkpoint, TensorMemory::mapped).tensors.at(0).second.to_vector().at(0);
  };
  std::string bytes = bytes_of_file(optimizer);
  bytes.back() ^= 1;
  put_file(optimizer, bytes);
  EXPECT_EQ(value(), 1);
  EXPECT_EQ(message_of([&] { verify_checkpoint(checkpoint); }),
            optimizer + ": damaged: its checksum is not the one in state.json; use another checkpoint");
  put_file(optimizer, bytes.substr(1));
  EXPECT_EQ(message_of([&] { value(); }),
            fmt::format("{}: truncated or damaged: {} bytes, state.json says {}; use another checkpoint",
                        optimizer, bytes.size() - 1, bytes.size()));
  put_file(optimizer, bytes);
  bytes = bytes_of_file(model);
  bytes.back() ^= 1;
  put_file(model, bytes);
  EXPECT_EQ(message_of([&] { value(); }),
            model + ": damaged: its checksum is not the one in state.json; use another checkpoint");
}

TEST(Weights, FilesAreToldApartByContents) {
  const TempDir folder;
  const std::string a = folder / "weights.pt", b = folder / "weights.bin", c = folder / "x";
  write_safetensors(a, {{"w", Tensor::full({2}, 5)}});
  EXPECT_EQ(first_value(a), 5);
  put_file(b, bytes_of_file("tests/golden/tiny.pt"));
  EXPECT_EQ(read_weights(b).tensors.at(0).first, "conv1.weight");
  put_file(c, "\x89HDF\r\n\x1a\n");
  EXPECT_EQ(message_of([&] { read_weights(c); }), c + ": holds no weights that vitral can read; give a run "
                                                      "folder, a checkpoint folder, a .safetensors or a "
                                                      ".pt file");
  std::filesystem::create_symlink("circle", folder / "circle");
  EXPECT_EQ(message_of([&] { read_weights(folder / "circle/clip"); }),
            folder / "circle/clip" +
                ": cannot be read: Too many levels of symbolic links; check the path and its permissions");
  EXPECT_EQ(message_of([&] { read_weights(folder / "none"); }),
            folder / "none" +
                ": no such file or folder; give a run folder, a checkpoint folder, a .safetensors or a "
                ".pt file");
  put_file(folder / "short.safetensors", "1234");
  EXPECT_EQ(message_of([&] { read_weights(folder / "short.safetensors"); }),
            folder / "short.safetensors" +
                ": 4 bytes are too few for a safetensors file; it is truncated or of another kind");
  put_file(folder / "old.pt", "\x80\x02\x8a\x0al");
  EXPECT_EQ(message_of([&] { read_weights(folder / "old.pt"); }),
            folder / "old.pt" +
                ": not a zip archive as torch.save writes it since PyTorch 1.6; copy it again, or save "
                "it again with torch.save");
}

TEST(Weights, FoldersOfHuggingFace) {
  const TempDir folder;
  put_file(folder / "config.json", "{}");
  put_file(folder / "pytorch_model.bin", bytes_of_file("tests/golden/tiny.pt"));
  EXPECT_EQ(find_weights(folder.str()), folder / "pytorch_model.bin");
  EXPECT_EQ(read_weights(folder.str()).tensors.at(0).first, "conv1.weight");
  // The file that needs no pickle goes first.
  write_safetensors(folder / "model.safetensors", {{"w", Tensor::full({2}, 5)}});
  EXPECT_EQ(first_value(folder.str()), 5);
}

// Two shards and their index.
class Shards : public testing::Test {
 protected:
  Shards() {
    write_safetensors(a_, {{"one.weight", Tensor::full({2}, 1)}, {"two", Tensor::full({3}, 2)}});
    write_safetensors(b_, {{"three", Tensor::full({4}, 3)}}, {{"format", "pt"}});
    index(R"({"one.weight": "model-00001-of-00002.safetensors", "two": "model-00001-of-00002.safetensors",
              "three": "model-00002-of-00002.safetensors"})");
  }
  void index(const std::string& map) const {
    put_file(index_, "{\"metadata\": {}, \"weight_map\": " + map + "}");
  }
  std::string problem() const {
    return message_of([&] { read_weights(folder_.str()); });
  }

  TempDir folder_;
  std::string a_ = folder_ / "model-00001-of-00002.safetensors",
              b_ = folder_ / "model-00002-of-00002.safetensors",
              index_ = folder_ / "model.safetensors.index.json";
};

TEST_F(Shards, AreOneSetOfWeights) {
  for (const std::string& path : {folder_.str(), index_}) {
    const WeightsFile got = read_weights(path, TensorMemory::mapped);
    std::map<std::string, Tensor> all(got.tensors.begin(), got.tensors.end());
    ASSERT_EQ(all.size(), 3U);
    EXPECT_EQ(all.at("three").to_vector(), (std::vector<double>{3, 3, 3, 3}));
    EXPECT_EQ(got.metadata.at("format"), "pt");
    EXPECT_EQ(find_weights(path), index_);
    EXPECT_EQ(weights_files(path), (std::vector<std::string>{index_, a_, b_}));
    EXPECT_EQ(weights_folder(path), folder_.str());
  }
  const std::uint64_t digest = weights_digest(index_);
  write_safetensors(b_, {{"three", Tensor::full({4}, 4)}});
  EXPECT_NE(weights_digest(index_), digest);
  EXPECT_EQ(weights_digest(b_), digest_of(b_).xxh3);
}

TEST_F(Shards, OneOfThemIsNotEnough) {
  EXPECT_EQ(message_of([&] { read_weights(a_); }),
            a_ + ": is one of 2 files of these weights; give their folder " + folder_.str());
  write_safetensors(folder_ / "model-00001-of-00001.safetensors", {{"w", Tensor::full({2}, 5)}});
  EXPECT_EQ(first_value(folder_ / "model-00001-of-00001.safetensors"), 5);
  std::filesystem::remove(b_);
  EXPECT_EQ(problem(), b_ + ": is missing; " + index_ + " lists it, copy it again");
}

TEST_F(Shards, MustBeWhatTheIndexSays) {
  for (const char* file : {"../x.safetensors", "/etc/passwd", "..", ""}) {
    index(fmt::format(R"({{"one.weight": "{}"}})", file));
    EXPECT_EQ(problem(),
              fmt::format("{}: says that 'one.weight' lies in '{}', which is no file of its folder; copy the "
                          "weights again",
                          index_, file));
  }
  index(R"({"four": "model-00001-of-00002.safetensors"})");
  EXPECT_EQ(problem(),
            a_ + ": has no tensor 'four', which " + index_ + " places there; copy the weights again");
  index(R"({"one.weight": "model-00001-of-00002.safetensors", "three": "model-00002-of-00002.safetensors"})");
  write_safetensors(b_, {{"three", Tensor::full({4}, 3)}, {"two", Tensor::full({4}, 3)}});
  EXPECT_EQ(problem(), b_ + ": tensor 'two' lies in " + a_ + " too; copy the weights again");
  for (const char* text : {"{}", R"({"weight_map": {}})", R"({"weight_map": 3})"}) {
    put_file(index_, text);
    EXPECT_EQ(problem(), index_ + ": has no table of files ('weight_map'); copy it again") << text;
  }
}

TEST(Weights, FolderOfTheHubsCache) {
  const TempDir cache;
  const std::string model = cache / "models--org--name";
  const auto snapshot = [&](const std::string& commit, double value) {
    std::filesystem::create_directories(model + "/snapshots/" + commit);
    write_safetensors(model + "/snapshots/" + commit + "/model.safetensors",
                      {{"w", Tensor::full({2}, value)}});
  };
  snapshot("aaa", 1);
  EXPECT_EQ(first_value(model), 1);
  EXPECT_EQ(weights_folder(model), model + "/snapshots/aaa");
  snapshot("bbb", 2);
  EXPECT_EQ(message_of([&] { read_weights(model); }),
            model + ": holds 2 snapshots, and refs/main names none of them; give one of the folders in " +
                model + "/snapshots");
  std::filesystem::create_directories(model + "/refs");
  put_file(model + "/refs/main", "bbb");
  EXPECT_EQ(first_value(model), 2);
}

TEST(Weights, AHubIdIsToldHowToFetchIt) {
  EXPECT_EQ(
      message_of([] { read_weights("openai/clip-vit-base-patch32"); }),
      "openai/clip-vit-base-patch32: no such file or folder; if it is a model of the Hugging Face hub, fetch "
      "it: hf download openai/clip-vit-base-patch32 --local-dir clip-vit-base-patch32");
  for (const std::string path : {"hf-hub:laion/ViT-B", "hf://laion/ViT-B", "https://hugging.test/laion/ViT-B",
                                 "https://hugging.test/laion/ViT-B/blob/main/model.safetensors"})
    EXPECT_EQ(message_of([&] { read_weights(path); }),
              path +
                  ": no such file or folder; if it is a model of the Hugging Face hub, fetch it: hf download "
                  "laion/ViT-B --local-dir ViT-B");
  for (const char* path : {"runs/a/b", "nothing", "gone/x.pt", "tests/gone", "hf-hub:laion", "https://x/a/b"})
    EXPECT_EQ(
        message_of([&] { read_weights(path); }),
        fmt::format(
            "{}: no such file or folder; give a run folder, a checkpoint folder, a .safetensors or a .pt "
            "file",
            path));
}

TEST(Weights, WhatInAFolderMayBeMeantIsNamed) {
  const TempDir folder;
  for (const char* name : {"1_Other", "0_CLIPModel", "image_encoder"})
    std::filesystem::create_directories(folder / name);
  write_safetensors(folder / "0_CLIPModel/model.safetensors", {{"w", Tensor::zeros({1})}});
  put_file(folder / "image_encoder/pytorch_model.bin.index.json", "{}");
  put_file(folder / "model.fp16.safetensors", "");
  put_file(folder / "notes.txt", "");
  const auto refused = [&](const std::string& inside) {
    EXPECT_EQ(message_of([&] { read_weights(folder.str()); }),
              folder.str() +
                  ": no weights in this folder (neither model.safetensors, pytorch_model.bin nor "
                  "checkpoints/best or latest); give one of those inside: " +
                  inside);
  };
  const std::string three =
      fmt::format("{0}/0_CLIPModel, {0}/image_encoder, {0}/model.fp16.safetensors", folder.str());
  refused(three);
  put_file(folder / "model.pt", "");
  refused(three + ", " + folder / "model.pt");
  put_file(folder / "z.pt", "");
  refused(three + ", " + folder / "model.pt" + ", ...");
}

TEST(Weights, BuffersOfOtherTypesCanBeLeftOut) {
  const TempDir folder;
  const auto file = [&](const std::string& dtype, const std::string& name) {
    const std::string header = fmt::format(
        R"({{"w":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}},"{}":{{"dtype":"{}","shape":[1],"data_offsets":[4,8]}}}})",
        name, dtype);
    std::string bytes(8, '\0');
    bytes[0] = static_cast<char>(header.size());
    put_file(folder / "w.safetensors", bytes + header + std::string(8, '\0'));
    return folder / "w.safetensors";
  };
  const auto left = [&](const std::string& path) {
    return read_weights(path, TensorMemory::mapped, OtherTypes::leave_out).tensors.size();
  };
  EXPECT_EQ(left(file("I32", "embeddings.position_ids")), 1U);
  EXPECT_EQ(left(file("U32", "mask")), 1U);
  const std::string header = R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)";
  for (const auto& [name, count] : {std::pair{"mask", 1U}, {"a.weight", 2U}}) {
    const std::string all =
        header + fmt::format(R"("{}":{{"dtype":"I8","shape":[4],"data_offsets":[4,8]}}}})", name);
    put_file(folder / "w.safetensors", std::string(1, static_cast<char>(all.size())) + std::string(7, '\0') +
                                           all + std::string(8, '\0'));
    EXPECT_EQ(left(folder / "w.safetensors"), count) << name;
    EXPECT_EQ(read_weights(folder / "w.safetensors").tensors.size(), 2U);
  }
  for (const auto& [dtype, name] : {std::pair{"I32", "a.weight"}, {"F8_E4M3", "position_ids"}})
    EXPECT_EQ(
        message_of([&] { left(file(dtype, name)); }),
        fmt::format(
            "{}: tensor '{}': dtype '{}' is not supported; convert it to one of F32, F64, F16, BF16, U8, "
            "I64, I8",
            folder / "w.safetensors", name, dtype));
  EXPECT_NE(message_of([&] { read_weights(file("I32", "position_ids")); }), "");
}

TEST(CheckpointFiles, Names) {
  EXPECT_EQ(checkpoint_name(1234), "step-000001234");
  EXPECT_EQ(checkpoint_step("step-000001234"), 1234);
  EXPECT_EQ(checkpoint_step(checkpoint_name(12345678901)), 12345678901);
  for (const char* other :
       {"step-1234", "step-00000123x", "step-", "step--00000001", "latest", "step-000001234.tmp"})
    EXPECT_FALSE(checkpoint_step(other)) << other;
}

}  // namespace
}  // namespace vitral::data
