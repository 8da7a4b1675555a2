// What several test programs share.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>

#include <unistd.h>

#include "base/error.h"
#include "base/files/input_file.h"
#include "tensor/backend.h"

namespace vitral::test {

/// The text of the vitral::Error that f() throws, or "no error".
std::string message_of(auto&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

/// A folder of its own under the system's temporary folder, removed at the end of the scope.
class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "vitral-XXXXXX").string();
    if (!mkdtemp(name.data())) throw_error("no temporary folder at {}", name);
    path_ = name;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::string str() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

/// The whole of a file of at most 16 MB.
inline std::string bytes_of_file(const std::string& path) { return read_text_file(path, 1 << 24); }

/// Replaces the file. It is removed first: some file systems flush a file that is truncated, which is slow.
inline void put_file(const std::string& path, std::string_view bytes) {
  std::filesystem::remove(path);
  std::ofstream(path, std::ios::binary) << bytes;
}
inline void put_file(const std::string& path, std::span<const std::uint8_t> bytes) {
  put_file(path, std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

/// A folder with large reference data beside the repository (golden, photos), or "" where it is not there.
/// Tests that need it skip with the reason printed: VITRAL_NEEDS_SHARED(path, "golden/student_masked.h5");
inline std::string shared_path(const std::string& name) {
  const char* variable = std::getenv("VITRAL_SHARED");
  const std::filesystem::path path = std::filesystem::path(variable ? variable : "../shared") / name;
  return std::filesystem::exists(path) ? path.string() : "";
}

/// Why this program cannot compute on a GPU here, or "".
inline std::string why_no_gpu() {
  std::string why;
  return gpu_count(&why) > 0 ? "" : why;
}

/// Whether the GPU is the simulator of tests/cuda_simulator: right, but thousands of times too slow for a
/// whole training.
inline bool gpu_is_simulated() {
  return why_no_gpu().empty() && backend(Device::Kind::cuda).name(0).find("simul") != std::string::npos;
}

inline constexpr Device gpu{Device::Kind::cuda, 0};

}  // namespace vitral::test

/// Skips the rest of a test that computes on `device` where that is a GPU and there is none.
#define VITRAL_NEEDS_DEVICE(device)                                \
  if (!(device).is_cpu() && !::vitral::test::why_no_gpu().empty()) \
  GTEST_SKIP() << ::vitral::test::why_no_gpu()

#define VITRAL_NEEDS_SHARED(variable, name)                       \
  const std::string variable = ::vitral::test::shared_path(name); \
  if (variable.empty()) GTEST_SKIP() << "shared/" << name << " is not here"
