// vitral teach --from: embeddings made elsewhere.
#include "data/dataset.h"
#include "data/dataset_writer.h"
#include "data/hdf5/file.h"
#include "tests/cli/program.h"
#include "tests/noise.h"

namespace vitral::test {
namespace {

// A .npy file, version 1.
std::string npy(const std::string& header, const Tensor& values) {
  std::string text = header + " ";
  while ((10 + text.size()) % 64 != 63) text += ' ';
  text += '\n';
  std::string out = "\x93NUMPY\x01";
  out += '\0';
  out += static_cast<char>(text.size() & 0xff);
  out += static_cast<char>(text.size() >> 8);
  const std::size_t bytes = static_cast<std::size_t>(values.numel()) * size_of(values.dtype());
  return out + text + std::string(static_cast<const char*>(values.raw()), bytes);
}

class TeachFrom : public testing::Test {
 protected:
  TeachFrom() {
    data::DatasetWriter writer(file(), data::DatasetWriter::Size{2, 2});
    for (const char* name : {"a.jpg", "b.jpg", "c.jpg"})
      writer.add_image(Tensor::zeros({2, 2, 3}, DType::uint8), name);
    writer.finish();
    put_file(dir_ / "e.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 5), }", rows_));
  }
  std::string file() const { return dir_ / "d.h5"; }
  Result teach(const std::string& from, const Program::Arguments& more = {}) const {
    Program::Arguments out{"teach", file(), "--from", dir_ / from, "--force"};
    out.insert(out.end(), more.begin(), more.end());
    return run(out);
  }
  void expect_rows(const std::vector<std::int64_t>& which, const Result& r, const std::string& how) const {
    expect_done(r);
    EXPECT_EQ(r.out, file() + ": embeddings of 3 images, 5 wide, by " + how + "\n");
    const data::Dataset d = data::Dataset::open(file());
    for (std::int64_t i = 0; i < 3; ++i) {
      const std::int64_t row = which[static_cast<std::size_t>(i)];
      EXPECT_EQ(d.target(i).to_vector(), rows_.rows(row, row + 1).to_vector()) << i;
    }
  }

