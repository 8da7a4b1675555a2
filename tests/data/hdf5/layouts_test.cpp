// Every layout that a dataset may have reads to the same values; tests/reference/make_datasets.py wrote them.
#include <fstream>
#include <iterator>

#include <gtest/gtest.h>

#include "base/random.h"
#include "data/dataset.h"
#include "tests/support.h"

namespace vitral::data {
namespace {

using test::bytes_of_file;
using test::message_of;
using test::put_file;
using test::TempDir;

constexpr std::int64_t N = 5, H = 4, W = 6, D = 7;

std::string golden(const std::string& name) { return "tests/golden/layouts_" + name + ".h5"; }

struct Layout {
  const char* name;
  const char* images;      // what description() says
  const char* embeddings;  // likewise
};

const Layout layouts[] = {
    {"contiguous", "contiguous, read directly", "float32 [5, 7], contiguous, read directly"},
    {"chunked", "chunks of 1 row, read directly", "float32 [5, 7], chunks of 2 rows, read directly"},
    {"rows", "chunks of 2 rows, read directly", "float16 [5, 7], chunks of 3 rows, read directly"},
    {"split", "chunks of 1 row, read through the HDF5 library: chunks that do not hold whole rows",
     "float64 [5, 7], chunks of 2 rows, read through the HDF5 library: chunks that do not hold whole rows"},
    {"gzip", "chunks of 1 row, read through the HDF5 library: compressed or filtered chunks",
     "float64 [5, 7], chunks of 5 rows, read through the HDF5 library: compressed or filtered chunks"},
    {"big_endian", "contiguous, read directly",
     "float32 [5, 7], contiguous, read through the HDF5 library: numbers in a foreign format"},
    {"float64", "contiguous, read directly", "float64 [5, 7], contiguous, read directly"},
    {"latest", "chunks of 1 row, read directly", "float32 [5, 7], chunks of 1 row, read directly"},
    {"single_chunk", "chunks of 5 rows, read directly", "float32 [5, 7], chunks of 5 rows, read directly"},
    {"userblock", "chunks of 1 row, read directly", "float32 [5, 7], contiguous, read directly"},
    {"compact", "compact, read through the HDF5 library: compact storage",
     "float32 [5, 7], compact, read through the HDF5 library: compact storage"},
    {"flat", "flat, contiguous, read directly", "float32 [5, 7], contiguous, read directly"},
    {"flat_chunked", "flat, chunks of 50 rows, read directly", "float32 [5, 7], contiguous, read directly"},
    {"flat_gzip", "flat, chunks of 64 rows, read through the HDF5 library: compressed or filtered chunks",
     "float32 [5, 7], contiguous, read directly"},
    {"vlen", "variable-length, contiguous, resolved and read directly",
     "float32 [5, 7], contiguous, read directly"},
    {"vlen_chunked", "variable-length, chunks of 2 rows, resolved and read directly",
     "float32 [5, 7], contiguous, read directly"},
    {"vlen_gzip",
     "variable-length, chunks of 2 rows, read through the HDF5 library: compressed or filtered chunks",
     "float32 [5, 7], contiguous, read directly"},
    {"vlen_userblock", "variable-length, contiguous, resolved and read directly",
     "float32 [5, 7], contiguous, read directly"},
    {"views", "chunks of 1 row, read directly", "float16 [5, 3, 7], contiguous, read directly"},
};

class Layouts : public testing::TestWithParam<Layout> {};

TEST_P(Layouts, ReadTheSame) {
  const Dataset d = Dataset::open(golden(GetParam().name));
  ASSERT_EQ(d.size(), N);
  ASSERT_EQ(d.width(), D);
  for (std::int64_t i = N - 1; i >= 0; --i) {
    const Tensor image = d.image(i);
    ASSERT_EQ(image.shape(), (Shape{H, W, 3}));
    const auto* p = image.data<std::uint8_t>();
    for (std::int64_t y = 0; y < H; ++y)
      for (std::int64_t x = 0; x < W; ++x)
        for (std::int64_t c = 0; c < 3; ++c)
          ASSERT_EQ(*p++, (37 * i + 11 * y + 5 * x + 3 * c) % 256) << i << " " << y << " " << x << " " << c;
    const Tensor target = d.target(i);
    for (std::int64_t k = 0; k < D; ++k)
      ASSERT_EQ(target.data<float>()[k], static_cast<float>(7 * i + k - 10) / 8) << i << " " << k;
  }
  const std::string text = d.description();
  EXPECT_NE(text.find(std::string(", ") + GetParam().images + "\n"), std::string::npos) << text;
  EXPECT_NE(text.find(std::string("embeddings: ") + GetParam().embeddings + "\n"), std::string::npos) << text;
}

INSTANTIATE_TEST_SUITE_P(All, Layouts, testing::ValuesIn(layouts),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Dataset, ViewsNamesConceptsAndAttributes) {
  const Dataset d = Dataset::open(golden("views"));
  EXPECT_EQ(d.views(0), 3);
  EXPECT_EQ(d.view_seed(1, 1), (std::uint64_t{1} << 63) + 4);
  EXPECT_EQ(d.plain_view(3), 2);
  EXPECT_EQ(d.target(1, 2).to_vector()[0], (7 - 10) / 8.0 + 1);
  EXPECT_EQ(d.name(4), "größe 4.png");
  EXPECT_EQ(d.teacher(), "formula");
  EXPECT_EQ(d.transform(), "a transform/1");
  const auto concepts = d.concepts();
  ASSERT_TRUE(concepts);
  EXPECT_EQ(concepts->names, (std::vector<std::string>{"red circle", "blue ring"}));
  EXPECT_EQ(concepts->embeddings.shape(), (Shape{2, D}));
  EXPECT_EQ(concepts->image, (std::vector<std::int64_t>{0, 0, 4}));
  EXPECT_EQ(concepts->concept_index, (std::vector<std::int64_t>{1, 0, 1}));
  EXPECT_EQ(concepts->boxes.rows(1, 2).to_vector(), (std::vector<double>{0.25, 0, 1, 1}));
  EXPECT_EQ(Dataset::open(golden("flat")).name(3), "image 3.png");
  EXPECT_EQ(Dataset::open(golden("vlen")).name(3), "image 3 of " + golden("vlen"));
  EXPECT_EQ(d.description(),
            "images: 5 of 6x4 pixels, chunks of 1 row, read directly\n"
            "embeddings: float16 [5, 3, 7], contiguous, read directly\n"
            "views: 3 of each image, transform a transform/1\n"
            "teacher: formula\nnames: yes\nconcepts: 2, 3 labelled objects\n");
}

TEST(Dataset, SeveralFilesAreOne) {
  const Dataset d = Dataset::open({golden("views"), golden("vlen"), golden("views")});
  EXPECT_EQ(d.size(), 3 * N);
  EXPECT_EQ(d.image(7).to_vector(), Dataset::open(golden("chunked")).image(2).to_vector());
  EXPECT_EQ(d.target(5).to_vector(), Dataset::open(golden("vlen")).target(0).to_vector());
  EXPECT_EQ(d.views(4), 3);
  EXPECT_EQ(d.views(5), 0);
  EXPECT_EQ(d.file(9), golden("vlen"));
  const auto concepts = d.concepts();
  EXPECT_EQ(concepts->names.size(), 2U);  // shared
  EXPECT_EQ(concepts->image, (std::vector<std::int64_t>{0, 0, 4, 10, 10, 14}));
  EXPECT_EQ(concepts->boxes.rows(4, 5).to_vector(), (std::vector<double>{0.25, 0, 1, 1}));
  EXPECT_EQ(message_of([&] { d.image(3 * N); }),
            golden("views") + ": image 15 is out of range, there are 15");
}

// Opens a damaged file and reads all of it: an exception is fine, a crash is not.
void read_all(const std::string& path, int& failed) {
  try {
    const Dataset d = Dataset::open(path);
    std::vector<std::uint8_t> buffer;
    for (std::int64_t i = 0; i < std::min<std::int64_t>(d.size(), 8); ++i) {
      try {
        if (d.plain_size(i))
          d.image(i);
        else
          d.read_encoded(i, buffer);
        d.target(i);
      } catch (const Error&) {
        ++failed;
      }
    }
  } catch (const Error& e) {
    ++failed;
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
  }
}

TEST(DamagedDataset, TruncatedAnywhere) {
  const TempDir dir;
  const std::string path = dir / "cut.h5";
  for (const char* name : {"chunked", "vlen", "flat"}) {
    const std::string whole = bytes_of_file(golden(name));
    for (std::size_t length = 0; length < whole.size(); length += 97) {
      put_file(path, whole.substr(0, length));
      int failed = 0;
      read_all(path, failed);
      EXPECT_GT(failed, 0) << name << " cut to " << length;
    }
  }
}

// Bytes that our own parsers read: references to the global heap and the heap's collections.
TEST(DamagedDataset, FlippedHeap) {
  const TempDir dir;
  const std::string path = dir / "flipped.h5";
  for (const char* name : {"vlen", "vlen_chunked", "vlen_userblock"}) {
    const std::string text = bytes_of_file(golden(name));
    const auto heap = text.find("GCOL");
    ASSERT_NE(heap, std::string::npos);
    // The references carry the address of the heap, from the end of the user block.
    const std::uint64_t user_block = text.find("\x89HDF");
    const std::uint64_t address = heap - user_block;
    const std::string pattern(reinterpret_cast<const char*>(&address), 8);
    std::vector<std::size_t> places;
    for (auto at = text.find(pattern); at != std::string::npos; at = text.find(pattern, at + 1))
      for (std::size_t k = at - 4; k < at + 12; ++k) places.push_back(k);
    ASSERT_GE(places.size(), static_cast<std::size_t>(16 * N));
    for (std::size_t k = 0; k < 64; ++k) places.push_back(heap + k);
    Random random(7);
    int failed = 0;
    for (int trial = 0; trial < 400; ++trial) {
      std::string bytes = text;
      for (std::uint64_t flips = 1 + random.below(3); flips > 0; --flips)
        bytes[places[random.below(places.size())]] ^= static_cast<char>(1 + random.below(255));
      put_file(path, bytes);
      read_all(path, failed);
    }
    EXPECT_GT(failed, 100) << name;
  }
}

}  // namespace
}  // namespace vitral::data
