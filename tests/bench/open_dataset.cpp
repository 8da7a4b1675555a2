// How long opening a dataset of millions of chunks takes, in a process of its own each time.
//
// /images of 64x64x3, one image a chunk, never written (holes: the disk needs what the index of the chunks
// takes, some 65 bytes a chunk), as old and as new programs write them; one with a single image; and the
// names of a million images. For comparison the library is asked for each chunk of a smaller file.
//
//   ninja -C build tests/bench_open_dataset && build/tests/bench_open_dataset [FOLDER]
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <hdf5.h>
#include <sys/wait.h>
#include <unistd.h>

#include "data/dataset.h"
#include "data/hdf5/file.h"
#include "tests/bench/process.h"
#include "tests/bench/timing.h"

namespace {

constexpr hsize_t side = 64, million = 1000000;

enum class Chunks { all, one };

void write(const std::string& path, hsize_t count, bool newest, hsize_t most, Chunks chunks) {
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS), properties = H5Pcreate(H5P_DATASET_CREATE);
  if (newest) H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
  const hsize_t extents[] = {count, side, side, 3}, limits[] = {most, side, side, 3},
                chunk[] = {1, side, side, 3};
  const hid_t space = H5Screate_simple(4, extents, limits);
  H5Pset_chunk(properties, 4, chunk);
  H5Pset_fill_time(properties, H5D_FILL_TIME_NEVER);
  if (chunks == Chunks::all) H5Pset_alloc_time(properties, H5D_ALLOC_TIME_EARLY);
  const hid_t dataset =
      H5Dcreate2(file, "images", H5T_NATIVE_UINT8, space, H5P_DEFAULT, properties, H5P_DEFAULT);
  if (chunks == Chunks::one) {
    const hsize_t last[] = {count - 1, 0, 0, 0};
    const std::vector<std::uint8_t> image(side * side * 3, 7);
    H5Dwrite_chunk(dataset, H5P_DEFAULT, 0, last, image.size(), image.data());
  }
  H5Dclose(dataset);
  H5Sclose(space);
  if (H5Fclose(file) < 0) {
    std::fprintf(stderr, "%s: cannot be written; the disk is full\n", path.c_str());
    std::exit(1);
  }
  H5Pclose(access);
  H5Pclose(properties);
}

void add_names(const std::string& path, std::size_t count) {
  vitral::data::H5File file = vitral::data::H5File::modify(path);
  std::vector<std::string> names;
  for (std::size_t i = 0; i < count; ++i) names.push_back(fmt::format("photographs/{:08}.jpg", i));
  file.write_strings("/names", names);
  file.close();
}

// In another process, thrice: what that costs it.
void measure(const char* what, const std::string& path, const char* how = "--open") {
  const auto megabytes = [](std::uint64_t bytes) { return static_cast<double>(bytes) / 1e6; };
  std::printf("%-66s file %8.0f MB ", what, megabytes(std::filesystem::file_size(path)));
  for (int round = 0; round < 3; ++round) {
    std::fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
      execl("/proc/self/exe", "bench_open_dataset", how, path.c_str(), nullptr);
      _exit(127);
    }
    int status = 0;
    if (waitpid(child, &status, 0) != child || status != 0) std::exit(1);
  }
  std::printf("\n");
  std::filesystem::remove(path);
}

void open_here(const std::string& path) {
  const double begin = vitral::bench::now();
  const auto dataset = vitral::data::Dataset::open(path);
  std::printf(" %8.3f s", vitral::bench::now() - begin);
  std::printf(" (%.0f MB)", 1e3 * vitral::bench::peak_resident_gb());
}

void locate_here(const std::string& path) {
  const auto file = vitral::data::H5File::open(path);
  const auto layout = file.layout("/images");
  const double begin = vitral::bench::now();
  static_cast<void>(file.locate_chunks("/images", layout));
  std::printf(" %8.3f s", vitral::bench::now() - begin);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() == 2 && arguments[0] == "--open") return open_here(arguments[1]), 0;
  if (arguments.size() == 2 && arguments[0] == "--locate") return locate_here(arguments[1]), 0;
  const std::filesystem::path folder(arguments.empty() ? std::filesystem::temp_directory_path().string()
                                                       : arguments[0]);
  const std::string path = (folder / "vitral-open-dataset.h5").string();
  for (const hsize_t count : {million / 10, million}) {
    write(path, count, false, count, Chunks::all);
    measure(fmt::format("{} chunks, B-tree, the library asked for each", count).c_str(), path, "--locate");
  }
  for (const hsize_t count : {million, 10 * million}) {
    const auto case_of = [&](const char* what, bool newest, hsize_t most, Chunks chunks) {
      write(path, count, newest, most, chunks);
      measure(fmt::format("{} chunks, {}", count, what).c_str(), path);
    };
    case_of("B-tree (h5py, vitral)", false, count, Chunks::all);
    case_of("B-tree, one image written", false, count, Chunks::one);
    case_of("fixed array (libver latest)", true, count, Chunks::one);
    case_of("extensible array (libver latest)", true, H5S_UNLIMITED, Chunks::all);
  }
  write(path, million, false, million, Chunks::all);
  add_names(path, million);
  measure("1000000 chunks, B-tree, and their names", path);
  return 0;
}
