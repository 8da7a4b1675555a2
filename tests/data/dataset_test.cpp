// What makes a file no dataset: one line each that names file, dataset and what to do.
#include "data/dataset.h"

#include <csignal>
#include <cstring>
#include <fstream>
#include <functional>
#include <limits>

#include <gtest/gtest.h>
#include <hdf5.h>
#include <sys/resource.h>

#include "base/random.h"
#include "data/dataset_writer.h"
#include "data/hdf5/file.h"
#include "data/images/image.h"
#include "tests/noise.h"
#include "tests/support.h"

// The HDF5 library never frees the caches of a file that it could not write to the end.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }

namespace vitral::data {
namespace {

using test::message_of;
using test::noise_image;
using test::TempDir;

// The message of opening a file that `write` has filled, without the path and the colon.
std::string open_error(const std::function<void(H5File&)>& write) {
  const TempDir dir;
  const std::string path = dir / "train.h5";
  {
    H5File f = H5File::create(path);
    write(f);
    f.close();
  }
  const std::string message = message_of([&] { Dataset::open(path); });
  return message.starts_with(path + ": ") ? message.substr(path.size() + 2) : message;
}

void images(H5File& f, std::int64_t n = 4) { f.write("/images", Tensor::zeros({n, 2, 3, 3}, DType::uint8)); }
void embeddings(H5File& f, const Shape& shape) { f.write("/embeddings", Tensor::full(shape, 1)); }

TEST(DatasetErrors, Images) {
  EXPECT_EQ(open_error([](H5File& f) {
              embeddings(f, {4, 8});
            }),
            "has neither /images nor /encoded, it is not a dataset; make one with vitral pack");
  EXPECT_EQ(open_error([](H5File& f) {
              images(f);
              f.write("/encoded/bytes", Tensor::zeros({4}, DType::uint8));
            }),
            "has both /images and /encoded; keep one of them, or name it with --images");
  EXPECT_EQ(open_error([](H5File& f) {
              f.write("/images", Tensor::zeros({4, 2, 3, 3}));
            }),
            "/images holds float32 [4, 2, 3, 3]; uint8 [N,H,W,3] is needed");
  EXPECT_EQ(open_error([](H5File& f) {
              f.write("/images", Tensor::zeros({4, 3, 2, 4}, DType::uint8));
            }),
            "/images is [4, 3, 2, 4]; uint8 [N,H,W,3] is needed, transpose it by (0, 2, 3, 1)");
  EXPECT_EQ(open_error([](H5File& f) {
              f.write("/images", Tensor::zeros({4, 2, 0, 3}, DType::uint8));
            }),
            "/images is [4, 2, 0, 3]; an image must have 1 to 2^28 pixels");
  EXPECT_EQ(open_error([](H5File& f) { f.write("/images/x", Tensor::zeros({4})); }),
            "/images is a group; one dataset, uint8 [N,H,W,3], is needed");
}

TEST(DatasetErrors, Encoded) {
  const auto flat = [](const std::vector<std::uint64_t>& offsets) {
    return open_error([&](H5File& f) {
      f.write("/encoded/bytes", Tensor::zeros({10}, DType::uint8));
      f.write_uint64("/encoded/offsets", offsets, {static_cast<std::int64_t>(offsets.size())});
    });
  };
  EXPECT_EQ(flat({0, 4, 10}), "no error");
  EXPECT_EQ(flat({0, 6, 4}), "/encoded/offsets falls from 6 to 4 at row 2; offsets must not fall");
  EXPECT_EQ(flat({0, 4, 11}), "/encoded/offsets row 2 is 11 but /encoded/bytes has 10 bytes");
  EXPECT_EQ(flat({0, ~std::uint64_t{0}}),
            "/encoded/offsets row 1 is 18446744073709551615 but /encoded/bytes has 10 bytes");
  EXPECT_EQ(flat({11}), "/encoded/offsets row 0 is 11 but /encoded/bytes has 10 bytes");
  EXPECT_EQ(flat({}), "/encoded/offsets is empty; N images need N+1 offsets");
  EXPECT_EQ(open_error([](H5File& f) { f.write("/encoded/bytes", Tensor::zeros({10}, DType::uint8)); }),
            "/encoded has no offsets; it needs bytes and offsets");
  EXPECT_EQ(open_error([](H5File& f) { f.write("/encoded", Tensor::zeros({4}, DType::uint8)); }),
            "/encoded must be variable-length uint8 [N], or a group with bytes and offsets");
  EXPECT_EQ(open_error([](H5File& f) {  // the library would clip signed bytes
              const hsize_t count = 4;
              const hid_t type = H5Tvlen_create(H5T_NATIVE_INT8),
                          space = H5Screate_simple(1, &count, nullptr);
              H5Dclose(H5Dcreate2(f.id(), "/encoded", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
              H5Sclose(space);
              H5Tclose(type);
            }),
            "/encoded must be variable-length uint8 [N], or a group with bytes and offsets");
  EXPECT_EQ(open_error([](H5File& f) {
              f.write("/encoded/bytes", Tensor::zeros({10}, DType::uint8));
              f.write("/encoded/offsets", Tensor::full({2}, -3, DType::int64));
            }),
            "/encoded/offsets row 0 is -3; numbers from 0 on are needed, write uint64");
}

// Embeddings belong to the pixels that they were made of, so a dataset that has some stays as it was.
TEST(Dataset, EmbeddingsKeepTheOrientationThatTheyWereMadeWith) {
  const TempDir dir;
  const Tensor bytes = H5File::open("tests/golden/images.h5").read("encoded/jpeg_exif_6");
  const auto write = [&](const std::string& name, bool embedded, const std::string& attribute) {
    DatasetWriter writer(dir / name, std::nullopt);
    writer.add_encoded({bytes.data<std::uint8_t>(), static_cast<std::size_t>(bytes.numel())}, "a.jpg",
                       embedded ? Tensor::full({4}, 1) : Tensor());
    if (!attribute.empty()) writer.set_attribute("exif", attribute);
    writer.finish();
    return dir / name;
  };
  const Shape lying{21, 30, 3}, upright{30, 21, 3};
  const auto shape = [](const std::string& path, Exif wanted, bool of_all = false) {
    Dataset d = Dataset::open(path);
    d.set_exif(wanted, of_all);
    return d.image(0).shape();
  };
  const std::string packed = write("packed.h5", false, ""), old = write("old.h5", true, ""),
                    taught = write("taught.h5", true, "apply");
  EXPECT_EQ(Dataset::open(packed).image(0).shape(), upright);
  EXPECT_EQ(shape(packed, Exif::ignore), lying);
  EXPECT_EQ(shape(old, Exif::apply), lying);
  EXPECT_EQ(shape(taught, Exif::ignore), upright);
  EXPECT_EQ(shape(old, Exif::apply, true), upright);

  Dataset both = Dataset::open({packed, old});
  EXPECT_EQ(both.exif_note(),
            old +
                ": its embeddings are of images with their Exif orientation ignored, so that "
                "is how they are decoded");
  both.set_exif(Exif::ignore);
  EXPECT_EQ(both.exif_note(), "");
  EXPECT_EQ(message_of([&] { Dataset::open(write("odd.h5", true, "yes")); }),
            dir / "odd.h5.partial" + ": attribute exif must be apply or ignore");
}

TEST(DatasetErrors, OtherNamesAndAxes) {
  EXPECT_EQ(open_error([](H5File& f) {
              f.write("/train/data", Tensor::zeros({4, 2, 3, 3}, DType::uint8));
              f.write("/labels", Tensor::zeros({4}, DType::int64));
            }),
            "has neither /images nor /encoded, but /train/data would do; name it with --images /train/data "
            "(data.images in a configuration), or in h5py: f['images'] = h5py.SoftLink('/train/data')");
  const auto shaped = [](const Shape& shape) {
    return open_error([&](H5File& f) { f.write("/images", Tensor::zeros(shape, DType::uint8)); });
  };
  EXPECT_EQ(shaped({4, 3, 5, 6}),
            "/images is [4, 3, 5, 6]; uint8 [N,H,W,3] is needed, transpose it by (0, 2, 3, 1)");
  EXPECT_EQ(shaped({3, 6, 5, 4}),
            "/images is [3, 6, 5, 4]; uint8 [N,H,W,3] is needed, transpose it by (3, 2, 1, 0): MATLAB turns "
            "axes round");
  const TempDir dir;
  const std::string path = dir / "a.h5";
  const auto write = [&](const std::string& name) {
    H5File f = H5File::create(path);
    images(f);
    f.write(name, Tensor::full({4, 1, 8}, 2));
    f.close();
  };
  write("/features");
  EXPECT_EQ(message_of([&] { Dataset::open(path).require_embeddings(); }),
            path +
                ": has no /embeddings, but /features would do; name it with --embeddings /features "
                "(data.embeddings in a configuration), or in h5py: f['embeddings'] = "
                "h5py.SoftLink('/features')");
  write("/embeddings");  // an axis that was not squeezed
  const Dataset d = Dataset::open(path);
  EXPECT_EQ(d.views(0), 0);
  EXPECT_EQ(d.target(3).to_vector(), std::vector<double>(8, 2));
}

TEST(Dataset, ConceptsOfNamesAlone) {
  const TempDir dir;
  const auto write = [&](const std::string& name, const std::vector<std::string>& concepts) {
    H5File f = H5File::create(dir / name);
    images(f);
    f.write_strings("/concepts/names", concepts);
    f.write("/objects/image", Tensor::full({1}, 2, DType::int64));
    f.write("/objects/concept", Tensor::full({1}, 1, DType::int64));
    f.write("/objects/box", Tensor::from(std::vector<float>{0, 0, 1, 1}, {1, 4}));
    f.close();
    return dir / name;
  };
  const Dataset d = Dataset::open({write("a.h5", {"cat", "dog"}), write("b.h5", {"dog", "owl"})});
  const Concepts c = d.concepts().value();
  EXPECT_FALSE(c.embeddings.defined());
  EXPECT_EQ(c.names, (std::vector<std::string>{"cat", "dog", "owl"}));
  EXPECT_EQ(c.concept_index, (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(c.image, (std::vector<std::int64_t>{2, 6}));
  EXPECT_NE(d.description().find("concepts: 2 names alone, 1 labelled objects"), std::string::npos);
}

TEST(DatasetErrors, EmbeddingsAndViews) {
  EXPECT_EQ(open_error([](H5File& f) {
              images(f), embeddings(f, {3, 8});
            }),
            "/embeddings has 3 rows but /images has 4; write one row for each image");
  EXPECT_EQ(open_error([](H5File& f) { images(f), embeddings(f, {4}); }),
            "/embeddings is [4]; [N,D] or [N,V,D] is needed");
  EXPECT_EQ(open_error([](H5File& f) {
              images(f);
              f.write("/embeddings", Tensor::zeros({4, 8}, DType::uint8));
            }),
            "/embeddings holds uint8 [4, 8]; float32 or float16 is needed");
  EXPECT_EQ(open_error([](H5File& f) {
              images(f), embeddings(f, {4, 2, 8});
            }),
            "/embeddings has 2 views of each image but there is no /view_seeds to replay them");
  EXPECT_EQ(open_error([](H5File& f) {
              images(f), embeddings(f, {4, 2, 8});
              f.write_uint64("/view_seeds", std::vector<std::uint64_t>(12), {4, 3});
            }),
            "/view_seeds is [4, 3] but /embeddings is [4, 2, 8]; [4, 2] is needed");
  EXPECT_EQ(open_error([](H5File& f) {
              images(f), embeddings(f, {4, 8});
              f.write_uint64("/view_seeds", {0, 1, 2, 3}, {4, 1});
            }),
            "/view_seeds needs views, but /embeddings is [4, 8]; write [N,V,D]");
}

TEST(DatasetErrors, NamesConceptsAndObjects) {
  EXPECT_EQ(open_error([](H5File& f) {
              images(f);
              f.write_strings("/names", {"a", "b"});
            }),
            "/names is [2] but there are 4 images; write one name for each");
  const auto labelled = [](const Tensor& image, const Tensor& concept_index, const std::vector<float>& box,
                           const Shape& vectors = {2, 8}) {
    return open_error([&](H5File& f) {
      images(f), embeddings(f, {4, 8});
      f.write_strings("/concepts/names", {"a", "b"});
      f.write("/concepts/embeddings", Tensor::full(vectors, 1));
      f.write("/objects/image", image);
      f.write("/objects/concept", concept_index);
      f.write("/objects/box", Tensor::from(box, {static_cast<std::int64_t>(box.size()) / 4, 4}));
    });
  };
  const auto integer = [](std::int64_t i) { return Tensor::full({1}, static_cast<double>(i), DType::int64); };
  EXPECT_EQ(labelled(integer(3), integer(1), {0, 0, 1, 1}), "no error");
  EXPECT_EQ(labelled(integer(4), integer(1), {0, 0, 1, 1}),
            "/objects/image row 0 is 4, but there are 4 images");
  EXPECT_EQ(labelled(integer(3), integer(-1), {0, 0, 1, 1}),
            "/objects/concept row 0 is -1, but there are 2 concepts");
  EXPECT_EQ(labelled(integer(3).cast(DType::float32), integer(1), {0, 0, 1, 1}),
            "/objects/image must be integers [M]; it holds float32 [1]");
  EXPECT_EQ(labelled(integer(3), integer(1), {0, 0, 1.5F, 1}),
            "/objects/box row 0 is (0, 0, 1.5, 1); x0 <= x1 and y0 <= y1 in 0..1 are needed");
  EXPECT_EQ(labelled(integer(3), integer(1), {0, std::numeric_limits<float>::quiet_NaN(), 1, 1}),
            "/objects/box row 0 is (0, nan, 1, 1); x0 <= x1 and y0 <= y1 in 0..1 are needed");
  EXPECT_EQ(labelled(integer(3), integer(1), {0, 0, 1, 1, 0, 0, 1, 1}),
            "/objects/image [1], /objects/concept [1] and /objects/box float32 [2, 4] do not fit; [M], [M] "
            "and float "
            "[M,4] are needed");
  EXPECT_EQ(labelled(integer(3), integer(1), {0, 0, 1, 1}, {3, 8}),
            "/concepts/embeddings is float32 [3, 8]; there are 2 names, so float [2,D] is needed");
  EXPECT_EQ(labelled(integer(3), integer(1), {0, 0, 1, 1}, {2, 9}),
            "/concepts/embeddings is [2, 9] but /embeddings has width 8");
  EXPECT_EQ(open_error([](H5File& f) {
              images(f);
              f.write("/objects/image", Tensor::zeros({1}));
            }),
            "labelled regions need /concepts/names, which is missing");
}

TEST(DatasetErrors, LinksInTheFile) {
  const auto linked = [](const char* to) {
    return open_error([&](H5File& f) {
      images(f), embeddings(f, {4, 8});
      f.write("/o2/image", Tensor::zeros({1}));
      H5Lcreate_soft(to, f.id(), "/objects", H5P_DEFAULT, H5P_DEFAULT);
    });
  };
  EXPECT_EQ(linked("/o2"), "labelled regions need /concepts/names, which is missing");  // it is seen
  EXPECT_EQ(linked("/o3"), "/objects is a link to /o3, which is not there; write it, or remove the link");
  EXPECT_EQ(open_error([](H5File& f) {
              images(f);
              H5Lcreate_external("x.h5", "/e", f.id(), "/embeddings", H5P_DEFAULT, H5P_DEFAULT);
            }),
            "/embeddings lies in another file, copy it into this one");
}

TEST(DatasetErrors, FoundWhenUsed) {
  const TempDir dir;
  const auto write = [&](const std::string& name, const Tensor& vectors) {
    H5File f = H5File::create(dir / name);
    images(f);
    if (vectors.defined()) f.write("/embeddings", vectors);
    f.close();
    return dir / name;
  };
  Tensor vectors = Tensor::full({4, 8}, 1);
  vectors.data<float>()[2 * 8 + 5] = std::numeric_limits<float>::infinity();
  const std::string bad = write("bad.h5", vectors), none = write("none.h5", {}),
                    wide = write("wide.h5", Tensor::zeros({4, 9}));
  const Dataset d = Dataset::open(bad);
  EXPECT_EQ(d.target(2).data<float>()[5], std::numeric_limits<float>::infinity());  // as it is stored
  EXPECT_EQ(Dataset::open(none).width(), 0);
  EXPECT_EQ(message_of([&] { Dataset::open(none).target(0); }),
            none + ": has no /embeddings; write them with vitral teach");
  EXPECT_EQ(message_of([&] {
              Dataset::open({bad, none, wide});
            }),
            bad + " has embeddings of width 8 but " + wide + " of width 9; use files of one teacher");
  EXPECT_EQ(message_of([&] { Dataset::open(dir / "no.h5"); }), dir / "no.h5" + std::string(": no such file"));
}

TEST(DatasetWriter, PlainRoundTrip) {
  const TempDir dir;
  const std::string path = dir / "a.h5";
  DatasetWriter w(path, DatasetWriter::Size{7, 9});
  constexpr int n = 300;
  for (int i = 0; i < n; ++i)
    w.add_image(noise_image(7, 9, i), fmt::format("{}.png", i), Tensor::full({5}, i));
  w.set_attribute("teacher", "t");
  w.set_concepts(
      {{"c"}, Tensor::full({1, 5}, 2), {299}, {0}, Tensor::from(std::vector<float>{0, 0, 1, 0.5F}, {1, 4})});
  EXPECT_FALSE(std::filesystem::exists(path));
  w.finish();
  EXPECT_FALSE(std::filesystem::exists(path + ".partial"));
  const Dataset d = Dataset::open(path);
  ASSERT_EQ(d.size(), n);
  for (int i = 0; i < n; i += 23) {
    EXPECT_EQ(d.image(i).to_vector(), noise_image(7, 9, i).to_vector());
    EXPECT_EQ(d.name(i), fmt::format("{}.png", i));
    EXPECT_EQ(d.target(i).to_vector(), std::vector<double>(5, i));
  }
  EXPECT_EQ(d.teacher(), "t");
  EXPECT_EQ(d.concepts()->boxes.to_vector(), (std::vector<double>{0, 0, 1, 0.5}));
  EXPECT_NE(d.description().find("chunks of 300 rows, read directly"), std::string::npos);
}

TEST(DatasetWriter, EncodedWithViewsRoundTrip) {
  const TempDir dir;
  DatasetWriter w(dir / "a.h5", std::nullopt);
  for (int i = 0; i < 3; ++i) w.add_encoded(encode_png(noise_image(5 + i, 4, i)));
  w.finish();
  {
    H5File file = H5File::modify(dir / "a.h5");
    file.write("/embeddings", Tensor::full({3, 2, 4}, 0.5).cast(DType::float16));
    file.write_uint64("/view_seeds", {0, 1, 0, 2, 0, 3}, {3, 2});
  }
  const Dataset d = Dataset::open(dir / "a.h5");
  EXPECT_EQ(d.image(2).to_vector(), noise_image(7, 4, 2).to_vector());
  EXPECT_EQ(d.view_seed(2, 1), 3U);
  EXPECT_EQ(d.target(2, 1).to_vector(), std::vector<double>(4, 0.5));
}

TEST(DatasetWriter, UnfinishedLeavesNothing) {
  const TempDir dir;
  const std::string path = dir / "a.h5";
  std::ofstream(path) << "precious";
  {
    DatasetWriter w(path, DatasetWriter::Size{2, 2});
    w.add_image(noise_image(2, 2, 0), "a");
    EXPECT_EQ(message_of([&] { w.add_image(noise_image(2, 2, 0)); }),
              "dataset writer: image 1 has no name but others have; name all or none");
    EXPECT_EQ(message_of([&] { w.add_image(noise_image(2, 3, 0), "b"); }),
              "dataset writer: image uint8 [2, 3, 3] must be uint8 [2, 2, 3]");
  }
  EXPECT_FALSE(std::filesystem::exists(path + ".partial"));
  std::string text;
  std::ifstream(path) >> text;
  EXPECT_EQ(text, "precious");
  EXPECT_EQ(message_of([&] { DatasetWriter(dir / "no/a.h5", std::nullopt); }),
            dir / "no/a.h5" + std::string(": cannot be created: No such file or directory; check that the "
                                          "folder exists and may be written"));
}

TEST(DatasetWriter, TwoWritersOfOneFile) {
  const TempDir dir;
  const std::string path = dir / "a.h5";
  std::ofstream(path + ".partial") << "of a process that was killed";
  std::filesystem::create_symlink(path, dir / "link.h5");
  DatasetWriter w(path, DatasetWriter::Size{200, 200});
  for (int i = 0; i < 80; ++i) w.add_image(noise_image(200, 200, i));  // more than is buffered
  for (const auto& other : {path, dir / "link.h5"})
    EXPECT_EQ(message_of([&] { DatasetWriter(other, std::nullopt); }),
              path + ": is being written by another process; wait for it, or name another file");
  w.finish();
  const Dataset d = Dataset::open(path);
  ASSERT_EQ(d.size(), 80);
  for (int i = 0; i < 80; ++i) EXPECT_EQ(d.image(i).to_vector(), noise_image(200, 200, i).to_vector()) << i;
  DatasetWriter again(path, std::nullopt);  // which readers do not hinder
  again.finish();
  EXPECT_EQ(Dataset::open(path).size(), 0);
}

// A limit on file sizes stands for a full disk: writes fail in the same way, with another errno.
TEST(DatasetWriter, FullDiskIsAnErrorAndLeavesNothing) {
  const TempDir dir;
  const std::string path = dir / "a.h5";
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  for (const rlim_t bytes : {rlim_t{100}, rlim_t{300'000}, rlim_t{6'000'000}}) {
    rlimit small = before;
    small.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &small);
    const std::string message = message_of([&] {
      DatasetWriter w(path, DatasetWriter::Size{100, 100});
      for (int i = 0; i < 300; ++i) w.add_image(noise_image(100, 100, i), fmt::format("{}", i));
      w.finish();
    });
    setrlimit(RLIMIT_FSIZE, &before);
    EXPECT_TRUE(message.find("; the file is damaged or the disk is full") != std::string::npos ||
                message.find("cannot be created") != std::string::npos)
        << message;
    EXPECT_TRUE(std::filesystem::is_empty(dir.str())) << bytes;
  }
  DatasetWriter w(path, DatasetWriter::Size{2, 2});  // and the library still works
  w.add_image(noise_image(2, 2, 0));
  w.finish();
  EXPECT_EQ(Dataset::open(path).size(), 1);
}

TEST(DatasetWriter, FullDiskDoesNotCrashAtExit) {
  const TempDir dir;
  const auto fill_and_exit = [&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit small{500'000, 500'000};
    setrlimit(RLIMIT_FSIZE, &small);
    const std::string message = message_of([&] {
      DatasetWriter w(dir / "a.h5", DatasetWriter::Size{100, 100});
      for (int i = 0; i < 300; ++i) w.add_image(noise_image(100, 100, i));
      w.finish();
    });
    std::exit(message == "no error" ? 1 : 7);
  };
  EXPECT_EXIT(fill_and_exit(), testing::ExitedWithCode(7), "");
}

}  // namespace
}  // namespace vitral::data
