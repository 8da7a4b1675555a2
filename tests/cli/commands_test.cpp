// Every subcommand does what it says: help, info, eval, embed, activate, pack, shapes, scenes.
#include <algorithm>

#include "data/benchmarks/scenes.h"
#include "data/benchmarks/shapes.h"
#include "data/dataset.h"
#include "data/images/image.h"
#include "data/images/transform.h"
#include "models/student/encoder.h"
#include "tests/cli/small_run.h"
#include "tests/golden.h"

namespace vitral {
namespace {

using nlohmann::json;
using test::expect_done;
using test::json_of;
using test::relative_error;
using test::run;
using test::SmallRun;

const std::string weights = "tests/golden/run_init.safetensors";  // 16x16 pixels, width 16

TEST(Help, OfEverySubcommandHasAnExample) {
  const test::Result all = run({"--help"});
  expect_done(all);
  for (const std::string command : {"shapes", "scenes", "pack", "train", "eval", "embed", "teach", "activate",
                                    "search", "report", "ablate", "convert", "info", "vocabulary"}) {
    SCOPED_TRACE(command);
    EXPECT_NE(all.out.find("\n  " + command + " "), std::string::npos) << all.out;
    const test::Result r = run({command, "--help"});
    expect_done(r);
    EXPECT_EQ(r.err, "");
    EXPECT_NE(r.out.find("Example:\n  vitral " + command + " "), std::string::npos) << r.out;
  }
  expect_done(run({"--version"}));
}

TEST(Info, OfEveryKindOfFile) {
  const SmallRun small;
  expect_done(small());
  const std::string folder = small.output("run"), checkpoint = test::latest(folder);
  const auto info = [](const std::string& path) {
    const test::Result text = run({"info", path});
    expect_done(text);
    EXPECT_NE(text.out.find(path), std::string::npos) << text.out;
    return json_of(run({"info", path, "--json"}));
  };
  const json dataset = info(small.train());
  EXPECT_EQ(dataset["kind"], "dataset");
  EXPECT_EQ(dataset["images"], 24);
  EXPECT_EQ(dataset["width"], 16);

  const json of_run = info(folder);
  EXPECT_EQ(of_run["kind"], "run");
  EXPECT_EQ(of_run["last_train"]["step"], 6);
  EXPECT_EQ(of_run["model"]["heads"], 2);
  const json of_checkpoint = info(checkpoint);
  EXPECT_EQ(of_checkpoint["kind"], "checkpoint");
  for (const auto& path : {checkpoint + "/model.safetensors", std::string("tests/golden/tiny.pt")}) {
    const json of_weights = info(path);
    EXPECT_EQ(of_weights["kind"], "weights");
    std::int64_t parameters = 0;
    for (const auto& [name, tensor] : data::read_weights(path).tensors) parameters += tensor.numel();
    EXPECT_EQ(of_weights["parameters"], parameters);
    EXPECT_EQ(of_weights["tensors"].size(), data::read_weights(path).tensors.size());
  }
  EXPECT_EQ(of_checkpoint["parameters"], of_run["parameters"]);
  EXPECT_EQ(info(weights)["model"]["image_size"], 16);

  data::write_png(small / "a.png", test::noise({20, 30, 3}, 1, DType::uint8));
  expect_done(run({"embed", weights, small / "a.png", "-o", small / "e.h5"}));
  const json embeddings = info(small / "e.h5");
  EXPECT_EQ(embeddings["kind"], "embeddings of images");
  EXPECT_EQ(embeddings["images"], 1);
  EXPECT_EQ(embeddings["width"], 16);
  ASSERT_EQ(embeddings["datasets"].size(), 3U);
  EXPECT_EQ(embeddings["datasets"][0]["name"], "/embeddings");
  EXPECT_EQ(embeddings["datasets"][0]["shape"], "[1, 16]");
  EXPECT_EQ(info("tests/golden/layouts_userblock.h5")["kind"], "dataset");
}

TEST(Eval, GivesTheValidationOfTheRun) {
  const SmallRun small(24, true);
  expect_done(small());
  const json e = json_of(run({"eval", small.output("run"), small / "val.h5", "--json"}));
  EXPECT_EQ(e["images"], 16);
  EXPECT_EQ(e["skipped"], 0);
  EXPECT_EQ(e["top1_candidates"], 16);
  // What is measured is the best of the run's checkpoints.
  const auto losses = test::metric(small.output("run"), "val", "loss");
  const auto cosines = test::metric(small.output("run"), "val", "cosine");
  const auto best = std::min_element(losses.begin(), losses.end());
  EXPECT_NEAR(e["loss"].get<double>(), *best, 1e-5);
  EXPECT_NEAR(e["cosine"].get<double>(), cosines[static_cast<std::size_t>(best - losses.begin())], 1e-6);
  EXPECT_FALSE(e.contains("pointing_game"));
  EXPECT_FALSE(e.contains("segmentation"));
  const json retrieval = e["retrieval"];
  for (const char* direction : {"student_to_teacher", "teacher_to_student"}) {
    EXPECT_EQ(retrieval[direction]["candidates"], 16);
    EXPECT_NEAR(retrieval[direction]["chance_at_5"].get<double>(), 5 / 16.0, 1e-12);
    EXPECT_GE(retrieval[direction]["recall_at_10"], retrieval[direction]["recall_at_5"]);
  }
  EXPECT_EQ(retrieval["student_to_teacher"]["recall_at_1"], e["top1_agreement"]);
  const json few =
      json_of(run({"eval", small.output("run"), small / "val.h5", "--candidates", "7", "--json"}));
  EXPECT_EQ(few["top1_candidates"], 7);
  EXPECT_EQ(few["images"], 16);
  test::expect_failure(
      run({"eval", small.output("run"), small / "val.h5", "--background", "0.2"}), 2,
      (small / "val.h5") + ": has no labelled objects or masks; --background is for measuring on these");
  const json twice = json_of(
      run({"eval", small.output("run"), small / "val.h5", small / "val.h5", "--json", "--loss-norm", "40"}));
  EXPECT_EQ(twice["images"], 32);
  EXPECT_NEAR(twice["loss"].get<double>(), 2 * e["loss"].get<double>(), 1e-4);
}

TEST(Shapes, FoldersNeedNotBeUtf8) {
  const test::TempDir dir;
  const json written = json_of(run({"shapes", "-o", dir / "b\xff", "--train", "1", "--val", "1", "--json"}));
  EXPECT_EQ(written["files"][0]["path"], dir / "b\xef\xbf\xbd/train.h5");
}

TEST(Scenes, FilesTheirSummaryAndErrors) {
  const test::TempDir dir;
  std::string font;
  try {
    font = data::find_emoji_font();
  } catch (const UsageError& e) {
    GTEST_SKIP() << e.what();
  }
  const json written =
      json_of(run({"scenes", "-o", dir.str(), "--train", "5", "--val", "3", "--seed", "2", "--json"}));
  EXPECT_EQ(written["seed"], 2);
  EXPECT_EQ(written["files"][0]["images"], 5);
  EXPECT_EQ(written["files"][1]["path"], dir / "val.h5");
  EXPECT_EQ(written["files"][1]["concepts"], 140);
  const data::Dataset val = data::Dataset::open(dir / "val.h5");
  EXPECT_EQ(val.captions(2), data::Scenes().make(2, data::Split::val, 2).captions);
  const test::Result text = run({"info", dir / "val.h5"});
  expect_done(text);
  EXPECT_NE(text.out.find("captions: up to 3 of each image"), std::string::npos) << text.out;
  const test::Result again = run({"scenes", "-o", dir.str(), "--train", "5", "--val", "3", "--font", font});
  expect_done(again);
  EXPECT_EQ(again.out.find(dir / "train.h5: 5 images of 96x96 with "), 0U) << again.out;
  test::expect_failure(run({"scenes", "-o", dir.str(), "--train", "0"}), 2,
                       "--train: must be an integer >= 1, not 0; see vitral --help");
  test::expect_failure(run({"scenes", "-o", dir.str(), "--font", "meson.build"}), 2,
                       "meson.build: cannot be read as a font; name a TrueType or OpenType file");
  test::expect_failure(run({"scenes", "-o", dir.str(), "--backgrounds", dir / "none"}), 2,
                       dir / "none: no such file or folder");
}

TEST(Shapes, EvalAndActivate) {
  const test::TempDir dir;
  const json written =
      json_of(run({"shapes", "-o", dir.str(), "--train", "24", "--val", "6", "--seed", "3", "--json"}));
  EXPECT_EQ(written["files"][0]["images"], 24);
  EXPECT_EQ(written["files"][1]["images"], 6);
  const data::Dataset val = data::Dataset::open(dir / "val.h5");
  EXPECT_EQ(val.image(4).to_vector(), data::make_shapes_sample(3, data::Split::val, 4).image.to_vector());

  expect_done(run({"train", "configs/shapes.yaml", "data.train=" + (dir / "train.h5"),
                   "data.val=" + (dir / "val.h5"), "train.output=" + (dir / "run"), "train.epochs=1",
                   "train.device=cpu", "train.batch_size=8", "model.layers=1"}));
  const json e = json_of(run({"eval", dir / "run", dir / "val.h5", "--json"}));
  EXPECT_EQ(e["images"], 6);
  EXPECT_EQ(e["objects"], val.concepts()->image.size());
  EXPECT_GE(e["pointing_game"].get<double>(), 0);
  EXPECT_GT(e["pointing_chance"].get<double>(), 0);
  const json segmentation = e["segmentation"];
  EXPECT_EQ(segmentation["concepts"].size(), val.concepts()->names.size());
  EXPECT_EQ(segmentation["concepts"][1]["concept"], val.concepts()->names[1]);
  EXPECT_GT(segmentation["pixels"], 0);
  EXPECT_FALSE(segmentation.contains("background"));
  const json with_background =
      json_of(run({"eval", dir / "run", dir / "val.h5", "--background", "0.2", "--json"}))["segmentation"];
  EXPECT_EQ(with_background["pixels"].get<int>() + with_background["ambiguous_pixels"].get<int>(),
            6 * 64 * 64);
  EXPECT_GT(with_background["background"]["pixels"], 0);
  const std::string table = run({"eval", dir / "run", dir / "val.h5", "--per-class"}).out;
  EXPECT_NE(table.find("\nmean IoU "), std::string::npos) << table;
  const auto shown = static_cast<std::size_t>(val.concepts()->concept_index[0]);
  EXPECT_NE(table.find("\n  " + val.concepts()->names[shown] + " "), std::string::npos) << table;

  const auto size_of = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"activate", dir / "run", dir / "val.h5", "-o", dir / "a.png"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    expect_done(run(arguments));
    const Tensor picture = data::read_image(dir / "a.png");
    return std::pair(picture.dim(0), picture.dim(1));
  };
  const auto one = size_of({"--image", "1", "--concept", "red circle", "--cell", "64"});
  EXPECT_GE(one.second, 2 * 64);  // the image and one panel
  EXPECT_LT(one.second, 3 * 64 + 64);
  const auto wide = size_of({"--image", "1", "--concept", "red circle", "blue ring", "--cell", "64"});
  EXPECT_EQ(wide.first, one.first);
  EXPECT_GE(wide.second, one.second + 64);
  const auto tall = size_of({"--image", "1", "2", "--concept", "red circle", "--cell", "64"});
  EXPECT_EQ(tall.second, one.second);
  EXPECT_GE(tall.first, one.first + 64);
  const auto large = size_of({"--image", "1", "--concept", "red circle", "--cell", "128"});
  EXPECT_GE(large.first, one.first + 64);
  EXPECT_GE(large.second, one.second + 2 * 64);

