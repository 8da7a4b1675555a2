// The image files inside a dataset, read from any thread:
//   /encoded/bytes uint8 [total] and /encoded/offsets uint64 [N+1]     files end to end
//   /encoded       variable-length uint8 [N]                           as h5py's vlen_dtype(uint8) writes it
// or the same under another name.
//
// Variable-length data is resolved once on opening, by our own reading of the references and of the global
// heap (HDF5 File Format Specification 3.0, III.E "Global Heap"); then each image is one pread.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/files/input_file.h"
#include "data/hdf5/file.h"

namespace vitral::data {

class EncodedReader {
 public:
  /// UsageError: it is neither form (H5File::holds_files()); Error: offsets or references that do not fit the
  /// file.
  EncodedReader(const std::shared_ptr<const H5File>& file, const std::shared_ptr<const InputFile>& bytes,
                const std::string& name);
  ~EncodedReader();
  EncodedReader(EncodedReader&&) noexcept;
  EncodedReader& operator=(EncodedReader&&) noexcept;

  std::int64_t size() const;
  /// File i in `to`, resized to its length.
  void read(std::int64_t i, std::vector<std::uint8_t>& to) const;
  /// "flat, contiguous, read directly"; "variable-length, read through the HDF5 library: ..."
  std::string description() const;

  struct Source;

 private:
  std::unique_ptr<const Source> source_;
};

}  // namespace vitral::data
