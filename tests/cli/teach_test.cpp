// vitral teach, and training with what it stores: the same as with the teacher in the loop.
#include <sys/resource.h>

#include "data/dataset.h"
#include "data/dataset_writer.h"
#include "data/images/image.h"
#include "data/loader.h"
#include "models/pretrained/image_encoder.h"
#include "tests/cli/teach_run.h"
#include "tests/golden.h"
#include "train/config.h"

namespace vitral::test {
namespace {

class Teach : public TeachRun {
 protected:
  Teach() : TeachRun(tiny_teacher(small_size, 16, small_width)) {}
  void fail(const Result& r, int status, const std::string& message) const {
    expect_failure(r, status, message);
  }
};

TEST_F(Teach, PlainImages) {
  write_images(10);
  const std::vector<std::string> captions{"a cat", "größe"};
  {
    data::H5File with = data::H5File::modify(file());
    std::vector<std::string> of_all;
    for (int i = 0; i < 10; ++i) of_all.insert(of_all.end(), captions.begin(), captions.end());
    with.write_strings("/captions", of_all, {10, 2});
    with.close();
  }
  const Result r = teach({"--batch", "4"});
  expect_done(r);
  EXPECT_EQ(r.out, file() + ": embeddings of 10 images, 16 wide\n");
  const auto encoder = models::ImageEncoder::load(clip());
  const auto expect_embeddings = [&](double tolerance) {
    const data::Dataset dataset = data::Dataset::open(file());
    EXPECT_EQ(dataset.teacher().value(), clip());
    EXPECT_EQ(dataset.views(0), 0);
    for (std::int64_t i = 0; i < 10; ++i) {
      const Tensor image = dataset.image(i).reshape({1, 64, 64, 3});
      EXPECT_LE(relative_error(dataset.target(i), encoder.embed(image).reshape({16})), tolerance);
      EXPECT_EQ(dataset.captions(i), captions);
    }
  };
  expect_embeddings(1e-6);
  EXPECT_FALSE(std::filesystem::exists(file() + ".teach"));
  EXPECT_FALSE(std::filesystem::exists(file() + ".partial"));
  fail(teach(), 2, file() + ": has /embeddings already; replace them with --force");
  expect_done(teach({"--force", "--dtype", "float16", "--in-place"}));
  EXPECT_EQ(data::H5File::open(file()).dtype("/embeddings"), DType::float16);
  expect_embeddings(1e-3);
}

// The fault: config.json counted in a folder that was given, not beside a file.
TEST_F(Teach, TheConfigurationBesideTheFileCounts) {
  write_images(4);
  const auto embeddings = [&] { return data::H5File::open(file()).read("/embeddings").to_vector(); };
  expect_done(teach());
  const auto plain = embeddings();
  put_file(clip_config(), R"({"model_type": "clip_vision_model", "num_attention_heads": 4,
                              "hidden_act": "gelu"})");
  expect_done(teach({"--force"}));
  const auto configured = embeddings();
  EXPECT_NE(configured, plain);
  std::filesystem::create_directory(*this / "clip");
  std::filesystem::copy_file(clip(), *this / "clip/model.safetensors");
  std::filesystem::rename(clip_config(), *this / "clip/config.json");
  expect_done(run({"teach", file(), "--teacher", *this / "clip", "--device", "cpu", "--force"}));
  EXPECT_EQ(embeddings(), configured);
  // Without one, the options say it, and what they leave open is a guess.
  const Result told = teach({"--force", "--heads", "4", "--activation", "gelu"});
  expect_done(told);
  EXPECT_EQ(told.err.find("OpenAI"), std::string::npos) << told.err;
  EXPECT_EQ(embeddings(), configured);
  // What was used is stored.
  const std::string used =
      "CLIP, 4 heads, gelu, mean 0.48145467 0.4578275 0.40821072, std 0.26862955 0.2613026 0.2757771";
  EXPECT_EQ(data::H5File::open(file()).attribute("teacher_tower"), used);
  EXPECT_NE(run({"info", file()}).out.find(used), std::string::npos);
  const Result guessed = teach({"--force"});
  expect_done(guessed);
  EXPECT_NE(
      guessed.err.find(clip() + ": neither it nor a configuration beside it says all; taken as in OpenAI's "
                                "models: 1 heads (width / 64) and quick_gelu; --heads and --activation say "
                                "otherwise\n"),
      std::string::npos)
      << guessed.err;
  EXPECT_EQ(embeddings(), plain);
}

// In every epoch, each sample's pixels are those that the teacher saw for its target.
TEST_F(Teach, StoredViewsAreReplayedExactly) {
  write_images(20);
  expect_done(teach({"--views", "4", "--config", config()}));
  const data::Dataset dataset = data::Dataset::open(file());
  EXPECT_EQ(dataset.views(7), 4);
  EXPECT_EQ(dataset.view_size(), 64);
  const auto encoder = models::ImageEncoder::load(clip());
  data::Loader loader(
      dataset,
      {.batch_size = 8, .image_size = 64, .augment = train::load_config(config()).data.augment, .seed = 11});
  std::vector<double> first;
  for (int epoch = 0; epoch < 3; ++epoch) {
    loader.begin_epoch(epoch);
    while (const auto batch = loader.next()) {
      EXPECT_LE(relative_error(encoder.embed(batch->images), batch->targets), 1e-6);
      if (epoch == 0 && first.empty()) first = batch->targets.to_vector();
    }
  }
  loader.begin_epoch(1);
  EXPECT_NE(loader.next()->targets.to_vector(), first);
}

// The same with large JPEG files that both decode smaller, but for the plain view.
TEST_F(Teach, ViewsOfScaledPhotographsAreReplayedExactly) {
  {
    data::DatasetWriter writer(file(), std::nullopt);
    for (std::uint64_t i = 0; i < 8; ++i)
      writer.add_encoded(data::encode_jpeg(noise({340, 350, 3}, i + 1, DType::uint8), 90),
                         fmt::format("{}.jpg", i));
    writer.finish();
  }
  const Program::Arguments views{"--views", "2", "--plain-view", "--config", config()};
  expect_done(teach(views));
  const std::string whole = data::Dataset::open(file()).transform().value();
  std::string text = bytes_of_file(config());
  text.insert(text.find("resize: 80"), "scaled_decode: true, ");
  put_file(config(), text);
  fail(train({}), 2,
       file() + ": its views were made with transform " + whole +
           " but data.augment is vitral-augment-1:scaled_decode," + whole.substr(whole.find(':') + 1) +
           "; use the same");
  auto again = views;
  again.push_back("--force");
  expect_done(teach(again));
  const data::Dataset dataset = data::Dataset::open(file());
  const auto encoder = models::ImageEncoder::load(clip());
  data::LoaderOptions o{
      .batch_size = 8, .image_size = 64, .augment = train::load_config(config()).data.augment, .seed = 11};
  for (const bool training : {true, false}) {
    o.training = training;
    data::Loader loader(dataset, o);
    for (int epoch = 0; epoch < 3; ++epoch) {
      loader.begin_epoch(epoch);
      const auto batch = loader.next();
      EXPECT_LE(relative_error(encoder.embed(batch->images), batch->targets), 1e-6);
    }
  }
}

TEST_F(Teach, ReplayTrainsAsATeacherInTheLoopDoes) {
  write_images(24);
  expect_done(train({"teacher.weights=" + clip(), "train.output=" + folder_ / "loop"}));
  const auto in_the_loop = metric(folder_ / "loop", "train", "loss");
  ASSERT_EQ(in_the_loop.size(), 3U);
  expect_done(teach({"--views", "1", "--seed", "5", "--config", config()}));
  expect_done(train({"train.output=" + folder_ / "replay"}));
  const auto replayed = metric(folder_ / "replay", "train", "loss");
  ASSERT_EQ(replayed.size(), in_the_loop.size());
  for (std::size_t i = 0; i < replayed.size(); ++i)
    EXPECT_NEAR(replayed[i], in_the_loop[i], 1e-6 * in_the_loop[i]);
  // Plain embeddings, which many store, are not what a student that sees augmented images should learn.
  expect_done(teach({"--force"}));
  expect_done(train({"train.output=" + folder_ / "plain"}));
  EXPECT_GT(std::abs(metric(folder_ / "plain", "train", "loss")[0] - in_the_loop[0]), 1e-3);
}

TEST_F(Teach, ATeacherInTheLoopValidatesAndResumesBitForBit) {
  write_images(24);
  const Program::Arguments common{"teacher.weights=" + clip(), "data.val=" + file(), "train.epochs=2"};
  const auto with = [&](Program::Arguments more) {
    more.insert(more.begin(), common.begin(), common.end());
    return train(more);
  };
  expect_done(with({"train.output=" + folder_ / "whole", "train.checkpoint_every=2"}));
  expect_done(with({"train.output=" + folder_ / "parts", "train.checkpoint_every=2", "train.max_steps=4"}));
  expect_done(with({"train.output=" + folder_ / "parts", "train.checkpoint_every=2", "--resume", "auto"}));
  EXPECT_EQ(metric(folder_ / "whole", "train", "loss"), metric(folder_ / "parts", "train", "loss"));
  EXPECT_EQ(metric(folder_ / "whole", "val", "loss").size(), 2U);
}

// Whatever ended the first run: what it had done stays, and the result is that of a run without a break.
TEST_F(Teach, GoesOnAfterAnInterruption) {
  write_images(300);
  const Program::Arguments options{"--batch", "4", "--views", "2", "--plain-view", "--config", config()};
  const std::string whole = folder_ / "whole.h5";
  std::filesystem::copy_file(file(), whole);
  auto uninterrupted = arguments(options);
  uninterrupted[1] = whole;
  expect_done(run(uninterrupted));
  const std::string before = bytes_of_file(file());
  const auto journal_size = [&] {
    std::error_code none;
    const auto size = std::filesystem::file_size(file() + ".teach", none);
    return none ? 0 : size;
  };
  for (const int signal : {SIGINT, SIGKILL}) {
    const auto size = journal_size();
    Program first(arguments(options));
    ASSERT_TRUE(wait_for([&] { return journal_size() > size + 1000; }));
    first.send(signal);
    const Result r = first.wait();
    if (signal == SIGINT) {
      fail(r, 1, file() + ": stopped by SIGINT; what is done is kept, run the same command again to go on");
    }
    EXPECT_EQ(bytes_of_file(file()), before);
  }
  // A torn row at the end is done again.
  std::ofstream(file() + ".teach", std::ios::app | std::ios::binary) << "torn";
  const Result other = teach({"--views", "3", "--config", config()});
  EXPECT_EQ(other.status, 2);
  EXPECT_NE(other.err.find(".teach: an unfinished run of another kind (300 images "), std::string::npos)
      << other.err;
  EXPECT_NE(other.err.find(", float32 [16], 2+1 views of 64 pixels, seed 0, vitral-augment-1:resize=80,"),
            std::string::npos)
      << other.err;
  EXPECT_NE(other.err.find("; finish it with its own options, or start again with --restart\n"),
            std::string::npos)
      << other.err;
  // So are the same weights read otherwise.
  Program::Arguments heads = options;
  heads.insert(heads.end(), {"--heads", "2"});
  EXPECT_NE(teach(heads).err.find(", CLIP, 2 heads, quick_gelu, "), std::string::npos);
  const Result r = teach(options);
  expect_done(r);
  EXPECT_EQ(r.err.substr(0, 15), "went on after t");
  EXPECT_EQ(bytes_of_file(file()), bytes_of_file(whole));
  EXPECT_FALSE(std::filesystem::exists(file() + ".teach"));
}

TEST_F(Teach, AFullDiskKeepsWhatIsDone) {
  write_images(64);
  const std::string before = bytes_of_file(file());
  const auto limit = [](rlim_t bytes) {
    return [bytes] {
      const rlimit size{bytes, bytes};
      ::setrlimit(RLIMIT_FSIZE, &size);
    };
  };
  const Result r = Program(arguments({"--batch", "8"}), limit(1000)).wait();
  fail(r, 1,
       file() +
           ".teach: cannot be written: File too large; the rows so far are kept, make room and run the "
           "command again");
  const Result none = Program(arguments({"--batch", "8", "--restart"}), limit(200)).wait();
  fail(none, 1, file() + ".teach: cannot be written: File too large; make room and run the command again");
  EXPECT_FALSE(std::filesystem::exists(file() + ".teach"));
  // The journal fits now, the copy of the file does not.
  const Result copy = Program(arguments({"--batch", "8"}), limit(100000)).wait();
  EXPECT_EQ(copy.status, 1);
  EXPECT_NE(copy.err.find("cannot be copied to"), std::string::npos) << copy.err;
  EXPECT_EQ(bytes_of_file(file()), before);
  const Result done = teach({"--batch", "8"});
  expect_done(done);
  EXPECT_EQ(done.err, "went on after the 64 images of an earlier run\n");
}

TEST_F(Teach, WhatDoesNotDecodeGetsZerosAndIsLeftOutOfTraining) {
  {
    data::DatasetWriter writer(file(), std::nullopt);
    for (int i = 0; i < 9; ++i) {
      std::string png = bytes_of_file("tests/golden/tiny.pt");  // no image at all
      if (i != 4) {
        data::write_png(folder_ / "x.png", noise({70, 66, 3}, static_cast<std::uint64_t>(i), DType::uint8));
        png = bytes_of_file(folder_ / "x.png");
      }
      writer.add_encoded({reinterpret_cast<const std::uint8_t*>(png.data()), png.size()},
                         fmt::format("{}.png", i));
    }
    writer.finish();
  }
  const Result r = teach({"--views", "2", "--config", config(), "--json"});
  expect_done(r);
  EXPECT_EQ(r.err.substr(0, 55), "image 4 does not decode, its embedding is zero: 4.png: ");
  const auto out = nlohmann::json::parse(r.out);
  EXPECT_EQ(out["images"], 9);
  EXPECT_EQ(out["views"], 2);
  EXPECT_EQ(out["width"], small_width);
  EXPECT_EQ(out["skipped"][0]["index"], 4);
  for (const double x : data::Dataset::open(file()).target(4, 1).to_vector()) EXPECT_EQ(x, 0);
  expect_done(train({}));
}

TEST_F(Teach, EmbedsPhotographsUprightAndStoresThat) {
  const Tensor bytes = read_golden("tests/golden/images.h5", "encoded/jpeg_exif_6");
  data::DatasetWriter writer(file(), std::nullopt);
  writer.add_encoded({bytes.data<std::uint8_t>(), static_cast<std::size_t>(bytes.numel())}, "a.jpg");
  writer.finish();
  expect_done(teach());
  const data::Dataset upright = data::Dataset::open(file());
  EXPECT_EQ(upright.image(0).shape(), (Shape{30, 21, 3}));
  const Tensor target = upright.target(0);
  expect_done(teach({"--force", "--exif", "ignore"}));
  const data::Dataset lying = data::Dataset::open(file());
  EXPECT_EQ(lying.image(0).shape(), (Shape{21, 30, 3}));
  EXPECT_GT(relative_error(lying.target(0), target), 1e-3);
  const Result trained = train({"train.batch_size=1", "data.augment=none"});
  expect_done(trained);
  EXPECT_NE(
      trained.err.find(file() + ": its embeddings are of images with their Exif orientation ignored, so "
                                "that is how they are decoded"),
      std::string::npos)
      << trained.err;
  expect_done(teach({"--force"}));  // new embeddings follow the option, not the old ones
  EXPECT_EQ(data::Dataset::open(file()).target(0).to_vector(), target.to_vector());
}

TEST_F(Teach, WhatDoesNotFitIsRefused) {
  write_images(8);
  fail(run({"teach", folder_ / "none.h5", "--teacher", clip()}), 2, folder_ / "none.h5" + ": no such file");
  fail(run({"teach", file(), "--teacher", folder_ / "none"}), 2,
       folder_ / "none" +
           ": no such file or folder; give a run folder, a checkpoint folder, a .safetensors or a .pt file");
  fail(teach({"--plain-view"}), 2, "teach: a plain view needs other views beside it; set views");
  fail(teach({"--views", "-1"}), 2, "--views: must be an integer >= 0, not -1; see vitral --help");
  fail(teach({"--heads", "5"}), 2, clip() + ": 5 heads do not divide the width 64");
  expect_done(teach({"--views", "1", "--image-size", "90", "--augment", "none"}));
  EXPECT_EQ(data::Dataset::open(file()).view_size(), 90);
}

TEST_F(Teach, ViewsOfAnotherKindAreNotTrainedOn) {
  write_images(8);
  expect_done(teach({"--views", "2", "--config", config()}));
  const Result flip = train({"data.augment.flip=0.25"});
  EXPECT_EQ(flip.status, 2);
  EXPECT_NE(
      flip.err.find(": its views were made with transform vitral-augment-1:resize=80,brightness=0.3,flip=0.5,"
                    "random_crop but data.augment is vitral-augment-1:resize=80,brightness=0.3,flip=0.25,"),
      std::string::npos)
      << flip.err;
  const Result size = train({"model.image_size=48"});
  fail(size, 2,
       file() +
           ": its views have 64 pixels a side but the student's images 48; use the same, or embed it again");
  fail(train({"data.val=" + file()}), 2,
       file() + ": image 0 has no view with seed 0, which validation needs; embed it with one");
  expect_done(teach({"--views", "2", "--plain-view", "--config", config(), "--force"}));
  expect_done(train({"data.val=" + file()}));
}

TEST_F(Teach, TheTeacherOfATrainingMustFit) {
  write_images(8);
  fail(train({"teacher.weights=" + folder_ / "none"}), 2,
       "override teacher.weights=" + folder_ / "none" + ": " + folder_ / "none" + ": no such file");
  fail(
      train({"teacher.weights=openai/clip-vit-base-patch32"}), 2,
      "override teacher.weights=openai/clip-vit-base-patch32: openai/clip-vit-base-patch32: no such file; if "
      "it is a model of the Hugging Face hub, fetch it: hf download openai/clip-vit-base-patch32 --local-dir "
      "clip-vit-base-patch32");
  fail(train({"teacher.weights=" + clip(), "model.width=32"}), 2,
       "teacher.weights: " + clip() + ": its embeddings are 16 wide, model.width is 32; set model.width=16");
  fail(train({"teacher.heads=2"}), 2, "override teacher.heads=2: needs teacher.weights");
  fail(train({}), 2, file() + ": has no /embeddings; write them with vitral teach");
}

// All photographs through CLIP's own transform and a small image tower, as PyTorch and Pillow give them.
TEST(TeachGolden, Photographs) {
  VITRAL_NEEDS_SHARED(photos, "photos");
  VITRAL_NEEDS_SHARED(golden, "golden/clip_tiny_photos.h5");
  VITRAL_NEEDS_SHARED(weights, "golden/clip_tiny_hf.safetensors");
  const TempDir folder;
  expect_done(run({"pack", photos, "-o", folder / "photos.h5", "--encoded"}));
  expect_done(
      run({"teach", folder / "photos.h5", "--teacher", weights, "--transform", "clip", "--device", "cpu"}));
  const data::H5File file = data::H5File::open(golden);
  const data::Dataset dataset = data::Dataset::open(folder / "photos.h5");
  const auto names = file.read_strings("/names");
  const Tensor embeddings = file.read("/embeddings");
  ASSERT_EQ(static_cast<std::int64_t>(names.size()), dataset.size());
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    EXPECT_EQ(dataset.name(i), names[static_cast<std::size_t>(i)]);
    EXPECT_LE(relative_error(dataset.target(i), embeddings.rows(i, i + 1)), 1e-5) << dataset.name(i);
  }
}

