// A file that is written beside its name and takes it when it is complete, for writers that need a path
// (HDF5); base/files/atomic.h does the same for bytes.
//
//   OutputFile output("train.h5");
//   ... write and close output.partial() ...      // train.h5.partial
//   output.commit();                              // fsync, rename over the old file, fsync of the folder
//
// PATH.partial is locked until then, so that of two processes that write one file the second is
// refused. Without commit() (an exception) PATH stays what it was and PATH.partial is removed; a killed
// process leaves PATH.partial behind, which the next writer of PATH replaces.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/files/descriptor.h"

namespace vitral {

/// Bytes [begin, end) of a file.
struct ByteRange {
  std::uint64_t begin = 0, end = 0;
};
/// What is left of [0, size) without `ranges`, which may overlap and come in any order; in order.
std::vector<ByteRange> without(std::vector<ByteRange> ranges, std::uint64_t size);

class OutputFile {
 public:
  /// Of a symbolic link the target is replaced. UsageError: a folder or a device, a folder that is not there
  /// or may not be written, another process writes this file.
  explicit OutputFile(const std::string& path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  const std::string& path() const { return path_; }
  const std::string& partial() const { return partial_; }
  /// Makes the partial file a copy of `source`, sharing its blocks where the file system can, else read back.
  /// Where it cannot, `left_out` reads as zeros and takes no room. Error: the disk is full.
  void copy(const std::string& source, const std::vector<ByteRange>& left_out = {});
  /// The partial file is complete: from now on readers may lock it, too.
  void share();
  /// The file has its name, and survives a power cut, when this returns. Error: the disk fails.
  void commit();

 private:
  void lock();

  std::string path_, partial_;
  Descriptor lock_;  // of PATH.partial
};

}  // namespace vitral
