// Our own reading of chunk indexes against the library's; tests/reference/make_chunk_indexes.py wrote the
// files.
#include <filesystem>
#include <map>

#include <gtest/gtest.h>
#include <hdf5.h>

#include "base/random.h"
#include "data/hdf5/storage_index.h"
#include "tests/chunk_structures.h"
#include "tests/support.h"

namespace vitral::data {
namespace {

using test::bytes_of_file;
using test::message_of;
using test::put_file;
using test::TempDir;

std::vector<std::string> golden_files(const std::string& folder, const std::string& prefix) {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (const std::string name = entry.path().filename().string();
        name.starts_with(prefix) && name.ends_with(".h5"))
      paths.push_back(entry.path().string());
  return paths;
}

std::vector<std::string> index_files() { return golden_files("tests/golden/chunk_indexes", ""); }

// Chunked datasets whose rows are read directly.
std::map<std::string, StorageIndex> chunked_datasets(const std::string& path) {
  std::map<std::string, StorageIndex> found;
  const H5File file = H5File::open(path);
  const InputFile bytes(path);
  for (const auto& entry : file.contents()) {
    if (entry.shape == "[]") continue;
    StorageIndex index = index_storage(file, bytes, entry.name, file.layout(entry.name));
    if (index.layout.starts_with("chunks") && index.obstacle.empty()) found.emplace(entry.name, index);
  }
  return found;
}

// What the library says of each chunk, or of every `step`th.
void expect_as_the_library(const std::string& path, const std::string& name, const StorageIndex& index,
                           std::size_t step = 1) {
  const H5File file = H5File::open(path);
  const auto places = file.locate_chunks(name, file.layout(name), step);
  ASSERT_EQ(places.size(), (index.pieces.size() + step - 1) / step);
  for (std::size_t i = 0; i < places.size(); ++i)
    ASSERT_EQ(index.pieces[i * step], places[i]) << path << " " << name << " chunk " << i * step;
}

TEST(ChunkIndex, IsReadAsTheLibraryReadsIt) {
  std::vector<std::string> paths = index_files();
  EXPECT_EQ(paths.size(), 5U);
  for (const auto& path : golden_files("tests/golden", "layouts_")) paths.push_back(path);
  int datasets = 0, unwritten = 0;
  for (const auto& path : paths) {
    const H5File file = H5File::open(path);
    for (const auto& [name, index] : chunked_datasets(path)) {
      const auto own =
          read_chunk_index(InputFile(path), name, describe_chunks(file.layout(name), path, name));
      ASSERT_TRUE(own) << path << " " << name;
      EXPECT_EQ(*own, index.pieces) << path << " " << name;
      expect_as_the_library(path, name, index);
      ++datasets;
      if (index.unwritten_rows() > 0) ++unwritten;
    }
  }
  EXPECT_GE(datasets, 5 * 20 + 4 + 10);
  EXPECT_GE(unwritten, 5 * 8);
  const std::string newest = bytes_of_file("tests/golden/chunk_indexes/v110.h5");
  for (const char* kind : {"FAHD", "FADB", "EAHD", "EAIB", "EASB", "EADB", "BTHD", "BTIN", "BTLF"})
    EXPECT_NE(newest.find(kind), std::string::npos) << kind;
}

TEST(ChunkIndex, RowsAreThoseThatWereWritten) {
  for (const auto& path : index_files()) {
    const H5File file = H5File::open(path);
    const InputFile bytes(path);
    for (const auto& [name, index] : chunked_datasets(path)) {
      const Tensor expected = file.read(name);  // by the library
      std::vector<std::uint8_t> row(index.row_bytes);
      const std::string fill(index.row_bytes, '\xff');
      for (std::int64_t i = 0; i < index.rows; ++i) {
        if (!index.read(bytes, i, 1, row.data())) std::copy(fill.begin(), fill.end(), row.begin());
        ASSERT_EQ(0, std::memcmp(row.data(),
                                 expected.data<std::uint8_t>() + i * static_cast<std::int64_t>(row.size()),
                                 row.size()))
            << path << " " << name << " row " << i;
      }
    }
  }
}

// A file of uint8 rows as an unusual program would write it.
void write_rows(const std::string& path, hsize_t rows, hsize_t row_bytes, unsigned tree_rank, bool early) {
  const hid_t creation = H5Pcreate(H5P_FILE_CREATE), properties = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_istore_k(creation, tree_rank);
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation, H5P_DEFAULT);
  const hsize_t extents[] = {rows, row_bytes}, chunk[] = {1, row_bytes};
  const hid_t space = H5Screate_simple(2, extents, nullptr);
  H5Pset_chunk(properties, 2, chunk);
  if (early) {
    H5Pset_alloc_time(properties, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(properties, H5D_FILL_TIME_NEVER);
  }
  const hid_t dataset =
      H5Dcreate2(file, "rows", H5T_NATIVE_UINT8, space, H5P_DEFAULT, properties, H5P_DEFAULT);
  if (!early) {
    const std::vector<std::uint8_t> data(rows * row_bytes, 3);
    EXPECT_GE(H5Dwrite(dataset, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, data.data()), 0);
  }
  H5Dclose(dataset);
  H5Pclose(properties);
  H5Sclose(space);
  EXPECT_GE(H5Fclose(file), 0);
  H5Pclose(creation);
}

TEST(ChunkIndex, TreesOfAnyRank) {
  const TempDir dir;
  const std::string path = dir / "a.h5";
  for (const unsigned rank : {2U, 7U, 200U}) {
    write_rows(path, 300, 2, rank, false);
    const auto datasets = chunked_datasets(path);
    ASSERT_EQ(datasets.size(), 1U);
    EXPECT_EQ(datasets.at("/rows").unwritten_rows(), 0);
    expect_as_the_library(path, "/rows", datasets.at("/rows"));
  }
}

TEST(ChunkIndex, AMillionChunks) {
  const TempDir dir;
  const std::string path = dir / "a.h5";
  write_rows(path, 1000000, 4096, 32, true);  // holes, all of them
  const auto datasets = chunked_datasets(path);
  ASSERT_EQ(datasets.at("/rows").pieces.size(), 1000000U);
  EXPECT_EQ(datasets.at("/rows").unwritten_rows(), 0);
  expect_as_the_library(path, "/rows", datasets.at("/rows"), 997);
}

// Of which the last one alone was ever written.
void write_last_row(const std::string& path, hsize_t rows, H5F_libver_t version) {
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS), properties = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_libver_bounds(access, version, H5F_LIBVER_LATEST);
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
  const hsize_t extents[] = {rows, 5}, most[] = {H5S_UNLIMITED, 5}, chunk[] = {1, 5}, last[] = {rows - 1, 0};
  const hid_t space = H5Screate_simple(2, extents, most);
  H5Pset_chunk(properties, 2, chunk);
  const hid_t dataset =
      H5Dcreate2(file, "rows", H5T_NATIVE_UINT8, space, H5P_DEFAULT, properties, H5P_DEFAULT);
  EXPECT_GE(H5Dwrite_chunk(dataset, H5P_DEFAULT, 0, last, 5, "last!"), 0);
  H5Dclose(dataset);
  H5Sclose(space);
  H5Pclose(properties);
  EXPECT_GE(H5Fclose(file), 0);
  H5Pclose(access);
  EXPECT_LT(std::filesystem::file_size(path), 2000000U);
}

TEST(ChunkIndex, TenMillionChunksMayBeUnwritten) {
  const TempDir dir;
  const std::string path = dir / "a.h5";
  for (const auto version : {H5F_LIBVER_EARLIEST, H5F_LIBVER_LATEST}) {
    write_last_row(path, 10000000, version);
    const StorageIndex index = chunked_datasets(path).at("/rows");
    EXPECT_EQ(index.rows, 10000000);
    EXPECT_EQ(index.unwritten_rows(), index.rows - 1);
    std::string row(5, ' ');
    EXPECT_TRUE(index.read(InputFile(path), index.rows - 1, 1, row.data()));
    EXPECT_EQ(row, "last!");
    write_last_row(path, 1000000000, version);  // 8 GB for a file that says no more
    const std::string message = message_of([&] { chunked_datasets(path); });
    EXPECT_TRUE(message.starts_with(path + ": /rows claims 1000000000 chunks in a file of ")) << message;
    EXPECT_TRUE(message.ends_with(" bytes, the file is damaged; write it again")) << message;
  }
}

TEST(ChunkIndex, DamageIsSaidOrHarmless) {
  const TempDir dir;
  const std::string path = dir / "damaged.h5";
  int told = 0, other = 0, same = 0;
  for (const auto& golden : index_files()) {
    const std::string whole = bytes_of_file(golden);
    const test::ChunkStructures structures(whole);
    ASSERT_GE(structures.size(), 15U) << golden;
    const H5File file = H5File::open(golden);  // the library does not see the damage
    const auto datasets = chunked_datasets(golden);
    std::map<std::string, ChunkGrid> grids;
    for (const auto& dataset : datasets)
      grids[dataset.first] = describe_chunks(file.layout(dataset.first), golden, dataset.first);
    Random random(14);
    for (int trial = 0; trial < 400; ++trial) {
      std::string bytes = whole;
      for (auto edits = 1 + random.below(3); edits > 0; --edits) {
        const std::uint64_t values[] = {random.next(), random.below(bytes.size()), random.below(8),
                                        ~std::uint64_t{0}};
        structures.damage(bytes, random.next(), random.next(), values[random.below(4)],
                          std::size_t{1} << random.below(4));
      }
      put_file(path, bytes);
      const InputFile damaged(path);
      for (const auto& [name, grid] : grids) {
        try {
          const auto found = read_chunk_index(damaged, name, grid);
          ASSERT_TRUE(!found || found->size() == grid.count);
          ++(found == datasets.at(name).pieces ? same : other);
        } catch (const Error& e) {
          ++told;
          ASSERT_TRUE(std::string(e.what()).starts_with(path + ": what says where " + name +
                                                        " lies is damaged at byte "))
              << e.what();
        }
      }
    }
  }
  EXPECT_GT(told, 300);
  EXPECT_GT(other, 100);
  EXPECT_GT(same, 10000);
}

// A tree that leads back to itself, and one whose chunk lies beyond the end.
TEST(ChunkIndex, CirclesEnd) {
  const TempDir dir;
  const std::string path = dir / "a.h5";
  write_rows(path, 300, 2, 2, false);
  std::string bytes = bytes_of_file(path);
  const H5File file = H5File::open(path);
  const ChunkGrid grid = describe_chunks(file.layout("/rows"), path, "/rows");
  // Every node of a level above the leaves: its children become the first node of its own level, renamed to
  // fit the level below in turn.
  std::vector<std::size_t> nodes;
  for (auto at = bytes.find("TREE\1"); at != std::string::npos; at = bytes.find("TREE\1", at + 1))
    nodes.push_back(at);
  ASSERT_GT(nodes.size(), 50U);
  for (const std::size_t at : nodes) {
    const std::uint64_t first = nodes.front();
    const std::size_t used = static_cast<unsigned char>(bytes[at + 6]);
    for (std::size_t i = 0; bytes[at + 5] > 0 && i < used; ++i)
      std::memcpy(bytes.data() + at + 24 + i * 40 + 32, &first, sizeof first);
  }
  const std::string damaged = dir / "b.h5";
  put_file(damaged, bytes);
  EXPECT_NE(message_of([&] {
              read_chunk_index(InputFile(damaged), "/rows", grid);
            }).find(": what says where /rows lies is damaged at byte "),
            std::string::npos);
}

}  // namespace
}  // namespace vitral::data
