// Whole files as strings, for tests that damage them.
#pragma once
#include <filesystem>
#include <fstream>
#include <string>

#include "base/input_file.h"

namespace vitral::test {

inline std::string bytes_of_file(const std::string& path) { return read_text_file(path, 1 << 24); }

/// Replaces the file. It is removed first: some file systems flush a file that is truncated, which is slow.
inline void put_file(const std::string& path, const std::string& bytes) {
  std::filesystem::remove(path);
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace vitral::test
