// Captions: in dataset files, beside images, and in files of their own.
#include "data/captions.h"

#include <fstream>

#include <gtest/gtest.h>

#include "data/dataset.h"
#include "data/dataset_writer.h"
#include "data/hdf5/file.h"
#include "data/images/image.h"
#include "data/pack.h"
#include "tests/noise.h"
#include "tests/support.h"

namespace vitral::data {
namespace {

using test::message_of;
using test::put_file;
using test::TempDir;
namespace fs = std::filesystem;
using Texts = std::vector<std::string>;

void write_images(H5File& file, std::int64_t count) {
  file.write("/images", Tensor::zeros({count, 2, 2, 3}, DType::uint8), 1);
}

TEST(DatasetCaptions, AreKeptInTheirOrderAndReadByRow) {
  const TempDir dir;
  const std::vector<Texts> all{{}, {"a cat", "größe"}, {}, {"one"}, {}};
  {
    DatasetWriter w(dir / "a.h5", DatasetWriter::Size{2, 2});
    for (const Texts& captions : all) {
      w.add_image(Tensor::zeros({2, 2, 3}, DType::uint8));
      w.add_captions(captions);
    }
    w.finish();
  }
  {
    DatasetWriter w(dir / "one.h5", DatasetWriter::Size{2, 2});
    w.add_image(Tensor::zeros({2, 2, 3}, DType::uint8));
    w.add_captions({"alone"});
    w.finish();
  }
  {
    H5File f = H5File::create(dir / "none.h5");
    write_images(f, 2);
    f.close();
  }
  EXPECT_EQ(H5File::open(dir / "a.h5").shape("/captions"), (Shape{5, 2}));
  EXPECT_EQ(H5File::open(dir / "one.h5").shape("/captions"), (Shape{1}));
  EXPECT_FALSE(Dataset::open(dir / "none.h5").has_captions());
  // C differs between the files, and one has none.
  const Dataset d = Dataset::open({dir / "none.h5", dir / "a.h5", dir / "one.h5"});
  EXPECT_TRUE(d.has_captions());
  EXPECT_EQ(d.captions(1), Texts{});
  for (std::size_t i = 0; i < all.size(); ++i)
    EXPECT_EQ(d.captions(static_cast<std::int64_t>(i) + 2), all[i]);
  EXPECT_EQ(d.captions(7), Texts{"alone"});
  EXPECT_THROW(d.captions(8), UsageError);
  EXPECT_NE(d.description().find("captions: up to 2 of each image\n"), std::string::npos) << d.description();
}

TEST(DatasetCaptions, ABlankOneIsNone) {
  const TempDir dir;
  {
    H5File f = H5File::create(dir / "x.h5");
    write_images(f, 2);
    f.write_strings("/captions", {" ", "", "\t\n", " a cat"}, {2, 2});
    f.close();
  }
  const Dataset d = Dataset::open(dir / "x.h5");
  EXPECT_EQ(d.captions(0), Texts{});
  EXPECT_EQ(d.captions(1), Texts{" a cat"});
}

// Written by h5py: tests/reference/make_datasets.py.
TEST(DatasetCaptions, InEveryLayout) {
  const std::vector<Texts> expected{{"a cat", "größe"}, {}, {"x", "y"}, {"one", "two", "three"}, {"last"}};
  for (const std::string layout : {"", "_chunked", "_split", "_gzip", "_fixed"}) {
    SCOPED_TRACE(layout);
    const Dataset d = Dataset::open("tests/golden/layouts_captions" + layout + ".h5");
    ASSERT_EQ(d.size(), 5);
    for (std::int64_t i = 4; i >= 0; --i) EXPECT_EQ(d.captions(i), expected[static_cast<std::size_t>(i)]);
  }
  const Dataset one = Dataset::open("tests/golden/layouts_captions_one.h5");
  EXPECT_EQ(one.captions(3), Texts{"three"});
  EXPECT_EQ(one.captions(0), Texts{});
}

TEST(DatasetCaptions, WhatDoesNotFitIsOneLine) {
  const TempDir dir;
  const auto error = [&](auto&& write) {
    const std::string path = dir / "x.h5";
    {
      H5File f = H5File::create(path);
      write_images(f, 2);
      write(f);
      f.close();
    }
    return message_of([&] { Dataset::open(path); }).substr(path.size());
  };
  EXPECT_EQ(error([](H5File& f) {
              f.write_strings("/captions", {"a", "b", "c"});
            }),
            ": /captions is [3] but there are 2 images; write one row for each, \"\" being no caption");
  EXPECT_EQ(error([](H5File& f) {
              f.write("/captions", Tensor::zeros({2, 3}));
            }),
            ": /captions holds float32 [2, 3]; strings [N] or [N,C] are needed");
  EXPECT_EQ(error([](H5File& f) {
              f.write_strings("/captions", Texts(4), {2, 2, 1});
            }),
            ": /captions holds text [2, 2, 1]; strings [N] or [N,C] are needed");
  EXPECT_EQ(error([](H5File& f) { f.write("/captions/x", Tensor::zeros({2})); }),
            ": /captions is not a dataset");
}

struct Line {
  std::string image, text;
  std::int64_t line;
  bool operator==(const Line&) const = default;
};
std::ostream& operator<<(std::ostream& to, const Line& l) {
  return to << l.line << ": " << l.image << " = " << l.text;
}

class CaptionFiles : public ::testing::Test {
 protected:
  std::vector<Line> read(const std::string& bytes) {
    put_file(dir_ / "c", bytes);
    std::vector<Line> out;
    read_caption_file(dir_ / "c", [&](const NamedCaption& c) { out.push_back({c.image, c.text, c.line}); });
    return out;
  }
  std::string problem(const std::string& bytes) {
    return message_of([&] { read(bytes); }).substr((dir_ / "c").size());
  }

