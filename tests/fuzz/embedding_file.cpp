// The bytes are a .npy file; or, behind a byte that is odd, an .npz archive, or the array in one.
#include "data/embedding_file.h"

#include <cstdlib>
#include <filesystem>

#include <unistd.h>

#include "data/hdf5/file.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/zip_of.h"

namespace {

// The archive's suffix says what it is.
std::string npz_of(const std::string& path) {
  static std::string link;
  if (link.empty()) {
    link = "/tmp/fuzz-" + std::to_string(::getpid()) + ".npz";
    std::filesystem::remove(link);
    std::filesystem::create_symlink(std::filesystem::read_symlink(path).string().starts_with("/memfd")
                                        ? "/proc/" + std::to_string(::getpid()) + path.substr(10)
                                        : path,
                                    link);
    std::atexit([] { ::unlink(link.c_str()); });
  }
  return link;
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vitral;
  if (size == 0) return -1;
  const std::string rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  const bool archive = data[0] % 2 == 1;
  const std::string bytes = data[0] % 4 == 3 ? fuzz::zip_of({{"e.npy", rest}}) : rest;
  const std::string& file =
      fuzz::file_of({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
  // The HDF5 library is tried elsewhere (hdf5.cpp).
  if (data::H5File::is_hdf5(file)) return -1;
  const std::string path = archive ? npz_of(file) : file;
  // Compressed arrays unfold to 1,032 times their bytes; float64 becomes float32 beside it.
  fuzz::check(
      bytes.size(), 4096, [&] { data::read_embedding_file(path, ""); }, std::size_t{128} << 20);
  return 0;
}
