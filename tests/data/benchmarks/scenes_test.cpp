#include "data/benchmarks/scenes.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>
#include <set>

#include <gtest/gtest.h>
#include <omp.h>

#include "data/benchmarks/scene_captions.h"
#include "data/dataset.h"
#include "data/hdf5/file.h"
#include "data/images/image.h"
#include "tests/noise.h"
#include "tests/support.h"

namespace vitral::data {
namespace {

using test::message_of;
using test::put_file;
using test::TempDir;
namespace fs = std::filesystem;

const std::string package = "the package fonts-noto-color-emoji has one";

bool is_letter(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; }

// The concepts that a caption names, the longest names first ("a maple leaf" is no "leaf").
std::multiset<std::int64_t> named_in(std::string caption) {
  std::vector<std::int64_t> order;
  for (std::size_t k = 0; k < emoji_classes().size(); ++k) order.push_back(static_cast<std::int64_t>(k));
  const auto phrase = [](std::int64_t k) { return emoji_classes()[static_cast<std::size_t>(k)].phrase; };
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return phrase(a).size() > phrase(b).size(); });
  std::multiset<std::int64_t> found;
  for (const std::int64_t k : order) {
    const std::string text(phrase(k));
    for (std::size_t at = caption.find(text); at != std::string::npos; at = caption.find(text, at + 1)) {
      const std::size_t end = at + text.size();
      if ((at > 0 && is_letter(caption[at - 1])) || (end < caption.size() && is_letter(caption[end])))
        continue;
      caption.replace(at, text.size(), text.size(), '.');
      found.insert(k);
    }
  }
  return found;
}

TEST(EmojiClasses, HaveNamesOfTheirOwnAndTheirArticles) {
  const auto classes = emoji_classes();
  EXPECT_EQ(classes.size(), 140U);
  // By the sound and not by the letter; not counted; in s without being many.
  const std::set<std::string_view> an{"hourglass"}, a{"unicorn", "UFO"}, none{"corn", "broccoli"},
      one{"cactus",          "octopus",          "bus",       "dress",
          "bunch of grapes", "pair of scissors", "hourglass", "magnifying glass"};
  std::set<char32_t> codes;
  std::set<std::string_view> names;
  for (const EmojiClass& c : classes) {
    EXPECT_TRUE(codes.insert(c.code).second) << c.phrase;
    EXPECT_TRUE(names.insert(c.name()).second) << c.phrase;
    const bool vowel = std::string_view("aeiouAEIOU").find(c.name().front()) != std::string_view::npos;
    const std::string article = none.contains(c.name())                                     ? ""
                                : (vowel && !a.contains(c.name())) || an.contains(c.name()) ? "an "
                                                                                            : "a ";
    EXPECT_EQ(c.phrase, article + std::string(c.name()));
    EXPECT_TRUE(c.name().back() != 's' || one.contains(c.name())) << c.phrase << " needs other verbs";
  }
}

TEST(SceneCaptions, NameTheirObjectsInDifferentWordings) {
  std::set<std::string> wordings;
  for (int i = 0; i < 300; ++i) {
    Random random(7, i);
    const auto all = scene_captions(random, {"an apple", "corn", "a UFO"}, 3);
    ASSERT_EQ(all.size(), 3U);
    std::set<std::string> here;
    for (const std::string& caption : all) {
      EXPECT_EQ(named_in(caption).size(), 3U) << caption;
      here.insert(caption.substr(
          0, std::min({caption.find("an apple"), caption.find("corn"), caption.find("a UFO")})));
    }
    EXPECT_EQ(here.size(), 3U);
    wordings.insert(here.begin(), here.end());
  }
  EXPECT_EQ(static_cast<int>(wordings.size()), scene_wordings());
  EXPECT_GE(scene_wordings(), 8);
  std::set<std::string> orders;
  for (int i = 0; i < 300; ++i) {
    Random random(8, i);
    const std::string caption = scene_captions(random, {"an owl", "a fox"}, 1).front();
    orders.insert(caption.substr(std::min(caption.find("an owl"), caption.find("a fox"))));
  }
  for (const char* text :
       {"an owl and a fox", "a fox and an owl", "a fox next to an owl", "an owl with a fox"})
    EXPECT_TRUE(orders.contains(text)) << text;
  Random random(0);
  EXPECT_THROW(scene_captions(random, {"an owl"}, scene_wordings() + 1), UsageError);
}

class ScenesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    try {
      font_ = find_emoji_font();
    } catch (const UsageError& e) {
      GTEST_SKIP() << e.what();
    }
  }
  std::string font_;
  TempDir dir_;
};

