// Small pieces of a file, mostly in ascending order, by few reads: many lie together (the nodes of an index,
// the values of a heap), or far apart, and none says which.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/files/input_file.h"

namespace vitral {

class ForwardReader {
 public:
  explicit ForwardReader(const InputFile& file) : file_(file) {}

  /// Bytes [offset, offset + bytes), which the file must hold; valid until the next call. Reads ahead from
  /// 4 KiB up to 1 MiB as long as each piece begins near the end of those before it. Throws as
  /// InputFile::read().
  const unsigned char* read(std::uint64_t offset, std::size_t bytes);

 private:
  const InputFile& file_;
  std::vector<unsigned char> buffer_;
  std::uint64_t begin_ = 0, end_ = 0;  // what the buffer holds
  std::size_t ahead_ = 0;
};

}  // namespace vitral
