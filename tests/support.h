// What several test programs share.
#pragma once
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>

#include <unistd.h>

#include "tensor/error.h"

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

/// A folder with large reference data beside the repository (golden, photos), or "" where it is not there.
/// Tests that need it skip with the reason printed: VITRAL_NEEDS_SHARED(path, "golden/student_masked.h5");
inline std::string shared_path(const std::string& name) {
  const char* variable = std::getenv("VITRAL_SHARED");
  const std::filesystem::path path = std::filesystem::path(variable ? variable : "../shared") / name;
  return std::filesystem::exists(path) ? path.string() : "";
}

}  // namespace vitral::test

#define VITRAL_NEEDS_SHARED(variable, name)                       \
  const std::string variable = ::vitral::test::shared_path(name); \
  if (variable.empty()) GTEST_SKIP() << "shared/" << name << " is not here"
