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
#include <string>

#include "base/files/descriptor.h"

namespace vitral {

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
  /// Makes the partial file a copy of `source`, sharing its blocks where the file system can. Error: the disk
  /// is full.
  void copy(const std::string& source);
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
