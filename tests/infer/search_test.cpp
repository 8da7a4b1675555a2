// Exact search against a plain sort, stored embeddings of every form, the contact sheet.
#include "infer/search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/files/input_file.h"
#include "data/hdf5/file.h"
#include "data/hdf5/heap_rows.h"
#include "infer/show/contact_sheet.h"
#include "infer/stored_embeddings.h"
#include "tests/golden.h"
#include "tests/noise.h"

namespace vitral::infer {
namespace {

using test::message_of;
using test::noise;
using test::TempDir;

double cosine(const Tensor& a, std::int64_t i, const Tensor& b, std::int64_t j) {
  const std::int64_t width = a.dim(1);
  double product = 0, x = 0, y = 0;
  for (std::int64_t d = 0; d < width; ++d) {
    const double p = a.data<float>()[i * width + d], q = b.data<float>()[j * width + d];
    product += p * q, x += p * p, y += q * q;
  }
  return product / std::sqrt(x * y);
}

TEST(Search, IsTheSortOfAllCosines) {
  const Tensor rows = noise({700, 24}, 1), queries = noise({3, 24}, 2);
  Search search(queries, 9);
  for (std::int64_t begin = 0; begin < 700; begin += 130)
    search.add(rows.rows(begin, std::min<std::int64_t>(700, begin + 130)), begin);
  EXPECT_EQ(search.queries(), 3);
  EXPECT_EQ(search.rows(), 700);
  EXPECT_EQ(search.skipped(), 0);
  for (std::int64_t q = 0; q < 3; ++q) {
    std::vector<std::pair<double, std::int64_t>> all;
    for (std::int64_t i = 0; i < 700; ++i) all.emplace_back(-cosine(queries, q, rows, i), i);
    std::sort(all.begin(), all.end());
    const auto hits = search.hits(q);
    ASSERT_EQ(hits.size(), 9U);
    for (std::size_t k = 0; k < 9; ++k) {
      EXPECT_EQ(hits[k].index, all[k].second);
      EXPECT_NEAR(hits[k].score, -all[k].first, 1e-6);
    }
  }
}

TEST(Search, EqualRowsAreInTheOrderOfTheirNumbers) {
  Tensor rows = Tensor::full({40, 2}, 1);
  for (std::int64_t i = 0; i < 40; ++i) rows.data<float>()[2 * i] = i % 4 == 0 ? 2.0F : -1.0F;
  Search search(Tensor::from(std::vector<float>{2, 1}, {1, 2}), 4);
  search.add(rows.rows(20, 40), 20);  // whatever the order they come in
  search.add(rows.rows(0, 20), 0);
  std::vector<std::int64_t> found;
  for (const Hit& hit : search.hits(0)) found.push_back(hit.index);
  EXPECT_EQ(found, (std::vector<std::int64_t>{0, 4, 8, 12}));
}

TEST(Search, RowsWithoutADirectionAreCountedAndLeftOut) {
  Tensor rows = noise({8, 4}, 3);
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  for (std::int64_t i = 0; i < 4; ++i) {
    rows.data<float>()[1 * 4 + i] = 0;
    rows.data<float>()[2 * 4 + i] = 3e38F;  // its square is beyond float32
    rows.data<float>()[3 * 4 + i] = 1e-30F;
  }
  rows.data<float>()[4 * 4] = nan;
  rows.data<float>()[5 * 4 + 1] = inf;
  Search search(noise({2, 4}, 4), 100);
  search.add(rows, 50);
  EXPECT_EQ(search.rows(), 3);
  EXPECT_EQ(search.skipped(), 5);
  std::vector<std::int64_t> found;
  for (const Hit& hit : search.hits(1)) {
    found.push_back(hit.index);
    EXPECT_TRUE(std::isfinite(hit.score));
  }
  std::sort(found.begin(), found.end());
  EXPECT_EQ(found, (std::vector<std::int64_t>{50, 56, 57}));
}

TEST(Search, ErrorsAreOneLine) {
  EXPECT_EQ(message_of([] { Search(Tensor::zeros({3}), 1); }),
            "search: queries float32 [3] must be float32 [Q, D]");
  EXPECT_EQ(message_of([] { Search(Tensor::full({2, 3}, 1), 0); }), "search: k is 0, it must be at least 1");
  EXPECT_EQ(message_of([] {
              Search(Tensor::from(std::vector<float>{1, 1, 0, 0}, {2, 2}), 1);
            }),
            "search: query 1 is zero or not finite");
  EXPECT_EQ(message_of([] {
              Search(Tensor::full({2, 3}, 1), 1).add(Tensor::zeros({5, 4}), 0);
            }),
            "search: rows float32 [5, 4] must be float32 and as wide as the queries [2, 3]");
}

// All rows of a file, one under the other.
Tensor all_rows(const StoredEmbeddings& stored) {
  Tensor out({stored.size(), stored.width()});
  std::int64_t next = 0;
  stored.each_block([&](const Tensor& rows, std::int64_t first) {
    EXPECT_EQ(first, next);
    next += rows.dim(0);
    out.rows(first, next).copy_from(rows);
  });
  EXPECT_EQ(next, stored.size());
  return out;
}

TEST(StoredEmbeddings, OfEveryForm) {
  const TempDir folder;
  const std::string path = folder / "e.h5";
  // More than two blocks of float32, then others.
  for (const auto& [rows, dtype] : {std::pair(9000, DType::float32), std::pair(7, DType::float16)}) {
    const Tensor values = noise({rows, 1024}, 5).cast(dtype);
    data::H5File file = data::H5File::create(path);
    file.write("/embeddings", values, dtype == DType::float16 ? 2 : 0);
    file.close();
    const StoredEmbeddings stored(path);
    EXPECT_EQ(stored.size(), rows);
    EXPECT_EQ(stored.width(), 1024);
    EXPECT_FALSE(stored.has_images());
    EXPECT_EQ(stored.names({3, 0}), (std::vector<std::string>{"image 3", "image 0"}));
    EXPECT_TRUE(all_rows(stored).to_vector() == values.to_vector());
  }
  EXPECT_EQ(message_of([&] { StoredEmbeddings(path).image(0); }), path + ": holds embeddings and no images");
}

TEST(StoredEmbeddings, OfViewsThePlainOneElseTheFirst) {
  const TempDir folder;
  const std::string path = folder / "e.h5";
  const Tensor values = noise({3, 2, 4}, 6);
  data::H5File file = data::H5File::create(path);
  file.write("/embeddings", values);
  file.write_uint64("/view_seeds", {7, 0, 0, 9, 8, 9}, {3, 2});
  file.write("/images", Tensor::full({3, 5, 6, 3}, 4, DType::uint8), 1);
  file.write_strings("/names", {"a", "b", "c"});
  file.close();
  const StoredEmbeddings stored(path);
  const Tensor rows = all_rows(stored), views = values.reshape({6, 4});
  EXPECT_EQ(rows.rows(0, 1).to_vector(), views.rows(1, 2).to_vector());
  EXPECT_EQ(rows.rows(1, 2).to_vector(), views.rows(2, 3).to_vector());
  EXPECT_EQ(rows.rows(2, 3).to_vector(), views.rows(4, 5).to_vector());
  EXPECT_TRUE(stored.has_images());
  EXPECT_EQ(stored.image(2).shape(), (Shape{5, 6, 3}));
  EXPECT_EQ(stored.names({2, 1}), (std::vector<std::string>{"c", "b"}));
}

TEST(StoredEmbeddings, OtherFilesAreRefused) {
  const TempDir folder;
  const std::string path = folder / "e.h5";
  const auto message = [&](const std::string& name, const Tensor& values) {
    data::H5File file = data::H5File::create(path);
    file.write(name, values);
    file.close();
    return message_of([&] { StoredEmbeddings stored(path); });
  };
  EXPECT_EQ(message("/other", Tensor::zeros({2, 2}, DType::uint8)),
            path + ": has no /embeddings; give a file of `vitral embed`, or a dataset after `vitral teach`");
  EXPECT_EQ(message("/embeddings/rows", Tensor::zeros({2, 2}, DType::uint8)),
            path + ": has no /embeddings; give a file of `vitral embed`, or a dataset after `vitral teach`");
  EXPECT_EQ(message("/embeddings", Tensor::zeros({5})),
            path + ": /embeddings is float32 [5]; float [N,D] or [N,V,D] is needed");
  EXPECT_EQ(message("/embeddings", Tensor::zeros({2, 2}, DType::uint8)),
            path + ": /embeddings is uint8 [2, 2]; float [N,D] or [N,V,D] is needed");
}

TEST(TextRows, SomeOfThem) {
  const TempDir folder;
  const std::string path = folder / "e.h5";
  data::H5File made = data::H5File::create(path);
  made.write_strings("/names", {"zero", "one", "zwei"});
  made.close();
  const data::H5File file = data::H5File::open(path);
  const InputFile bytes(path);
  EXPECT_EQ(data::read_text_rows(file, bytes, "/names", {2, 0, 2}),
            (std::vector<std::string>{"zwei", "zero", "zwei"}));
  EXPECT_EQ(data::read_text_rows(file, bytes, "/names").size(), 3U);
  EXPECT_EQ(message_of([&] { data::read_text_rows(file, bytes, "/names", {3}); }),
            path + ": /names row 3 is out of range, there are 3");
}

// Every row refers to the one long value: a small file that would take all memory.
TEST(TextRows, TogetherAreNoLongerThanTheFile) {
  const TempDir folder;
  const std::string path = folder / "e.h5";
  std::vector<std::string> names(100, "x");
  names[0] = std::string(20000, 'y');
  data::H5File made = data::H5File::create(path);
  made.write_strings("/names", names);
  made.close();
  std::string content = test::bytes_of_file(path);
  const std::string length{'\x20', '\x4e', 0, 0};  // of the first row; address and number follow
  std::size_t at = content.find(length);           // not that of the value itself, which has 8 bytes
  while (at != std::string::npos && content.compare(at + 4, 4, std::string(4, '\0')) == 0)
    at = content.find(length, at + 1);
  ASSERT_NE(at, std::string::npos);
  for (std::size_t row = 1; row < names.size(); ++row) content.replace(at + 16 * row, 16, content, at, 16);
  test::put_file(path, content);
  const data::H5File file = data::H5File::open(path);
  const InputFile bytes(path);
  EXPECT_EQ(message_of([&] { data::read_text_rows(file, bytes, "/names"); }),
            path + ": /names claims more text than the file has bytes, the file is damaged; write it again");
  EXPECT_EQ(data::read_text_rows(file, bytes, "/names", {5})[0], names[0]);
}

TEST(ContactSheet, PutsImagesInTheirPlaces) {
  const auto image = [](int grey) { return Tensor::full({20, 20, 3}, grey, DType::uint8); };
  SheetOptions options{.cell = 40, .columns = 2};
  const std::vector<SheetLine> lines{{"first", {{image(200), "a"}, {image(100), "b"}, {image(50), "c"}}},
                                     {"second", {{{}, "missing"}}}};
  const Tensor sheet = draw_contact_sheet(lines, options);
  constexpr std::int64_t margin = 24, gap = 14, heading = 24, caption = 18, line = 40 + caption + gap;
  EXPECT_EQ(sheet.shape(), (Shape{2 * margin + 2 * heading + 3 * line, 2 * margin + 80 + gap, 3}));
  const auto grey = [&](std::int64_t x, std::int64_t y) {
    return int{sheet.data<std::uint8_t>()[(y * sheet.dim(1) + x) * 3]};
  };
  const std::int64_t y = margin + heading;
  EXPECT_EQ(grey(margin, y), 200);
  EXPECT_EQ(grey(margin + 39, y + 39), 200);
  EXPECT_EQ(grey(margin + 40 + gap, y), 100);
  EXPECT_EQ(grey(margin + 39, y + line), 50);
  EXPECT_EQ(grey(margin, y + 2 * line + heading), 38);  // an empty place
  EXPECT_EQ(message_of([] { draw_contact_sheet({}); }), "contact sheet: nothing to draw");
  EXPECT_EQ(message_of([&] { draw_contact_sheet(lines, {.cell = 3, .columns = 2}); }),
            "contact sheet: cell 3 must be in 32..4096 and columns 2 in 1..1024");
  const std::vector<SheetLine> many(300, {"", {{image(1), ""}, {image(1), ""}}});
  EXPECT_EQ(message_of([&] { draw_contact_sheet(many, {.cell = 2048, .columns = 2}); }),
            "contact sheet: 300 lines of images of 2048 pixels are too large for one picture, draw fewer");
}

}  // namespace
}  // namespace vitral::infer
