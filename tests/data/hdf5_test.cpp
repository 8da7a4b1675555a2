#include "data/hdf5.h"

#include <fstream>

#include <gtest/gtest.h>

#include "tests/support.h"

namespace vitral::data {
namespace {

using test::message_of;
using test::TempDir;

TEST(Hdf5, RoundTrip) {
  const TempDir dir;
  const std::string path = dir / "a.h5";
  {
    H5File f = H5File::create(path);
    f.write("/images", Tensor::full({3, 2, 2, 3}, 7, DType::uint8), 1);
    f.write("/half", Tensor::from(std::vector<float>{0.5F, -2.25F}, {2}).cast(DType::float16));
    f.write_strings("/concepts/names", {"red circle", "größe"});
    f.set_attribute("teacher", "clip");
    f.write_uint64("/seeds", {0, ~0ULL}, {2, 1});
    f.create_growing("/grown", {2}, DType::float32, 4);
    for (int i = 0; i < 5; ++i) f.append("/grown", Tensor::full({1, 2}, i));
    f.close();
  }
  const H5File f = H5File::open(path);
  EXPECT_EQ(f.shape("/images"), (Shape{3, 2, 2, 3}));
  EXPECT_EQ(f.dtype("/half"), DType::float16);
  EXPECT_EQ(f.read("/half").to_vector(), (std::vector<double>{0.5, -2.25}));
  EXPECT_EQ(f.read_strings("/concepts/names"), (std::vector<std::string>{"red circle", "größe"}));
  EXPECT_EQ(f.attribute("teacher"), "clip");
  EXPECT_EQ(f.read_uint64("/seeds"), (std::vector<std::uint64_t>{0, ~0ULL}));
  EXPECT_EQ(f.attribute("transform"), std::nullopt);
  EXPECT_EQ(f.read("/grown").to_vector(), (std::vector<double>{0, 0, 1, 1, 2, 2, 3, 3, 4, 4}));
  EXPECT_FALSE(f.has("/concepts/embeddings"));
  EXPECT_FALSE(f.has("/nothing/at/all"));
  EXPECT_EQ(message_of([&] { f.read("/nothing"); }), path + ": has no dataset /nothing");
}

TEST(Hdf5, BadFilesAreOneLine) {
  const TempDir dir;
  EXPECT_EQ(message_of([&] { H5File::open(dir / "none.h5"); }),
            dir / "none.h5" + std::string(": no such file"));
  EXPECT_EQ(message_of([&] { H5File::open(dir.str()); }),
            dir.str() + ": is a directory, an HDF5 file is needed");
  std::ofstream(dir / "text.h5") << "hello";
  EXPECT_EQ(message_of([&] { H5File::open(dir / "text.h5"); }),
            dir / "text.h5" + std::string(": is not an HDF5 file"));
  {
    H5File f = H5File::create(dir / "cut.h5");
    f.write("/x", Tensor::zeros({10000}));
  }
  std::filesystem::resize_file(dir / "cut.h5", 20000);
  EXPECT_EQ(
      message_of([&] { H5File::open(dir / "cut.h5"); }),
      dir / "cut.h5" + std::string(": cannot be opened as HDF5, it is truncated or damaged; write it again"));
}

}  // namespace
}  // namespace vitral::data
