// vitral eval against texts: zero-shot classification and retrieval, with a CLIP made up on the spot.
#include <algorithm>
#include <memory>

#include "data/dataset_writer.h"
#include "data/images/image.h"
#include "data/images/resize.h"
#include "data/images/transform.h"
#include "infer/measure/patch_scores.h"
#include "infer/measure/pointing.h"
#include "models/pretrained/image_encoder.h"
#include "models/pretrained/text_encoder.h"
#include "models/student/encoder.h"
#include "tests/cli/small_run.h"
#include "tests/models/tiny_clip.h"

namespace vitral {
namespace {

using nlohmann::json;
using test::expect_done;
using test::expect_failure;
using test::json_of;
using test::run;
using Arguments = std::vector<std::string>;

const std::string student = "tests/golden/run_init.safetensors";  // 16x16 pixels, width 16

// Pictures of noise in three folders, one of them with a single picture, and one in none.
class Eval : public testing::Test {
 protected:
  struct Picture {
    std::string folder, name;
    Tensor image;
  };

  Eval() {
    test::write_tiny_clip(clip());
    std::uint64_t seed = 1;
    for (const char* name :
         {"barn_owl/1.png", "barn_owl/2.png", "cat/1.png", "cat/2.png", "cat/3.png", "dog/1.png"}) {
      const std::string folder = std::string(name).substr(0, std::string(name).find('/'));
      std::filesystem::create_directories(photos() + "/" + folder);
      pictures_.push_back(
          {folder, name, test::noise({20 + static_cast<std::int64_t>(seed), 24, 3}, seed, DType::uint8)});
      ++seed;
      data::write_png(photos() + "/" + name, pictures_.back().image);
    }
  }