  const test::Result unknown =
      run({"activate", dir / "run", dir / "val.h5", "-o", dir / "b.png", "--concept", "red cat"});
  test::expect_failure(unknown, 2,
                       dir / "val.h5" + std::string(": has no concept 'red cat'; it has 36 of them: red "
                                                    "circle, red square, red triangle, red cross, ..."));
  test::expect_failure(run({"activate", dir / "run", dir / "val.h5", "-o", dir / "b.png", "--image", "6"}), 2,
                       dir / "val.h5" + std::string(": has no image 6, they are numbered 0 to 5"));
  EXPECT_FALSE(std::filesystem::exists(dir / "b.png"));
}

TEST(Embed, IsTheEncoderOnTheValidationTransform) {
  const test::TempDir dir;
  const std::string images = dir / "images";
  std::filesystem::create_directory(images);
  std::vector<Tensor> pictures;
  const models::Encoder encoder = models::Encoder::load(weights);
  Tensor batch({5, 16, 16, 3}, DType::uint8);
  for (int i = 0; i < 5; ++i) {
    const Tensor picture =
        test::noise({10 + 7 * i, 16 + 5 * i, 3}, static_cast<std::uint64_t>(i), DType::uint8);
    data::write_png(fmt::format("{}/{}.png", images, i), picture);
    batch.rows(i, i + 1).reshape({16, 16, 3}).copy_from(data::validation_transform(picture, 16));
  }
  const models::ImageEmbeddings expected = encoder.embed(batch);
  for (const char* size : {"2", "64"}) {
    const json summary = json_of(run({"embed", weights, images, "-o", dir / "e.h5", "--patches", "--batch",
                                      size, "--json", "--device", "cpu"}));
    EXPECT_EQ(summary["images"], 5);
    const data::H5File file = data::H5File::open(dir / "e.h5");
    EXPECT_EQ(file.read_strings("/names"),
              (std::vector<std::string>{"0.png", "1.png", "2.png", "3.png", "4.png"}));
    EXPECT_LT(relative_error(file.read("/embeddings"), expected.embeddings), 1e-6);
    EXPECT_LT(relative_error(file.read("/probs"), expected.probs), 1e-6);
    EXPECT_LT(relative_error(file.read("/patch_embeddings"), expected.patches), 1e-6);
  }
  std::ofstream(images + "/2.png") << "no picture";
  std::filesystem::create_symlink("gone.png", images + "/gone\n.png");
  const test::Result r = run({"embed", weights, images, "-o", dir / "e.h5"});
  EXPECT_EQ(r.status, 0);
  EXPECT_EQ(r.err, "skipped 2 of 6 images: " + images + "/2.png: not an image of a known format\n" +
                       "skipped 2 of 6 images: " + images +
                       "/gone\\x0a.png: is a link to gone.png, which is not there\n");
  const data::H5File file = data::H5File::open(dir / "e.h5");
  EXPECT_EQ(file.shape("/embeddings"), (Shape{4, 16}));
  EXPECT_FALSE(file.has("/patch_embeddings"));
  // Of a link the target is replaced; what a killed process left is, too.
  std::filesystem::create_symlink("e.h5", dir / "link.h5");
  std::ofstream(dir / "e.h5.partial") << "half a file";
  EXPECT_EQ(run({"embed", weights, images + "/1.png", "-o", dir / "link.h5"}).status, 0);
  EXPECT_TRUE(std::filesystem::is_symlink(dir / "link.h5"));
  EXPECT_EQ(data::H5File::open(dir / "e.h5").read_strings("/names"), std::vector<std::string>{"1.png"});
  EXPECT_FALSE(std::filesystem::exists(dir / "e.h5.partial"));
}

TEST(Embed, PhotosAsTheOriginal) {
  VITRAL_NEEDS_SHARED(reference, "golden/embed_photos.h5");
  VITRAL_NEEDS_SHARED(init, "golden/run_init.safetensors");
  VITRAL_NEEDS_SHARED(photos, "photos");
  const data::H5File expected = data::H5File::open(reference);
  const auto names = expected.read_strings("/names");
  const test::TempDir dir;
  std::vector<std::string> arguments{"embed", init, "-o", dir / "e.h5", "--patches"};
  for (const auto& name : names)
    arguments.push_back((std::filesystem::path(photos) / std::filesystem::path(name).filename()).string());
  expect_done(run(arguments));
  const data::H5File got = data::H5File::open(dir / "e.h5");
  EXPECT_EQ(got.read_strings("/names"), names);
  for (const char* dataset : {"/embeddings", "/probs", "/patch_embeddings"})
    EXPECT_LT(relative_error(got.read(dataset), expected.read(dataset)), 1e-4) << dataset;
}

// A folder with a damaged image becomes a dataset; with embeddings added, as a teacher would, it trains.
TEST(Pack, ThenEmbeddingsThenTraining) {
  const SmallRun small;
  const std::string images = small / "images";
  std::filesystem::create_directory(images);
  for (int i = 0; i < 12; ++i) {
    const Tensor picture = test::noise({40 + i, 50, 3}, static_cast<std::uint64_t>(i), DType::uint8);
    const auto bytes = i % 2 ? data::encode_jpeg(picture, 90) : data::encode_png(picture);
    std::ofstream(fmt::format("{}/{:02}.{}", images, i, i % 2 ? "jpg" : "png"), std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  std::filesystem::resize_file(images + "/05.jpg", 200);
  for (const bool encoded : {false, true}) {
    const std::string packed = small / (encoded ? "encoded.h5" : "plain.h5");
    std::vector<std::string> arguments{"pack", images, "-o", packed, "--json"};
    if (encoded)
      arguments.push_back("--encoded");
    else
      arguments.insert(arguments.end(), {"--size", "72"});
    const test::Result r = run(arguments);
    EXPECT_EQ(r.status, 0);
    EXPECT_EQ(r.err.find("skipped 1 of 12 images: "), 0U) << r.err;
    EXPECT_EQ(std::count(r.err.begin(), r.err.end(), '\n'), 1) << r.err;
    const json summary = json::parse(r.out);
    EXPECT_EQ(summary["images"], 11);
    EXPECT_EQ(summary["skipped"][0]["name"], "05.jpg");
    EXPECT_EQ(json_of(run({"info", packed, "--json"}))["images"], 11);

    // The same images in a file with embeddings beside them.
    const std::string dataset = small / (encoded ? "encoded-train.h5" : "plain-train.h5");
    {
      const data::H5File from = data::H5File::open(packed);
      data::H5File to = data::H5File::create(dataset);
      if (encoded) {
        to.write("/encoded/bytes", from.read("/encoded/bytes"));
        const auto offsets = from.read_uint64("/encoded/offsets");
        to.write_uint64("/encoded/offsets", offsets, {12});
      } else {
        to.write("/images", from.read("/images"), 1);
      }
      to.write_strings("/names", from.read_strings("/names"));
      to.write("/embeddings", test::noise({11, test::small_width}, 5, DType::float32));
      to.close();
    }
    const std::string folder = small.output(encoded ? "encoded" : "plain");
    const test::Result trained = small({"data.train=" + dataset, "data.val=" + dataset, "data.augment=clip",
                                        "train.output=" + folder, "train.epochs=1"});
    expect_done(trained);
    EXPECT_EQ(trained.err.find("skipped"), std::string::npos) << trained.err;
    EXPECT_EQ(test::metric(folder, "train", "loss").size(), 2U);
    EXPECT_EQ(test::metric(folder, "val", "loss").size(), 1U);
    EXPECT_EQ(json_of(run({"eval", folder, dataset, "--json"}))["images"], 11);
  }
}

// An image that does not decode is left out of its batch, said, and counted; never replaced.
TEST(Pack, SaysHowManyCaptionsThereAre) {
  const test::TempDir dir;
  std::filesystem::create_directory(dir / "in");
  for (const char* name : {"a", "b", "c"})
    data::write_png(dir / fmt::format("in/{}.png", name), test::noise({9, 8, 3}, 1, DType::uint8));
  test::put_file(dir / "in/b.txt", "one\ntwo\n");
  const std::string out = dir / "out.h5";
  const auto pack = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"pack", dir / "in", "-o", out, "--force", "--size", "4"});
    return run(more);
  };
  const test::Result text = pack({});
  expect_done(text);
  EXPECT_EQ(text.out, out + ": 3 images\n2 captions, 2 images without\n");
  EXPECT_EQ(text.err, "");
  test::put_file(dir / "c.tsv", "a.png\tx\nb.png\ty\nc.png\tz\n");
  const json summary = json_of(pack({"--captions", dir / "c.tsv", "--json"}));
  EXPECT_EQ(summary["captions"], 3);
  EXPECT_EQ(summary["without_caption"], 0);
  test::put_file(dir / "c.tsv", "a.png x\n");
  test::expect_failure(pack({"--captions", dir / "c.tsv"}), 2,
                       dir / "c.tsv:1: has no tab; write the image's name, a tab and the caption");
  EXPECT_EQ(data::Dataset::open(out).captions(1), std::vector<std::string>{"y"});  // as it was
}