  TempDir dir_;
};

TEST_F(CaptionFiles, OfEveryForm) {
  const std::vector<Line> two{{"a.png", "one, two", 1}, {"b/c.png", "a \"red\" cat", 3}};
  EXPECT_EQ(read("a.png\tone, two\r\n\r\nb/c.png\ta \"red\" cat"), two);
  const auto from = [&](std::int64_t first, std::int64_t second) {
    auto lines = two;
    lines[0].line = first, lines[1].line = second;
    return lines;
  };
  EXPECT_EQ(read("filepath\ttitle\na.png\tone, two\nb/c.png\t\"a \"\"red\"\" cat\"\n"), from(2, 3));
  EXPECT_EQ(read("id,title,filepath\n1,\"one, two\",a.png\n\n2,\"a \"\"red\"\" cat\",b/c.png"), from(2, 4));
  EXPECT_EQ(read("image,caption\na.png,\"line one\nline two\"\nb.png,x\n"),
            (std::vector<Line>{{"a.png", "line one\nline two", 2}, {"b.png", "x", 4}}));
  EXPECT_EQ(read("{\"name\": \"a.png\", \"caption\": \"one, two\"}\n{\"name\": \"b/c.png\", \"captions\": "
                 "[\"a \\\"red\\\" cat\"]}"),
            from(1, 2));
  const std::string coco = R"({"info": {"year": 1, "x": [{"id": 3}]},
    "annotations": [{"image_id": 7, "id": 1, "caption": "one, two"}, {"image_id": 9, "id": 2, "caption": "a \"red\" cat"}],
    "images": [{"id": 7, "file_name": "a.png"}, {"id": 9, "coco_url": "http://x/c.png"}, {"id": 8, "file_name": "x"}]})";
  for (const char* mark : {"", "\xEF\xBB\xBF", "\xEF\xBB\xBF \n"})
    EXPECT_EQ(read(mark + coco),
              (std::vector<Line>{{"a.png", "one, two", 0}, {"c.png", "a \"red\" cat", 0}}));
}

TEST_F(CaptionFiles, ProblemsNameTheLine) {
  EXPECT_EQ(problem("a.png\tx\n\nb.png y\n"),
            ":3: has no tab; write the image's name, a tab and the caption");
  EXPECT_EQ(problem(" \n"), ": holds no captions; write lines of an image's name, a tab and a caption");
  EXPECT_EQ(problem("filepath,title\n"),
            ": holds no captions; write lines of an image's name, a tab and a caption");
  EXPECT_EQ(problem("filepath,title\na.png,x\nb.png,x,y\n"),
            ":3: has 3 columns, but the header has 2; put quotes around a text with commas");
  EXPECT_EQ(problem("a.png\t" + std::string(longest_caption + 1, 'x')),
            ":1: the caption of a.png is 65537 bytes long; at most 65536 are taken");
  EXPECT_NE(problem("a.png\tx\nb.png\t\xff\n").find(":2: "), std::string::npos);
  EXPECT_EQ(problem("{\"name\": \"a\"}"),
            R"(:1: is not {"name": "...", "caption": "..."}, nor "captions": [...])");
}

TEST_F(CaptionFiles, ProblemsOfCoco) {
  const std::string images = R"({"images": [{"id": 7, "file_name": "a.png"}], "annotations": [)";
  EXPECT_EQ(problem(images), ": ends early, after 62 bytes: it is cut off; copy it again");
  EXPECT_EQ(problem(images + "]}"),
            ": has no annotations; a captions file of COCO has images and annotations");
  EXPECT_EQ(problem(images + R"({"image_id": 7, "bbox": [1, 2, 3, 4]}]})"),
            ": annotation number 1 has no caption; a captions file of COCO is needed");
  EXPECT_EQ(problem(images + R"({"caption": "x"}]})"),
            ": annotation number 1 has no image_id; a captions file of COCO is needed");
  EXPECT_EQ(problem(images + R"({"image_id": 8, "caption": "x"}]})"),
            ": the caption 'x' is of image_id 8, which is not among the images");
  EXPECT_EQ(problem(images + R"({"image_id": 7.5, "caption": "x"}]})"),
            ": image_id is 7.5; a whole number is needed");
  EXPECT_EQ(problem(R"({"images": [{"id": 7}], "annotations": []})"), ": image number 1 has no file_name");
  EXPECT_EQ(problem(images + "x  "), ": is no valid JSON at byte 63; write it again");
}

