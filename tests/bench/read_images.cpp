// What images cost before the model sees them, on one thread.
//
// Random reads of 300x300x3 images, chunked one image a chunk: pread at chunk addresses (Dataset) against
// H5Dread; and the same with gzip, which the library unpacks in a child of this process. The file (1,000
// images, 270 MB) is written into FOLDER first and stays in the page cache. Then decoding and transforms of
// JPEG files: those given, or one made up.
//
//   ninja -C build tests/bench_read_images && build/tests/bench_read_images [FOLDER [PHOTO.jpg...]]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <hdf5.h>

#include "base/files/input_file.h"
#include "base/random.h"
#include "data/dataset.h"
#include "data/dataset_writer.h"
#include "data/images/augment.h"
#include "data/images/blur.h"
#include "data/images/color.h"
#include "data/images/image.h"
#include "data/images/resize.h"
#include "tests/bench/made_up.h"
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

using Bytes = std::vector<std::uint8_t>;

// Image i begins with i % 251.
void write(const std::string& path, bool compressed) {
  Tensor image =
      compressed ? vitral::bench::made_up_image(side, side) : Tensor({side, side, 3}, vitral::DType::uint8);
  if (!compressed) {
    vitral::data::DatasetWriter writer(path, vitral::data::DatasetWriter::Size{side, side});
    for (int i = 0; i < count; ++i) {
      std::memset(image.raw(), i % 251, image.bytes());
      writer.add_image(image);
    }
    return writer.finish();
  }
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  const hsize_t all[4] = {count, side, side, 3}, one[4] = {1, side, side, 3};
  const hid_t space = H5Screate_simple(4, all, nullptr), memory = H5Screate_simple(4, one, nullptr),
              creation = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_chunk(creation, 4, one);
  H5Pset_deflate(creation, 4);
  const hid_t images =
      H5Dcreate2(file, "/images", H5T_NATIVE_UINT8, space, H5P_DEFAULT, creation, H5P_DEFAULT);
  for (hsize_t i = 0; i < count; ++i) {
    const hsize_t start[4] = {i, 0, 0, 0};
    image.data<std::uint8_t>()[0] = static_cast<std::uint8_t>(i % 251);
    H5Sselect_hyperslab(space, H5S_SELECT_SET, start, nullptr, one, nullptr);
    H5Dwrite(images, H5T_NATIVE_UINT8, memory, space, H5P_DEFAULT, image.raw());
  }
  for (const hid_t id : {space, memory}) H5Sclose(id);
  H5Pclose(creation);
  H5Dclose(images);
  H5Fclose(file);
}

Bytes read_bytes(const std::string& path) {
  const vitral::InputFile file(path);
  Bytes bytes(file.size());
  file.read(0, bytes.data(), bytes.size());
  return bytes;
}

// The least time of a call, over many calls: what else runs on the machine only adds.
template <class Work>
double least_seconds(double duration, Work&& work) {
  work();
  double least = 1e9;
  for (const double start = vitral::bench::now(); vitral::bench::now() - start < duration;) {
    const double begin = vitral::bench::now();
    work();
    least = std::min(least, vitral::bench::now() - begin);
  }
  return least;
}

// The mean over `count` calls work(i), each at its least time.
template <class Work>
void print_mean(const char* what, int count, Work&& work) {
  double seconds = 0;
  for (int i = 0; i < count; ++i) seconds += least_seconds(count > 1 ? 0.03 : 0.3, [&] { work(i); });
  seconds /= count;
  std::printf("  %-36s %9.1f us  %8.0f images/s\n", what, 1e6 * seconds, 1 / seconds);
}

