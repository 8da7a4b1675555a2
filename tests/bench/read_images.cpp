// Random reads of 300x300x3 images, chunked one image a chunk: pread at chunk addresses (Dataset) against
// H5Dread, on one thread. The file (1,000 images, 270 MB) is written first and stays in the page cache.
//
//   ninja -C build tests/bench_read_images && build/tests/bench_read_images [FOLDER]
#include <cstdio>
#include <cstring>
#include <filesystem>

#include <hdf5.h>

#include "data/dataset.h"
#include "data/dataset_writer.h"
#include "tensor/random.h"
#include "tests/bench/timing.h"

namespace {

using vitral::Random;
using vitral::Tensor;

constexpr int count = 1000;
constexpr std::int64_t side = 300;
constexpr std::size_t image_bytes = side * side * 3;

// Reads for two seconds; returns images a second.
template <class Read>
double measure(Read&& read, std::uint8_t* to) {
  Random random(1);
  const double start = vitral::bench::now();
  std::int64_t done = 0;
  for (; vitral::bench::now() - start < 2; ++done) {
    const auto i = static_cast<std::int64_t>(random.below(count));
    read(i, to);
    if (to[0] != i % 251) {
      std::fprintf(stderr, "image %lld is wrong\n", static_cast<long long>(i));
      std::exit(1);
    }
  }
  return static_cast<double>(done) / (vitral::bench::now() - start);
}

void write(const std::string& path) {
  vitral::data::DatasetWriter writer(path, vitral::data::DatasetWriter::Size{side, side});
  Tensor image({side, side, 3}, vitral::DType::uint8);
  for (int i = 0; i < count; ++i) {
    std::memset(image.raw(), i % 251, image.bytes());
    writer.add_image(image);
  }
  writer.finish();
}

}  // namespace

int main(int argc, char** argv) {
  const auto folder = argc > 1 ? std::filesystem::path(argv[1]) : std::filesystem::temp_directory_path();
  const std::string path = (folder / "vitral-read-images.h5").string();
  write(path);
  std::vector<std::uint8_t> pixels(image_bytes);
  const double opening = vitral::bench::now();
  const auto dataset = vitral::data::Dataset::open(path);
  std::printf("index of %d chunks: %.2f ms\n", count, 1e3 * (vitral::bench::now() - opening));
  const double direct =
      measure([&](std::int64_t i, std::uint8_t* to) { dataset.read_plain(i, to); }, pixels.data());

  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  const hid_t images = H5Dopen2(file, "/images", H5P_DEFAULT);
  const hid_t space = H5Dget_space(images);
  const hsize_t extent[4] = {1, side, side, 3};
  const hid_t memory = H5Screate_simple(4, extent, nullptr);
  const double library = measure(
      [&](std::int64_t i, std::uint8_t* to) {
        const hsize_t start[4] = {static_cast<hsize_t>(i), 0, 0, 0};
        H5Sselect_hyperslab(space, H5S_SELECT_SET, start, nullptr, extent, nullptr);
        H5Dread(images, H5T_NATIVE_UINT8, memory, space, H5P_DEFAULT, to);
      },
      pixels.data());
  H5Sclose(memory);
  H5Sclose(space);
  H5Dclose(images);
  H5Fclose(file);
  std::filesystem::remove(path);
  const double gb = static_cast<double>(image_bytes) / 1e9;
  std::printf("pread   %8.0f images/s  %5.1f GB/s\nH5Dread %8.0f images/s  %5.1f GB/s\n", direct, direct * gb,
              library, library * gb);
}