// CLIP's own transform crops; of stretched squares it cannot crop what CLIP would.
TEST_F(Teach, CropsOfStretchedSquaresAreSaid) {
  const auto png = data::encode_png(noise_image(30, 50, 1));
  put_file(folder_ / "a.png", {png.begin(), png.end()});
  const auto taught = [&](const Program::Arguments& how, const std::string& transform) {
    Program::Arguments pack{"pack", folder_ / "a.png", "-o", file(), "--force"};
    pack.insert(pack.end(), how.begin(), how.end());
    expect_done(run(pack));
    const Result r = teach({"--transform", transform});
    EXPECT_EQ(r.status, 0) << r.err;
    return r.err;
  };
  EXPECT_EQ(taught({"--size", "40"}, "clip"), file() +
                                                  ": its images were stretched to 40x40 when they were "
                                                  "packed, so the crop acts on those; vitral pack "
                                                  "--encoded keeps the originals\n");
  EXPECT_EQ(taught({"--size", "40"}, "resize"), "");
  EXPECT_EQ(taught({"--encoded"}, "clip"), "");
  write_images(2);  // nothing is known of these
  EXPECT_EQ(teach({"--transform", "clip"}).err, "");
}

TEST_F(Teach, ImagesUnderAnotherName) {
  const Tensor pixels = noise_image(3 * 20, 20, 1).reshape({3, 20, 20, 3});
  for (const char* name : {"/images", "/train/x"}) {
    data::H5File f = data::H5File::create(file());
    f.write(name, pixels);
    f.close();
    expect_done(teach({"--images", name}));
  }
  const data::Dataset dataset = data::Dataset::open(file(), {"train/x", ""});
  EXPECT_EQ(dataset.width(), small_width);
  const Result r = train({"data.images=/train/x", "train.output=" + (folder_ / "named"), "train.max_steps=1",
                          "train.batch_size=3", "data.augment=none"});
  expect_done(r);
  EXPECT_NE(bytes_of_file(folder_ / "named/config.yaml").find("images: /train/x\n"), std::string::npos);
  expect_done(train({"data.images=/train/x", "train.output=" + (folder_ / "named"), "train.max_steps=2",
                     "train.batch_size=3", "data.augment=none", "--resume", "auto"}));
  expect_done(run({"eval", folder_ / "named", file(), "--device", "cpu", "--images", "train/x"}));
}

}  // namespace
}  // namespace vitral::test