void measure_transforms(const Bytes& file) {
  using namespace vitral::data;
  const Tensor image = decode_image(file, "image");
  const Tensor square = resize(image, 300, 300, Filter::bilinear);
  const Bytes small = encode_jpeg(square, 90);
  std::printf("%lld x %lld pixels, %zu bytes; at 300 x 300 %zu bytes\n", static_cast<long long>(image.dim(1)),
              static_cast<long long>(image.dim(0)), file.size(), small.size());
  print_mean("decode", 1, [&](auto) { decode_image(file, "image"); });
  for (const int size : {300, 224})
    print_mean(fmt::format("decode scaled, for {}", size).c_str(), 1,
               [&](auto) { decode_image(file, "image", {min_side_for(size)}); });
  for (const int size : {300, 224})
    print_mean(fmt::format("decode and resize to {}", size).c_str(), 1,
               [&](auto) { resize(decode_image(file, "image"), size, size, Filter::bilinear); });
  for (const int size : {300, 224})
    print_mean(fmt::format("decode scaled and resize to {}", size).c_str(), 1, [&](auto) {
      resize(decode_image(file, "image", {min_side_for(size)}), size, size, Filter::bilinear);
    });
  print_mean("resize to 300", 1, [&](auto) { resize(image, 300, 300, Filter::bilinear); });
  print_mean("resize to 224", 1, [&](auto) { resize(image, 224, 224, Filter::bilinear); });
  print_mean("resize to 224, bicubic", 1, [&](auto) { resize(image, 224, 224, Filter::bicubic); });
  std::printf("at 300 x 300:\n");
  print_mean("decode", 1, [&](auto) { decode_image(small, "image"); });
  print_mean("resize to 224", 1, [&](auto) { resize(square, 224, 224, Filter::bilinear); });
  print_mean("brightness", 1, [&](auto) { adjust_brightness(square, 1.2F); });
  print_mean("contrast", 1, [&](auto) { adjust_contrast(square, 1.2F); });
  print_mean("saturation", 1, [&](auto) { adjust_saturation(square, 1.2F); });
  print_mean("greyscale", 1, [&](auto) { grayscale(square); });
  print_mean("flip", 1, [&](auto) { horizontal_flip(square); });
  print_mean("blur", 1, [&](auto) { gaussian_blur(square, 5, 1.0F); });
  print_mean("posterise", 1, [&](auto) { posterize(square, 3); });
  print_mean("autocontrast", 1, [&](auto) { autocontrast(square); });
  const AugmentConfig clip = AugmentConfig::clip();
  const auto seed = [](int i) { return static_cast<std::uint64_t>(i) + 1; };
  constexpr int seeds = 60;
  print_mean("augment: clip", seeds, [&](int i) { augment(square, clip, 224, seed(i)); });
  print_mean("decode and augment: clip", seeds,
             [&](int i) { augment(decode_image(small, "image"), clip, 224, seed(i)); });
  // What is left of that where a GPU augments: pixels as they are, and what is to be done to them.
  Tensor batch(square.shape(), vitral::DType::uint8),
      record({augmentation_bytes(clip)}, vitral::DType::uint8);
  print_mean("decode and draw for a GPU: clip", seeds, [&](int i) {
    const Tensor whole = resize_first(decode_image(small, "image"), clip);
    write_augmentation(record.data<std::uint8_t>(), clip, 300, 300, 224, seed(i));
    batch.copy_from(whole);
  });
}

void measure_reads(const std::filesystem::path& folder, bool compressed) {
  const std::string path = (folder / "vitral-read-images.h5").string();
  write(path, compressed);
  std::vector<std::uint8_t> pixels(image_bytes);
  const double opening = vitral::bench::now();
  const auto dataset = vitral::data::Dataset::open(path);
  std::printf("index of %d chunks: %.2f ms\n", count, 1e3 * (vitral::bench::now() - opening));
  const double ours =
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
  std::printf("%s %8.0f images/s  %5.2f GB/s\nH5Dread %8.0f images/s  %5.2f GB/s\n",
              compressed ? "gzip, in a child" : "pread  ", ours, ours * gb, library, library * gb);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  for (const bool compressed : {false, true})
    measure_reads(
        arguments.empty() ? std::filesystem::temp_directory_path() : std::filesystem::path(arguments[0]),
        compressed);
  if (arguments.size() < 2)
    for (const int height : {480, 3000})
      measure_transforms(vitral::data::encode_jpeg(vitral::bench::made_up_image(height, height * 4 / 3), 90));
  for (std::size_t i = 1; i < arguments.size(); ++i) measure_transforms(read_bytes(arguments[i]));
}
