// Images in Parquet files; compiled where Apache Arrow is. tests/reference/make_parquet.py wrote the files.
#include <filesystem>

#include <gtest/gtest.h>

#include "data/dataset.h"
#include "data/hdf5/file.h"
#include "data/pack.h"
#include "data/parquet_images.h"
#include "tests/support.h"

namespace vitral::data {
namespace {

using test::bytes_of_file;
using test::message_of;
using test::put_file;
using test::TempDir;
using Strings = std::vector<std::string>;

const std::string golden = "tests/golden/images.parquet", binary = "tests/golden/images_binary.parquet";

std::vector<double> pixels(int k) {
  std::vector<double> values;
  for (int i = 0; i < 6 * 7 * 3; ++i) values.push_back((40 * k + 3 * i) % 256);
  return values;
}

PackOptions options(const TempDir& dir, const Strings& inputs) {
  PackOptions o;
  o.inputs = inputs;
  o.output = dir / "out.h5";
  o.encoded = true;
  o.force = true;
  o.workers = 3;
  return o;
}

TEST(PackParquet, NamesCaptionsPixelsAndRowsWithoutAnImage) {
  const TempDir dir;
  const PackSummary s = pack(options(dir, {golden}));
  EXPECT_EQ(s.found, 8);
  ASSERT_EQ(s.train, 5);
  const Dataset d = Dataset::open(dir / "out.h5");
  const Strings names{"cats/a.png", "images.parquet/2.png", "images.parquet/row 3.png",
                      "images.parquet/4.bmp", "3.png"};
  const int rows[] = {0, 2, 3, 4, 7};
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(d.name(i), names[static_cast<std::size_t>(i)]);
    EXPECT_EQ(d.image(i).to_vector(), pixels(rows[i])) << i;
  }
  EXPECT_EQ(H5File::open(dir / "out.h5").read_strings("/captions"),
            (Strings{"a red cat", "two dogs", "", "naïve\n", "h"}));
  ASSERT_EQ(s.skipped.size(), 3U);
  EXPECT_EQ(s.skipped[0].name, "images.parquet/1");
  EXPECT_EQ(s.skipped[0].reason, golden + ": row 1 holds no bytes of an image");
  EXPECT_EQ(s.skipped[1].name, "elsewhere.png");
  EXPECT_EQ(s.skipped[1].reason, golden + ": row 5 holds no bytes of an image");
  EXPECT_EQ(s.skipped[2].name, "text.png");
}

TEST(PackParquet, BinaryColumnsShardsAndLimits) {
  const TempDir dir;
  PackOptions o = options(dir, {binary, golden});
  o.limits = {{"images.parquet/[!7]*", 0}, {"images_binary.parquet/0*", 0}};
  EXPECT_EQ(pack(o).train, 1);
  o.limits = {{"images.parquet/*", 4}};
  EXPECT_EQ(pack(o).train, 5);
  const Dataset d = Dataset::open(dir / "out.h5");
  EXPECT_EQ(d.name(0), "images_binary.parquet/0.png");
  EXPECT_EQ(d.name(1), "images_binary.parquet/1.png");
  EXPECT_EQ(d.name(2), "images.parquet/cats/a.png");
  EXPECT_EQ(d.image(1).to_vector(), pixels(1));
  EXPECT_EQ(d.image(4).to_vector(), pixels(3));
  EXPECT_EQ(H5File::open(dir / "out.h5").read_strings("/captions")[1], "two");
}

TEST(PackParquet, FoldersAreGivenByTheirFiles) {
  const TempDir dir;
  std::filesystem::copy(golden, dir / "a.parquet");
  EXPECT_EQ(describe(pack(options(dir, {dir.str()})).left_out),
            "left out: 1 .parquet (1 archive: give it by name)");
}

TEST(PackParquet, DamageIsAnErrorThatNamesTheFile) {
  const TempDir dir;
  const std::string whole = bytes_of_file(binary);
  const auto message = [&](const std::string& bytes) {
    put_file(dir / "x.parquet", bytes);
    return message_of([&] { pack(options(dir, {dir / "x.parquet"})); });
  };
  const std::string start = (dir / "x.parquet") + ": cannot be read as Parquet: ";
  const std::string end = "; fetch it or write it again";
  for (const std::string& bytes : {std::string("PAR1"), whole.substr(0, whole.size() / 2), std::string()}) {
    const std::string text = message(bytes);
    EXPECT_TRUE(text.starts_with(start) && text.ends_with(end)) << text;
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  }
  // Whatever byte is wrong: an error or skipped rows.
  for (std::size_t at = 4; at < whole.size(); at += 7) {
    std::string bytes = whole;
    bytes[at] ^= 0x55;
    const std::string text = message(bytes);
    EXPECT_TRUE(text == "no error" || text.starts_with(dir / "x.parquet")) << at << ": " << text;
  }
}

TEST(PackParquet, FilesWithoutImages) {
  const std::string path = "tests/golden/no_images.parquet";
  EXPECT_EQ(message_of([&] { list_parquet(path); }),
            path +
                ": has no column of images, which hold the bytes of image files as struct<bytes, path> or "
                "binary; its columns: id, data, lists.list.element");
  EXPECT_THROW(list_parquet(path), UsageError);
  EXPECT_THROW(list_parquet("tests/golden/none.parquet"), UsageError);
}

}  // namespace
}  // namespace vitral::data