TEST(Train, LeavesOutAnImageThatDoesNotDecode) {
  const SmallRun small;
  std::vector<std::uint8_t> all;
  std::vector<std::uint64_t> offsets{0};
  for (int i = 0; i < 10; ++i) {
    auto bytes = data::encode_png(test::noise({64, 64, 3}, static_cast<std::uint64_t>(i), DType::uint8));
    if (i == 3) bytes.resize(bytes.size() / 2);
    all.insert(all.end(), bytes.begin(), bytes.end());
    offsets.push_back(all.size());
  }
  {
    data::H5File file = data::H5File::create(small.train());
    Tensor bytes({static_cast<std::int64_t>(all.size())}, DType::uint8);
    std::copy(all.begin(), all.end(), bytes.data<std::uint8_t>());
    file.write("/encoded/bytes", bytes);
    file.write_uint64("/encoded/offsets", offsets, {11});
    file.write("/embeddings", test::noise({10, test::small_width}, 5, DType::float32));
    file.close();
  }
  const test::Result r = small();
  expect_done(r);
  const std::string who = "skipped image 3 of " + small.train() + ": ";
  EXPECT_NE(r.err.find(who), std::string::npos) << r.err;
  EXPECT_NE(r.err.find(who, r.err.find(who) + 1), std::string::npos) << r.err;  // once an epoch
  EXPECT_NE(r.out.find(", 2 images skipped"), std::string::npos) << r.out;
  const test::Result e = run({"eval", small.output("run"), small.train(), "--json"});
  expect_done(e);
  EXPECT_EQ(e.err.find(who), 0U) << e.err;
  EXPECT_EQ(json::parse(e.out)["images"], 9);
  EXPECT_EQ(json::parse(e.out)["skipped"], 1);
}

}  // namespace
}  // namespace vitral