  TempDir dir_;
  Tensor rows_ = noise({3, 5}, 1);
};

TEST_F(TeachFrom, NumpyByOrderAndByName) {
  expect_rows({0, 1, 2}, teach("e.npy"), "order");
  EXPECT_EQ(data::Dataset::open(file()).teacher().value(), dir_ / "e.npy");
  put_file(dir_ / "names.txt",
           "\xef\xbb\xbf"
           "c.jpg\r\na.jpg\r\nb.jpg\r\n");
  expect_rows({1, 2, 0}, teach("e.npy", {"--from-names", dir_ / "names.txt"}), "name");
  put_file(dir_ / "names.txt", "c.jpg\na.jpg\nx.jpg\n");
  expect_failure(teach("e.npy", {"--from-names", dir_ / "names.txt"}), 2,
                 (dir_ / "names.txt") + ": has no row for b.jpg of " + file());
  std::filesystem::create_directories(dir_ / "laion/img_emb");
  const std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': ";
  put_file(dir_ / "laion/img_emb/img_emb_0.npy", npy(header + "(2, 1, 5), }", rows_.rows(0, 2).clone()));
  put_file(dir_ / "laion/img_emb/img_emb_1.npy", npy(header + "(1, 5), }", rows_.rows(2, 3).clone()));
  expect_rows({0, 1, 2}, teach("laion"), "order");
}

TEST_F(TeachFrom, Hdf5UnderAnotherName) {
  const std::string path = dir_ / "e.h5";
  data::H5File f = data::H5File::create(path);
  f.write("/features", rows_);
  f.write("/other", rows_);
  f.write_strings("/names", {"b.jpg", "c.jpg", "a.jpg"});
  f.close();
  expect_failure(teach("e.h5"), 2,
                 path + ": holds several arrays: /features, /other; choose one with --name");
  expect_rows({2, 0, 1}, teach("e.h5", {"--name", "features"}), "name");
}

// tests/reference/make_embeddings.py
TEST_F(TeachFrom, ArchivesOfNumpy) {
  rows_ = Tensor::from(
      std::vector<float>{1.25, 0.5, 0, -1, -1, -2, -1.75, -2, -1.5, 1.25, 0.5, 1.5, 0, 0.25, 1.75}, {3, 5});
  const std::filesystem::path golden = std::filesystem::absolute("tests/golden");
  const std::string stored = golden / "embeddings.npz", compressed = golden / "embeddings_compressed.npz";
  const auto from = [&](const std::string& path, const std::string& name) {
    Program::Arguments arguments{"teach", file(), "--from", path, "--force"};
    if (!name.empty()) arguments.insert(arguments.end(), {"--name", name});
    return run(arguments);
  };
  expect_rows({0, 1, 2}, from(stored, ""), "order");
  for (const char* name : {"float32", "float64", "float16"}) {
    expect_rows({0, 1, 2}, from(compressed, name), "order");
    EXPECT_EQ(data::Dataset::open(file()).teacher().value(), compressed + ": " + name);
  }
  expect_failure(
      from(compressed, ""), 2,
      compressed +
          ": holds several arrays: float32, float64, float16, ints, columns, big_endian; choose one with "
          "--name");
  expect_failure(from(compressed, "rows"), 2,
                 compressed + ": has no rows; it has float32, float64, float16, ints, columns, big_endian");
  expect_failure(from(compressed, "ints"), 2,
                 compressed + "/ints.npy: holds <i8; store float32 or float16, little-endian");
  expect_failure(from(compressed, "big_endian"), 2,
                 compressed + "/big_endian.npy: holds >f4; store float32 or float16, little-endian");
  expect_failure(
      from(compressed, "columns"), 2,
      compressed + "/columns.npy: is stored column by column; write numpy.ascontiguousarray() of it");
  std::string bytes = bytes_of_file(stored);
  put_file(dir_ / "cut.npz", bytes.substr(0, bytes.size() / 2));
  expect_failure(from(dir_ / "cut.npz", ""), 1,
                 (dir_ / "cut.npz") + ": is no .npz archive, or damaged; write it again");
  bytes[bytes.find("NUMPY") + 130] ^= 1;  // a value; the archive holds a checksum
  put_file(dir_ / "odd.npz", bytes);
  expect_failure(from(dir_ / "odd.npz", ""), 1,
                 (dir_ / "odd.npz") + "/arr_0.npy: is truncated or damaged; write it again");
}

TEST_F(TeachFrom, NamesMustBeUnique) {
  const std::string names = dir_ / "names.txt";
  put_file(names, "a.jpg\nb.jpg\na.jpg\n");
  expect_failure(teach("e.npy", {"--from-names", names}), 2,
                 names + ": two rows are called a.jpg; names must be unique");
  // As older versions packed two folders.
  data::DatasetWriter writer(file(), data::DatasetWriter::Size{2, 2});
  for (const char* name : {"a.jpg", "b.jpg", "a.jpg"})
    writer.add_image(Tensor::zeros({2, 2, 3}, DType::uint8), name);
  writer.finish();
  put_file(names, "a.jpg\nb.jpg\nc.jpg\n");
  expect_failure(teach("e.npy", {"--from-names", names}), 2,
                 file() + ": two images are called a.jpg; names must be unique, pack the images again");
}

// What a teacher would be told; nothing of it is left out in silence.
TEST_F(TeachFrom, HasNoTeacher) {
  const std::vector<Program::Arguments> of_teacher{
      {"--views", "2"},       {"--plain-view"},        {"--augment", "none"}, {"--config", dir_ / "c.yaml"},
      {"--image-size", "32"}, {"--seed", "1"},         {"--regions", "2"},    {"--patches"},
      {"--grid", "2"},        {"--transform", "clip"}, {"--heads", "2"},      {"--activation", "gelu"},
      {"--exif", "ignore"},   {"--batch", "1"},        {"--device", "cpu"},   {"--restart"}};
  for (const auto& option : of_teacher)
    expect_failure(teach("e.npy", option), 2, "--from excludes " + option.front() + "; see vitral --help");
  expect_failure(teach("e.npy", {"--teacher", "clip"}), 2, "--teacher excludes --from; see vitral --help");
  EXPECT_EQ(data::Dataset::open(file()).width(), 0);
}

TEST_F(TeachFrom, WhatDoesNotFit) {
  std::filesystem::create_directory(dir_ / "laion");
  std::filesystem::copy_file(dir_ / "e.npy", dir_ / "laion/img_emb_0.npy");
  const std::string path = dir_ / "bad.npy", header = "{'descr': '<f4', 'fortran_order': ";
  put_file(path, npy(header + "False, 'shape': (2, 5), }", rows_));
  expect_failure(
      teach("bad.npy"), 2,
      path + ": has 2 rows but " + file() + " has 3 images; one for each is needed, or --from-names");
  put_file(path, npy(header + "True, 'shape': (3, 5), }", rows_));
  expect_failure(teach("bad.npy"), 2,
                 path + ": is stored column by column; write numpy.ascontiguousarray() of it");
  put_file(path, npy(header + "False, 'shape': (4, 5), }", rows_));
  expect_failure(teach("bad.npy"), 1,
                 path + ": is truncated: 80 bytes of values are needed, 60 are there; copy it again");
  put_file(dir_ / "e.parquet", "PAR1");
  expect_failure(
      teach("e.parquet"), 2,
      (dir_ / "e.parquet") +
          ": Parquet is not read; write numpy.stack(pandas.read_parquet(...)['embedding']) as .npy");
  put_file(dir_ / "e.pt", "PK");
  expect_failure(teach("e.pt"), 2, (dir_ / "e.pt") + ": is not read; write torch.load(...).numpy() as .npy");
  expect_failure(teach("none.npy"), 2, (dir_ / "none.npy") + ": no such file");
  for (const std::string from : {"e.npy", "laion"})
    expect_failure(teach(from, {"--name", "rows"}), 2,
                   (dir_ / from) + ": is one array, which has no name; leave --name rows out");
  expect_failure(run({"teach", file()}), 2,
                 "teach: name a teacher with --teacher, or a file of embeddings with --from");
  EXPECT_EQ(data::Dataset::open(file()).width(), 0);
}

}  // namespace
}  // namespace vitral::test