TEST_F(ScenesTest, ObjectsLieInsideAndApart) {
  const Scenes scenes;
  std::map<std::size_t, int> by_count;
  std::set<std::int64_t> concepts;
  int mirrored = 0, objects = 0;
  constexpr int count = 900;
  for (int i = 0; i < count; ++i) {
    const Scene scene = scenes.make(0, Split::train, i);
    ASSERT_EQ(scene.image.shape(), (Shape{96, 96, 3}));
    ++by_count[scene.objects.size()];
    for (std::size_t k = 0; k < scene.objects.size(); ++k) {
      const SceneObject& o = scene.objects[k];
      concepts.insert(o.concept_index);
      mirrored += o.mirrored ? 1 : 0;
      ++objects;
      EXPECT_TRUE(o.height >= 24 && o.height <= 42) << o.height;
      EXPECT_TRUE(o.width >= 8 && o.x >= 0 && o.y >= 0 && o.x + o.width <= 96 && o.y + o.height <= 96);
      for (std::size_t j = 0; j < k; ++j) {
        const SceneObject& p = scene.objects[j];
        EXPECT_NE(o.concept_index, p.concept_index);
        const int w = std::min(o.x + o.width, p.x + p.width) - std::max(o.x, p.x),
                  h = std::min(o.y + o.height, p.y + p.height) - std::max(o.y, p.y);
        if (w > 0 && h > 0) {
          EXPECT_LE(w * h, 0.2 * std::min(o.width * o.height, p.width * p.height));
        }
      }
    }
  }
  for (const std::size_t n : {1, 2, 3}) EXPECT_NEAR(by_count[n], count / 3, count / 15) << n;
  EXPECT_EQ(concepts.size(), emoji_classes().size());
  EXPECT_NEAR(mirrored, objects / 2, objects / 15);
}

TEST_F(ScenesTest, CaptionsNameExactlyWhatIsThere) {
  const Scenes scenes;
  for (int i = 0; i < 300; ++i) {
    const Scene scene = scenes.make(3, Split::val, i);
    std::multiset<std::int64_t> there;
    for (const SceneObject& o : scene.objects) there.insert(o.concept_index);
    ASSERT_EQ(scene.captions.size(), 3U);
    EXPECT_EQ(std::set(scene.captions.begin(), scene.captions.end()).size(), 3U);
    for (const std::string& caption : scene.captions) EXPECT_EQ(named_in(caption), there) << caption;
  }
}

// What a box says is where the picture differs from its background.
TEST_F(ScenesTest, BoxesHoldWhatIsPainted) {
  const auto pictures = draw_emoji(font_);
  ASSERT_EQ(pictures.size(), emoji_classes().size());
  for (std::size_t k = 0; k < pictures.size(); ++k) {
    const Tensor& alpha = pictures[k].alpha;
    const std::int64_t h = alpha.dim(0), w = alpha.dim(1);
    const auto seen = [&](std::int64_t y, std::int64_t x) {
      return alpha.data<std::uint8_t>()[(y * w + x) * 3] >= 16;
    };
    bool top = false, bottom = false, left = false, right = false;
    for (std::int64_t x = 0; x < w; ++x) top = top || seen(0, x), bottom = bottom || seen(h - 1, x);
    for (std::int64_t y = 0; y < h; ++y) left = left || seen(y, 0), right = right || seen(y, w - 1);
    EXPECT_TRUE(top && bottom && left && right) << emoji_classes()[k].phrase;
    for (std::int64_t i = 0; i < alpha.numel(); ++i)
      ASSERT_LE(pictures[k].colour.data<std::uint8_t>()[i], alpha.data<std::uint8_t>()[i]);
  }
}

TEST_F(ScenesTest, AreAPureFunctionOfTheirArguments) {
  const Scenes scenes, again;
  const Scene a = scenes.make(3, Split::train, 17), b = again.make(3, Split::train, 17);
  EXPECT_EQ(a.image.to_vector(), b.image.to_vector());
  EXPECT_EQ(a.captions, b.captions);
  for (const Scene& other :
       {scenes.make(4, Split::train, 17), scenes.make(3, Split::val, 17), scenes.make(3, Split::train, 18)})
    EXPECT_NE(a.image.to_vector(), other.image.to_vector());
}

TEST_F(ScenesTest, FilesAreTheSameForAnyNumberOfThreads) {
  const Scenes scenes;
  const int before = omp_get_max_threads();
  for (const int threads : {1, 2}) {
    omp_set_num_threads(threads);
    write_scenes(dir_ / fmt::format("{}.h5", threads), scenes, 30, 5, Split::val);
  }
  omp_set_num_threads(before);
  EXPECT_TRUE(test::bytes_of_file(dir_ / "1.h5") == test::bytes_of_file(dir_ / "2.h5"));
  const Dataset d = Dataset::open(dir_ / "1.h5");
  ASSERT_EQ(d.size(), 30);
  EXPECT_EQ(H5File::open(dir_ / "1.h5").shape("/captions"), (Shape{30, 3}));
  EXPECT_EQ(d.width(), 0);
  const Concepts concepts = d.concepts().value();
  EXPECT_EQ(concepts.names, scene_concepts());
  EXPECT_FALSE(concepts.embeddings.defined());
  const Scene scene = scenes.make(5, Split::val, 29);
  EXPECT_EQ(d.image(29).to_vector(), scene.image.to_vector());
  EXPECT_EQ(d.captions(29), scene.captions);
  EXPECT_EQ(concepts.image.back(), 29);
  EXPECT_EQ(concepts.concept_index.back(), scene.objects.back().concept_index);
  const auto box = scene.objects.back().box();
  for (std::size_t k = 0; k < 4; ++k)
    EXPECT_EQ(concepts.boxes.data<float>()[concepts.boxes.numel() - 4 + static_cast<std::int64_t>(k)],
              box[k]);
}

