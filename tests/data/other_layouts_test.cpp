// HDF5 files of other programs: datasets under other names, and what is said of layouts that are not read.
#include <functional>

#include <gtest/gtest.h>
#include <hdf5.h>

#include "data/dataset.h"
#include "data/hdf5/file.h"
#include "data/images/image.h"
#include "infer/stored_embeddings.h"
#include "tests/noise.h"
#include "tests/support.h"

namespace vitral::data {
namespace {

using test::message_of;
using test::TempDir;

Tensor pixels(std::int64_t n = 4) { return test::noise_image(n * 2, 3, 1).reshape({n, 2, 3, 3}); }

std::string write(const TempDir& dir, const std::function<void(H5File&)>& fill) {
  H5File f = H5File::create(dir / "a.h5");
  fill(f);
  f.close();
  return dir / "a.h5";
}

// What opening it says, and asking for its embeddings, without the path.
std::string answer(const std::function<void(H5File&)>& fill, const DatasetNames& names = {}) {
  const TempDir dir;
  const std::string path = write(dir, fill);
  const std::string message = message_of([&] { Dataset::open(path, names).require_embeddings(); });
  return message.starts_with(path + ": ") ? message.substr(path.size() + 2) : message;
}

// A dataset [n] of a type that vitral does not write, without values.
void write_type(const H5File& f, const std::string& name, hid_t type, std::vector<hsize_t> shape) {
  const hid_t space = shape.empty() ? H5Screate(H5S_SCALAR)
                                    : H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr);
  const hid_t groups = H5Pcreate(H5P_LINK_CREATE);
  H5Pset_create_intermediate_group(groups, 1);
  H5Dclose(H5Dcreate2(f.id(), name.c_str(), type, space, groups, H5P_DEFAULT, H5P_DEFAULT));
  H5Pclose(groups);
  H5Sclose(space);
  H5Tclose(type);
}

TEST(OtherNames, OfImagesAndEmbeddings) {
  const TempDir dir;
  const Tensor rows = test::noise({4, 8}, 2), images = pixels();
  const std::string path = write(dir, [&](H5File& f) {
    f.write("/train/x", images);
    f.write("/train/y", rows);
    f.write("/val/x", pixels(2));
  });
  for (const DatasetNames& names :
       {DatasetNames{"/train/x", "/train/y"}, DatasetNames{"train/x", "train/y"}}) {
    const Dataset d = Dataset::open(path, names);
    EXPECT_EQ(d.size(), 4);
    EXPECT_EQ(d.image(3).to_vector(), images.rows(3, 4).to_vector());
    EXPECT_EQ(d.target(2).to_vector(), rows.rows(2, 3).to_vector());
  }
  EXPECT_EQ(Dataset::open(path, {"/val/x", ""}).width(), 0);
  const infer::StoredEmbeddings stored(path, {"", "train/y"});
  EXPECT_EQ(stored.width(), 8);
  EXPECT_FALSE(stored.has_images());
  EXPECT_TRUE(infer::StoredEmbeddings(path, {"train/x", "train/y"}).has_images());
  EXPECT_EQ(
      message_of([&] {
        Dataset::open(path, {"/train/x", "/val/y"}).require_embeddings();
      }),
      path +
          ": has no /val/y, but /train/y would do; name it with --embeddings /train/y (data.embeddings in "
          "a configuration), or in h5py: f['embeddings'] = h5py.SoftLink('/train/y')");
  EXPECT_EQ(message_of([&] {
              Dataset::open(path, {"/test/x", ""});
            }),
            path +
                ": has no /test/x, but /train/x, /val/x would do; name one of them with --images /train/x "
                "(data.images in a configuration), or in h5py: f['images'] = h5py.SoftLink('/train/x')");
  EXPECT_EQ(
      message_of([&] { infer::StoredEmbeddings s(path); }),
      path +
          ": has no /embeddings, but /train/y would do; name it with --embeddings /train/y "
          "(data.embeddings in a configuration), or in h5py: f['embeddings'] = h5py.SoftLink('/train/y')");
}

// Files of images under any name, of either form.
TEST(OtherNames, OfFilesInside) {
  const TempDir dir;
  const auto png = encode_png(test::noise_image(4, 5, 3));
  const std::string path = write(dir, [&](H5File& f) {
    f.write("/photos/bytes", Tensor::from(png, {static_cast<std::int64_t>(png.size())}));
    f.write_uint64("/photos/offsets", {0, png.size()}, {2});
  });
  EXPECT_EQ(Dataset::open(path, {"photos", ""}).image(0).shape(), (Shape{4, 5, 3}));
  const auto files = [&](const std::string& name) {
    return write(dir, [&](H5File& f) {
      const hsize_t one = 1;
      const hid_t space = H5Screate_simple(1, &one, nullptr), type = H5Tvlen_create(H5T_NATIVE_UINT8),
                  set = H5Dcreate2(f.id(), name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
      hvl_t value{png.size(), const_cast<std::uint8_t*>(png.data())};
      H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, &value);
      H5Dclose(set);
      H5Tclose(type);
      H5Sclose(space);
    });
  };
  files("/images");  // as some write them
  EXPECT_EQ(Dataset::open(path).image(0).shape(), (Shape{4, 5, 3}));
  files("/jpegs");
  EXPECT_EQ(Dataset::open(path, {"jpegs", ""}).image(0).shape(), (Shape{4, 5, 3}));
  EXPECT_EQ(message_of([&] { Dataset::open(path); }),
            path +
                ": has neither /images nor /encoded, but /jpegs would do; name it with --images /jpegs "
                "(data.images in a configuration), or in h5py: f['images'] = h5py.SoftLink('/jpegs')");
}

TEST(OtherLayouts, ADatasetForEach) {
  EXPECT_EQ(answer([](H5File& f) {
              for (const char* name : {"/img_0", "/img_1"}) f.write(name, test::noise_image(5, 4, 1));
            }),
            "has neither /images nor /encoded, but a dataset for each image, as /img_0; stack them, in h5py: "
            "f['stacked'] = numpy.stack([f[k][:] for k in names]), and name that with --images stacked");
  EXPECT_EQ(
      answer([](H5File& f) {
        f.write("/images", pixels());
        f.write("/mean", Tensor::full({3}, 1));
        for (const char* name : {"/e/0", "/e/1", "/e/2", "/e/3"}) f.write(name, Tensor::full({8}, 1));
      }),
      "has no /embeddings, but a dataset for each embedding, as /e/0; stack them in the order of the images, "
      "in h5py: f['stacked'] = numpy.stack([f[k][:] for k in names]), and name that with --embeddings "
      "stacked");
  const std::string files =
      "/images is a group, but a dataset for each file, as /images/0; write them out as files, in h5py: "
      "open(k + "
      "'.jpg', 'wb').write(bytes(f[k][()])), and give their folder to vitral pack";
  EXPECT_EQ(answer([](H5File& f) {
              for (const char* name : {"/images/0", "/images/1"})
                f.write(name, Tensor::full({9}, 1, DType::uint8));
            }),
            files);
  EXPECT_EQ(answer([](H5File& f) { write_type(f, "/images/0", H5Tcreate(H5T_OPAQUE, 99), {}); }), files);
}

TEST(OtherLayouts, Axes) {
  const auto shaped = [](const std::string& name, const Shape& shape) {
    return answer([&](H5File& f) { f.write(name, Tensor::zeros(shape, DType::uint8)); });
  };
  EXPECT_EQ(shaped("/data", {3, 6, 5, 4}),
            "has neither /images nor /encoded, but /data is [3, 6, 5, 4], transpose it by (3, 2, 1, 0): "
            "MATLAB turns "
            "axes round, and name it with --images");
  EXPECT_EQ(shaped("/data", {4, 3, 5, 6}),
            "has neither /images nor /encoded, but /data is [4, 3, 5, 6], transpose it by (0, 2, 3, 1), and "
            "name it "
            "with --images");
}

TEST(OtherLayouts, TablesAndTypes) {
  const auto embeddings = [](const std::function<void(H5File&)>& fill) {
    return answer([&](H5File& f) {
      f.write("/images", pixels());
      fill(f);
    });
  };
  EXPECT_EQ(embeddings([](H5File& f) {
              write_type(f, "/embeddings", H5Tcreate(H5T_OPAQUE, 2), {4, 8});
            }),
            "/embeddings holds opaque values of 2 bytes [4, 8]; float32 or float16 is needed: ml_dtypes' "
            "bfloat16 is "
            "stored so, x.astype('float32')");
  EXPECT_EQ(embeddings([](H5File& f) {  // as HDF5 itself has it
              const hid_t type = H5Tcopy(H5T_IEEE_F32LE);
              H5Tset_fields(type, 15, 7, 8, 0, 7);
              H5Tset_size(type, 2);
              write_type(f, "/embeddings", type, {4, 8});
            }),
            "/embeddings holds bfloat16 [4, 8]; float32 or float16 is needed");
  EXPECT_EQ(embeddings([](H5File& f) {
              f.write("/embeddings", Tensor::zeros({4, 8}, DType::uint8));
            }),
            "/embeddings holds uint8 [4, 8]; float32 or float16 is needed");
  const auto table = [](H5File& f) {  // as pandas' to_hdf(format="table") and PyTables write it
    const hid_t type = H5Tcreate(H5T_COMPOUND, 40),
                row = H5Tarray_create2(H5T_NATIVE_FLOAT, 1, std::array<hsize_t, 1>{8}.data());
    H5Tinsert(type, "index", 0, H5T_NATIVE_INT64);
    H5Tinsert(type, "values_block_0", 8, row);
    H5Tclose(row);
    write_type(f, "/embeddings/table", type, {4});
  };
  EXPECT_EQ(
      embeddings(table),
      "/embeddings is a group, but /embeddings/table is a table (pandas, PyTables); store its numbers as "
      "float32 [N,D], in h5py: f['features'] = frame.to_numpy('float32'), and name them with --embeddings "
      "features");
  EXPECT_EQ(embeddings([](H5File& f) {
              f.write("/embeddings/block0_values", Tensor::full({4, 8}, 1));
            }),
            "/embeddings is a group, but /embeddings/block0_values would do; name it with --embeddings "
            "/embeddings/block0_values (data.embeddings in a configuration)");
}

}  // namespace
}  // namespace vitral::data
