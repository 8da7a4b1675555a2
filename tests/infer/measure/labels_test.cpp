#include "infer/measure/labels.h"

#include <fstream>

#include <gtest/gtest.h>

#include "tests/support.h"

namespace vitral::infer {
namespace {

using test::message_of;
using Names = std::vector<std::string>;
using Numbers = std::vector<std::int64_t>;

const Names images{"b_owl/1.jpg", "a/x/cat/2.jpg", "3.jpg", "b_owl/4.jpg", "a/x/cat/5.jpg"};

class Labels : public testing::Test {
 protected:
  std::string write(const std::string& text) {
    const std::string path = dir_ / "list";
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
  test::TempDir dir_;
};

TEST_F(Labels, OfFolders) {
  const ClassLabels c = classes_of_folders(images, "photos");
  EXPECT_EQ(c.names, (Names{"b owl", "cat"}));
  EXPECT_EQ(c.label, (Numbers{0, 1, -1, 0, 1}));
  EXPECT_EQ(c.labelled(), 4);
  EXPECT_EQ(classes_of_folders({"/x.jpg", "a_b/1.jpg", "a b/2.jpg"}, "").label, (Numbers{-1, 0, 0}));
  EXPECT_EQ(
      message_of([] {
        classes_of_folders({"1.jpg", "2.jpg"}, "photos");
      }),
      "photos: no image lies in a folder that could name its class; sort the images into one folder a class");
}

TEST_F(Labels, OfAListInTheOrderOfFolders) {
  const ClassLabels c = classes_of_list(images, write("barn owl\r\n\n tabby\n"), "photos");
  EXPECT_EQ(c.names, (Names{"barn owl", " tabby"}));
  EXPECT_EQ(c.label, (Numbers{0, 1, -1, 0, 1}));
  const std::string three = write("a\nb\nc\n");
  EXPECT_EQ(
      message_of([&] { classes_of_list(images, three, "photos"); }),
      three + ": has 3 names for the 2 folders of photos; write one for each, or lines folder<TAB>name");
}

TEST_F(Labels, OfAListWithFolders) {
  const ClassLabels c = classes_of_list(images, write("dog\ta dog\ncat\ta cat\nlion\ta cat\n"), "photos");
  EXPECT_EQ(c.names, (Names{"a dog", "a cat"}));  // a dog is in no image, but may be mistaken for one
  EXPECT_EQ(c.label, (Numbers{-1, 1, -1, -1, 1}));
  const auto problem = [&](const std::string& text) {
    const std::string path = write(text);
    return message_of([&] { classes_of_list(images, path, "photos"); }).substr(path.size());
  };
  EXPECT_EQ(problem("cat\ta cat\ndog\n"), ":2: has no tab, but line 1 has one; write all lines alike");
  EXPECT_EQ(problem("cat\n\ndog\ta dog\n"), ":3: has a tab, but line 1 has none; write all lines alike");
  EXPECT_EQ(problem("cat\ta cat\ncat\tthe cat\n"), ":2: names folder 'cat' again");
  EXPECT_EQ(problem("cat\t \n"), ":1: has no name behind the tab");
  EXPECT_EQ(problem("dog\ta dog\n"), ": none of its folders holds an image of photos; the first is 'dog'");
  EXPECT_EQ(problem(" \n"), ": holds no lines; write one entry a line");
}

TEST_F(Labels, FoldersThatAreNumbersInTheirOrder) {
  Names numbers, names;
  std::string list;
  for (int i = 0; i < 12; ++i) {
    numbers.push_back(fmt::format("{}{}/x.jpg", i == 3 ? "00" : "", i));
    names.push_back(fmt::format("number {}", i));
    list += names.back() + "\n";
  }
  const ClassLabels c = classes_of_list(numbers, write(list), "photos");
  EXPECT_EQ(c.names, names);
  EXPECT_EQ(c.label, (Numbers{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}));
  EXPECT_EQ(c.folders[3], Names{"003"});
  EXPECT_EQ(c.folders[10], Names{"10"});
  EXPECT_EQ(classes_of_folders({"10/x.jpg", "9/x.jpg"}, "").names, (Names{"9", "10"}));
  EXPECT_EQ(classes_of_folders({"10/x.jpg", "9/x.jpg", "a/x.jpg"}, "").names, (Names{"10", "9", "a"}));
}

TEST_F(Labels, OfNamesThatAreNotUniqueAreRefused) {
  const std::string path = write("x.png\ta dog\n");
  EXPECT_EQ(message_of([&] {
              read_captions({"x.png", "x.png"}, path);
            }),
            path +
                ":1: 2 images are called x.png; a caption needs a unique name, as vitral pack and folders "
                "give them");
}

TEST_F(Labels, CaptionsFromATable) {
  const Captions c = read_captions(
      images, write("3.jpg\tsomething\nb_owl/1.jpg\tan owl\nb_owl/4.jpg\tan owl\nb_owl/4.jpg\ta\tbird\n"
                    "nowhere.jpg\tnothing\nb_owl/4.jpg\tan owl\n"));
  EXPECT_EQ(c.texts, (Names{"something", "an owl", "a\tbird"}));
  EXPECT_EQ(c.of_image, (std::vector<Numbers>{{1}, {}, {0}, {1, 2}, {}}));
  EXPECT_EQ(c.unknown, 1);
}

TEST_F(Labels, CaptionsFromJson) {
  const Captions c = read_captions(images, write(R"({"name": "3.jpg", "caption": "something"}
{"name": "b_owl/4.jpg", "captions": ["an \"owl\"", "something"]}
)"));
  EXPECT_EQ(c.texts, (Names{"something", "an \"owl\""}));
  EXPECT_EQ(c.of_image, (std::vector<Numbers>{{}, {}, {0}, {1, 0}, {}}));
}

TEST_F(Labels, CaptionProblemsNameTheLine) {
  const auto problem = [&](const std::string& text) {
    const std::string path = write(text);
    return message_of([&] { read_captions(images, path); }).substr(path.size());
  };
  EXPECT_EQ(problem("3.jpg\ta\n\n4.jpg b\n"),
            ":3: has no tab; write the image's name, a tab and the caption");
  EXPECT_EQ(problem("3.jpg\t \n"), ":1: the caption of 3.jpg is empty");
  for (const char* line : {"{", "{\"name\": 3, \"caption\": \"a\"}", "{\"name\": \"a\", \"captions\": [1]}"})
    EXPECT_EQ(problem(line), R"(:1: is not {"name": "...", "caption": "..."}, nor "captions": [...])");
  EXPECT_EQ(problem("9.jpg\tnine\n"),
            ": none of its names is that of an image, which are called 'b_owl/1.jpg' and the like");
}

TEST_F(Labels, CaptionsOfClasses) {
  const Captions c = captions_of_classes(classes_of_folders(images, "photos"));
  EXPECT_EQ(c.texts, (Names{"b owl", "cat"}));
  EXPECT_EQ(c.of_image, (std::vector<Numbers>{{0}, {1}, {}, {0}, {1}}));
}

}  // namespace
}  // namespace vitral::infer