TEST_F(ScenesTest, PhotographsAreBackgroundsAlone) {
  fs::create_directories(dir_ / "photos");
  write_png(dir_ / "photos/a.png", test::noise_image(300, 400, 1));
  write_png(dir_ / "photos/small.png", test::noise_image(20, 7, 2));
  put_file(dir_ / "photos/broken.png", "no image");
  const Scenes scenes(font_, dir_ / "photos"), plain;
  EXPECT_EQ(scenes.photographs(), 2);
  ASSERT_EQ(scenes.skipped().size(), 1U);
  EXPECT_EQ(scenes.skipped()[0].name, "broken.png");
  for (int i = 0; i < 20; ++i) {
    const Scene a = scenes.make(1, Split::train, i), b = plain.make(1, Split::train, i);
    EXPECT_EQ(a.captions, b.captions);
    ASSERT_EQ(a.objects.size(), b.objects.size());
    EXPECT_EQ(a.objects.back().box(), b.objects.back().box());
    EXPECT_NE(a.image.to_vector(), b.image.to_vector());
  }
  fs::create_directories(dir_ / "empty");
  EXPECT_EQ(message_of([&] { Scenes(font_, dir_ / "empty"); }),
            (dir_ / "empty") + ": has no images to be backgrounds; name a folder of photographs");
  fs::remove(dir_ / "photos/a.png");
  fs::remove(dir_ / "photos/small.png");
  EXPECT_EQ(message_of([&] {
              Scenes(font_, dir_ / "photos");
            }).find((dir_ / "photos") + ": none of its images can be read: "),
            0U);
  EXPECT_EQ(message_of([&] { Scenes(font_, dir_ / "none"); }), (dir_ / "none") + ": no such file or folder");
}

// A font of one black letter.
constexpr const char* black_font =
    "STARTFONT 2.1\nFONT -x-x-medium-r-normal--8-80-75-75-c-80-iso10646-1\nSIZE 8 75 75\n"
    "FONTBOUNDINGBOX 8 2 0 0\nSTARTPROPERTIES 2\nFONT_ASCENT 8\nFONT_DESCENT 0\nENDPROPERTIES\nCHARS 1\n"
    "STARTCHAR A\nENCODING 65\nSWIDTH 500 0\nDWIDTH 8 0\nBBX 8 2 0 0\nBITMAP\nFF\nFF\nENDCHAR\nENDFONT\n";

TEST(SceneFonts, ThatWillNotDo) {
  const TempDir dir;
  EXPECT_EQ(message_of([&] { Scenes(dir / "none.ttf"); }), (dir / "none.ttf") + ": no such file");
  put_file(dir / "text.ttf", "no font");
  EXPECT_EQ(message_of([&] { Scenes(dir / "text.ttf"); }),
            (dir / "text.ttf") + ": cannot be read as a font; name a TrueType or OpenType file");
  put_file(dir / "black.bdf", black_font);
  EXPECT_EQ(message_of([&] { Scenes(dir / "black.bdf"); }),
            (dir / "black.bdf") + ": is a font without bitmaps in colour; " + package);
}

// The font without its apple: the group of characters that begins before it ends there (OpenType, cmap 12).
TEST_F(ScenesTest, AClassThatTheFontLacksIsNamed) {
  std::string font = test::bytes_of_file(font_);
  const auto number = [&](std::size_t at, std::size_t bytes) {
    std::size_t value = 0;
    for (std::size_t k = 0; k < bytes; ++k) value = value << 8 | static_cast<unsigned char>(font[at + k]);
    return value;
  };
  constexpr std::size_t apple = 0x1F34E;
  const std::size_t cmap = number(font.find("cmap") + 8, 4);
  for (std::size_t k = 0; k < number(cmap + 2, 2); ++k) {
    const std::size_t table = cmap + number(cmap + 8 + 8 * k, 4);
    if (number(table, 2) != 12) continue;
    for (std::size_t group = table + 16; group < table + number(table + 4, 4); group += 12)
      if (number(group, 4) <= apple && number(group + 4, 4) >= apple)
        font.replace(group + 4, 4, std::string("\0\1\xF3\x4D", 4));
  }
  put_file(dir_ / "x.ttf", font);
  EXPECT_EQ(message_of([&] { Scenes(dir_ / "x.ttf"); }),
            (dir_ / "x.ttf") + ": has no picture in colour of an apple (U+1F34E, \U0001F34E); " + package);
}

}  // namespace
}  // namespace vitral::data