// in/cats/{0,1}.png, in/dogs/{1,2}.png
class PackCaptions : public ::testing::Test {
 protected:
  PackCaptions() {
    for (const char* name : {"cats/0", "cats/1", "dogs/1", "dogs/2"}) {
      const std::string path = dir_ / ("in/" + std::string(name) + ".png");
      fs::create_directories(fs::path(path).parent_path());
      write_png(path, test::noise_image(6, 7, 1));
    }
    options_.inputs = {dir_ / "in"};
    options_.output = dir_ / "out.h5";
    options_.size = 4;
    options_.force = true;
  }
  std::string table(const std::string& text) {
    put_file(dir_ / "c.tsv", text);
    return dir_ / "c.tsv";
  }
  std::vector<Texts> packed() {
    summary_ = pack(options_);
    const Dataset d = Dataset::open(options_.output);
    std::vector<Texts> out;
    for (std::int64_t i = 0; i < d.size(); ++i) out.push_back(d.captions(i));
    return out;
  }
  std::string problem(const std::string& text) {
    options_.captions = table(text);
    return message_of([&] { pack(options_); }).substr((dir_ / "c.tsv").size());
  }

  TempDir dir_;
  PackOptions options_;
  PackSummary summary_;
};

TEST_F(PackCaptions, ByNameByPathAndByLastPart) {
  options_.captions = table("cats/0.png\ta cat \ncats/0.png\t the cat\n" + (dir_ / "in/dogs/1.png") +
                            "\ta dog\n2.png\ttwo\ndogs/2.png\t \n");
  put_file(dir_ / "in/cats/1.txt", "not taken");
  EXPECT_EQ(packed(), (std::vector<Texts>{{"a cat", "the cat"}, {}, {"a dog"}, {"two"}}));
  EXPECT_EQ(summary_.captions, 4);
  EXPECT_EQ(summary_.captioned, 3);
  // Captions of images that --limit leaves out are none of nothing.
  options_.limits = {{"dogs/*", 0}};
  EXPECT_EQ(packed(), (std::vector<Texts>{{"a cat", "the cat"}, {}}));
}

TEST_F(PackCaptions, NamesOfNoImageAndOfSeveral) {
  EXPECT_EQ(problem("cats/0.png\tx\nbirds/1.png\tx\nbirds/1.png\ty\nbirds/2.png\tx\n"),
            ":2: 2 of its names are of no image that is packed, the first birds/1.png; images are called "
            "cats/0.png and the like");
  EXPECT_EQ(
      problem("3.png\tx\n"),
      ":1: 1 of its names is of no image that is packed, the first 3.png; images are called cats/0.png and "
      "the like");
  EXPECT_EQ(problem("1.png\tx\n"), ":1: several images are called 1.png; name them as cats/0.png");
  std::string many;
  for (std::size_t i = 0; i <= most_captions; ++i) many += "2.png\tx\n";
  EXPECT_EQ(problem(many), ":65: 2.png has more than 64 captions; leave some out");
  EXPECT_FALSE(fs::exists(dir_ / "out.h5"));
}

TEST_F(PackCaptions, LinesOfATextBesideTheImage) {
  put_file(dir_ / "in/cats/1.txt", "\xef\xbb\xbf one \r\n\r\n\ttwo\r\n");
  put_file(dir_ / "in/dogs/2.txt", "");
  put_file(dir_ / "in/dogs/notes.txt", "of no image");
  EXPECT_EQ(packed(), (std::vector<Texts>{{}, {"one", "two"}, {}, {}}));
  EXPECT_EQ(summary_.left_out, (LeftOut{{".txt", 1}}));
  EXPECT_EQ(summary_.captioned, 1);
  options_.inputs = {dir_ / "in/cats/1.png"};  // a file of its own, too
  EXPECT_EQ(packed(), (std::vector<Texts>{{"one", "two"}}));
}

TEST_F(PackCaptions, OfATextThatCannotBeReadTheImageIsListed) {
  put_file(dir_ / "in/cats/1.txt", "fine\n\xff\n");
  put_file(dir_ / "in/dogs/2.txt", std::string(longest_caption + 1, 'x'));
  EXPECT_EQ(packed().size(), 2U);
  ASSERT_EQ(summary_.skipped.size(), 2U);
  EXPECT_TRUE(summary_.skipped[0].reason.starts_with((dir_ / "in/cats/1.txt") + ":2: "))
      << summary_.skipped[0].reason;
  EXPECT_EQ(summary_.skipped[1].reason, "dogs/2.png: has a caption of 65537 bytes; at most 65536 are stored");
}

}  // namespace
}  // namespace vitral::data