  std::string clip() const { return dir_ / "clip"; }
  std::string photos() const { return dir_ / "photos"; }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(dir_ / name, std::ios::binary) << text;
    return dir_ / name;
  }
  test::Result eval(const Arguments& more) const {
    Arguments arguments{"eval", student, photos(), "--device", "cpu"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  }
  json measured(Arguments more) const {
    more.insert(more.end(), {"--clip", clip(), "--json"});
    return json_of(eval(more));
  }

  // The fraction of pictures whose own text is nearest, by the encoders themselves; texts in the order of the
  // folders.
  double expected_top1(const Tensor& texts, const std::vector<std::string>& folders,
                       const std::function<Tensor(const Tensor&)>& embed) const {
    double right = 0;
    for (const Picture& p : pictures_) {
      const Tensor e = embed(p.image);
      const auto cosines = infer::patch_cosines(texts, e.reshape({16})).to_vector();
      const auto nearest = std::max_element(cosines.begin(), cosines.end()) - cosines.begin();
      right += folders[static_cast<std::size_t>(nearest)] == p.folder ? 1 : 0;
    }
    return right / static_cast<double>(pictures_.size());
  }

  test::TempDir dir_;
  std::vector<Picture> pictures_;
  const std::vector<std::string> folders_{"barn_owl", "cat", "dog"};
};

TEST_F(Eval, ZeroShotIsWhatTheEncodersSay) {
  const models::Encoder encoder = models::Encoder::load(student);
  const models::TextEncoder text = models::TextEncoder::load(clip());
  const models::ImageEncoder teacher = models::ImageEncoder::load(clip());
  const auto of_student = [&](const Tensor& image) {
    return encoder.embed(data::validation_transform(image, 16).reshape({1, 16, 16, 3})).embeddings;
  };
  const auto of_teacher = [&](const Tensor& image) {
    return teacher.embed(data::resize_crop(image, 24, {}).reshape({1, 24, 24, 3}));
  };
  const auto resized = [&](const Tensor& image) {
    return teacher.embed(data::validation_transform(image, 24).reshape({1, 24, 24, 3}));
  };
  const std::vector<std::string> names{"barn owl", "cat", "dog"}, around{"a photo of a {}", "the {}."};
  const json plain = measured({"--zero-shot", "--teacher", clip()});
  EXPECT_EQ(plain["images"], 6);
  EXPECT_EQ(plain["unlabelled"], 0);
  Tensor texts = text.embed_prompts(names).units;
  EXPECT_NEAR(plain["student"]["zero_shot"]["top1"].get<double>(), expected_top1(texts, folders_, of_student),
              1e-9);
  EXPECT_NEAR(plain["teacher"]["zero_shot"]["top1"].get<double>(), expected_top1(texts, folders_, of_teacher),
              1e-9);
  const json classes = plain["student"]["zero_shot"]["classes"];
  ASSERT_EQ(classes.size(), 3U);
  EXPECT_EQ(classes[0]["class"], "barn owl");
  EXPECT_EQ(classes[1]["images"], 3);
  EXPECT_TRUE(plain["student"]["zero_shot"]["top5"].is_null());  // of three classes
  EXPECT_NEAR(plain["student"]["zero_shot"]["chance_top1"].get<double>(), 1 / 3.0, 1e-12);
  double sum = 0;
  for (const json& c : classes) sum += c["accuracy"].get<double>();
  EXPECT_NEAR(plain["student"]["zero_shot"]["mean_per_class"].get<double>(), sum / 3, 1e-12);

  texts = text.embed_prompts(names, around).units;
  const json templates =
      measured({"--zero-shot", "--teacher", clip(), "--teacher-transform", "resize", "--template", around[0],
                "--templates", write("templates", around[1] + "\n")});
  EXPECT_NEAR(templates["student"]["zero_shot"]["top1"].get<double>(),
              expected_top1(texts, folders_, of_student), 1e-9);
  EXPECT_NEAR(templates["teacher"]["zero_shot"]["top1"].get<double>(),
              expected_top1(texts, folders_, resized), 1e-9);
}

TEST_F(Eval, ClassesOfAList) {
  const json z =
      measured({"--zero-shot", "--classes", write("list", "cat\ta cat\ndog\ta dog\nfox\ta fox\n")});
  EXPECT_EQ(z["images"], 4);
  EXPECT_EQ(z["unlabelled"], 2);  // the owls
  EXPECT_EQ(z["student"]["zero_shot"]["classes"][2]["class"], "a fox");
  EXPECT_TRUE(z["student"]["zero_shot"]["classes"][2]["accuracy"].is_null());
}

TEST_F(Eval, RetrievalByFoldersAndCaptions) {
  const json folders = measured({"--retrieval"})["student"]["retrieval"];
  EXPECT_EQ(folders["image_to_text"]["queries"], 6);
  EXPECT_EQ(folders["image_to_text"]["candidates"], 3);
  EXPECT_EQ(folders["text_to_image"]["queries"], 3);
  EXPECT_NEAR(folders["text_to_image"]["chance_at_1"].get<double>(), (2 + 3 + 1) / 6.0 / 3, 1e-12);
  // With the names of folders as captions, images find their text as they are classified.
  EXPECT_EQ(folders["image_to_text"]["recall_at_1"],
            measured({"--zero-shot"})["student"]["zero_shot"]["top1"]);

  const std::string captions = write("captions.tsv",
                                     "cat/1.png\tfirst cat\ncat/2.png\tsecond cat\n"
                                     "cat/2.png\ta cat\ncat/9.png\tnone\n");
  const json both = measured({"--retrieval", "--zero-shot", "--captions", captions, "--template", "my {}"});
  EXPECT_EQ(both["unknown_captions"], 1);
  EXPECT_EQ(both["student"]["retrieval"]["image_to_text"]["queries"], 2);
  EXPECT_EQ(both["student"]["retrieval"]["text_to_image"]["queries"], 3);
  EXPECT_EQ(both["student"]["zero_shot"]["images"], 6);
}

TEST_F(Eval, ADatasetServesAsWellAsAFolder) {
  expect_done(run({"pack", photos(), "-o", dir_ / "d.h5", "--encoded"}));
  json of_folder = measured({"--zero-shot", "--retrieval"});
  json of_dataset = json_of(run({"eval", student, dir_ / "d.h5", "--device", "cpu", "--zero-shot",
                                 "--retrieval", "--clip", clip(), "--json", "--batch", "4"}));
  of_folder.erase("seconds");
  of_dataset.erase("seconds");
  EXPECT_EQ(of_folder, of_dataset);
}

TEST_F(Eval, StoredTextsServeAsWellAsClip) {
  expect_done(run({"embed", "--text", "dog", "cat", "barn owl", "--clip", clip(), "-o", dir_ / "texts.h5",
                   "--device", "cpu"}));
  json stored = json_of(eval({"--zero-shot", "--texts", dir_ / "texts.h5", "--json"})),
       live = measured({"--zero-shot"});
  stored.erase("seconds");
  live.erase("seconds");
  EXPECT_EQ(stored, live);
}

TEST_F(Eval, ShowsATable) {
  const test::Result r =
      eval({"--zero-shot", "--retrieval", "--clip", clip(), "--teacher", clip(), "--per-class"});
  expect_done(r);
  for (const char* part :
       {"6 images\n", " student      teacher       chance\n", "zero-shot, 6 images of 3 classes\n",
        "\n  top-1 ", "\n    barn owl ", "image to text, 6 queries among 3\n",
        "text to image, 3 queries among 6\n", "\n  recall@10 "})
    EXPECT_NE(r.out.find(part), std::string::npos) << part << "\n" << r.out;
  EXPECT_EQ(r.out.find("top-5"), std::string::npos);
}

TEST_F(Eval, ConceptsThroughClip) {
  // Stored embeddings of concepts are noise; with --clip they come from the names.
  {
    data::DatasetWriter writer(dir_ / "d.h5", data::Dataset::Size{16, 16});
    for (std::uint64_t i = 0; i < 4; ++i)
      writer.add_image(test::noise({16, 16, 3}, i, DType::uint8), "",
                       test::noise({16}, 20 + i, DType::float32));
    data::Concepts c;
    c.names = {"cat", "dog"};
    c.embeddings = test::noise({2, 16}, 30, DType::float32);
    c.image = {0, 1, 2, 3};
    c.concept_index = {0, 1, 0, 1};
    c.boxes = Tensor::from(std::vector<float>{0, 0, 0.5F, 0.5F, 0.5F, 0, 1, 1, 0, 0.5F, 1, 1, 0, 0, 0.25F, 1},
                           {4, 4});
    writer.set_concepts(c);
    writer.finish();
  }
  const auto game = [&](const Arguments& more) {
    Arguments arguments{"eval", student, dir_ / "d.h5", "--device", "cpu", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return json_of(run(arguments));
  };
  const models::Encoder encoder = models::Encoder::load(student);
  const data::Dataset dataset = data::Dataset::open(dir_ / "d.h5");
  const auto expected = [&](const Tensor& embeddings) {
    const data::Concepts c = dataset.concepts().value();
    const std::int64_t grid = encoder.config().grid();
    infer::PointingGame g(embeddings, grid, grid);
    for (std::size_t m = 0; m < 4; ++m) {
      const float* b = c.boxes.data<float>() + 4 * m;
      const infer::LabelledObject object{0, c.concept_index[m], {b[0], b[1], b[2], b[3]}};
      g.add(encoder.embed(dataset.image(c.image[m]).reshape({1, 16, 16, 3})).patches, std::span(&object, 1));
    }
    return g.result().accuracy();
  };
  const json stored = game({}), through_clip = game({"--clip", clip(), "--template", "a {}"});
  EXPECT_EQ(stored["pointing_game"], expected(dataset.concepts()->embeddings));
  EXPECT_EQ(through_clip["pointing_game"],
            expected(models::TextEncoder::load(clip()).embed_prompts({"cat", "dog"}, {"a {}"}).units));
  EXPECT_NE(stored["segmentation"]["concepts"], through_clip["segmentation"]["concepts"]);
  EXPECT_EQ(stored["loss"], through_clip["loss"]);
}

TEST_F(Eval, ProblemsAreOneLine) {
  const auto fails = [&](const Arguments& more, const std::string& message) {
    expect_failure(eval(more), 2, message);
  };
  fails({"--zero-shot"}, "--zero-shot and --retrieval need CLIP's weights; name them with --clip");
  fails({"--classes", "x"},
        "--classes: are texts of concepts, which need CLIP's weights; name them with --clip");
  fails({"--teacher-transform", "clip"}, "--teacher-transform: needs --zero-shot or --retrieval");
  fails({"--template", "a {}"}, "templates and a vocabulary are for CLIP's weights; name them with --clip");
  fails({"--zero-shot", "--clip", clip(), "--loss-norm", "1"},
        "--loss-norm: is for measuring on a dataset's embeddings, not with --zero-shot or --retrieval");
  fails({"--zero-shot", "--clip", clip(), "--captions", "x"}, "--captions: are for --retrieval; add it");
  const std::string captions = write("c.tsv", "cat/1.png\ta cat\n"), list = write("l", "a\nb\nc\n");
  fails({"--retrieval", "--clip", clip(), "--captions", captions, "--classes", list},
        "--classes: are for --zero-shot, or for --retrieval without --captions");
  fails({"--retrieval", "--clip", clip(), "--captions", captions, "--template", "a {}"},
        "--template: is for the names of classes; captions are taken as they are");
  fails({"--zero-shot", "--clip", clip(), "--template", "no place"},
        "template 'no place': has no {}, the place of the prompt; write one, as in \"a photo of a {}\"");
  expect_failure(
      run({"eval", student, photos() + "/cat", "--zero-shot", "--clip", clip(), "--device", "cpu"}), 2,
      photos() +
          "/cat: no image lies in a folder that could name its class; sort the images into one "
          "folder a class");
  test::write_tiny_clip(dir_ / "wide", 24);
  fails({"--zero-shot", "--clip", dir_ / "wide"},
        "the text embeddings are 24 wide, those of the student 16; they must share a teacher");
  fails({"--zero-shot", "--clip", clip(), "--teacher", dir_ / "wide"},
        "the text embeddings are 16 wide, those of the teacher 24; they must share a teacher");
}

}  // namespace
}  // namespace vitral
