// HDF5 files as tensors: the small part of the format that vitral's files use, with errors that name file and
// dataset. Everything here goes through the HDF5 library (one global lock): for opening, describing and
// writing files. The hot path of training reads by data/hdf5/rows.h instead.
//
//   H5File file = H5File::open("train.h5");
//   Tensor embeddings = file.read("/embeddings");             // [N,D], float32 or float16 as stored
//
// The library's plugins are off and external links and storage are never followed.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace vitral::data {

/// An object of a file, for people: "float32" and "[4, 8]"; "other" where vitral cannot read it, "link" and
/// "-> where" where it lies elsewhere.
struct H5Entry {
  std::string name, dtype, shape;
};

class H5File {
 public:
  /// A regular file with the mark of HDF5, at its beginning or behind a user block.
  static bool is_hdf5(const std::string& path);
  /// Opens for reading. UsageError: no such file, a directory, one that may not be read, not HDF5, open for
  /// writing elsewhere, or left so by a crash; Error: truncated or damaged. A file system without locks is no
  /// obstacle.
  static H5File open(const std::string& path);
  /// Creates or replaces a file, without a lock of its own: base/files/output_file.h keeps other writers
  /// away.
  static H5File create(const std::string& path);
  /// Opens for reading and writing, as create() without a lock of its own. Throws as open() does.
  static H5File modify(const std::string& path);
  H5File(H5File&& other) noexcept;
  H5File& operator=(H5File&& other) noexcept;
  ~H5File();

  /// Flushes and closes; throws Error where the data could not be written (full disk). The destructor is
  /// silent.
  void close();

  const std::string& path() const { return path_; }
  std::int64_t id() const { return id_; }  // hid_t

  /// Soft links are followed within the file. UsageError: `name` leads to another file, or by a link to
  /// nothing.
  bool has(const std::string& name) const;
  bool is_group(const std::string& name) const;
  std::vector<std::string> list(const std::string& group = "/") const;  // links included
  /// Everything in the file but its groups, in the order of the names; no more than the first `most`.
  std::vector<H5Entry> contents(std::size_t most = SIZE_MAX) const;
  Shape shape(const std::string& name) const;
  /// The stored dtype; integers of any width count as int64 (uint8 stays). nullopt: strings, variable-length,
  /// compound.
  std::optional<DType> dtype(const std::string& name) const;
  /// What a dataset holds, for people: "float32", "integers", "text", "a table", "opaque values of 2 bytes".
  std::string type_text(const std::string& name) const;

  /// A whole dataset of numbers.
  Tensor read(const std::string& name) const;
  /// The same for numbers that need all 64 bits (seeds, offsets). UsageError: one is negative.
  std::vector<std::uint64_t> read_uint64(const std::string& name) const;
  std::vector<std::string> read_strings(const std::string& name) const;
  std::optional<std::string> attribute(const std::string& name, const std::string& object = "/") const;

  /// Creates the dataset (and groups on its way) with all its elements; contiguous unless `chunk_rows` > 0,
  /// which chunks by that many rows of the first dimension.
  void write(const std::string& name, const Tensor& values, std::int64_t chunk_rows = 0);
  void write_uint64(const std::string& name, const std::vector<std::uint64_t>& values, const Shape& shape);
  /// Bytes that are not UTF-8 are written as \xff and the like, here and in attributes.
  void write_strings(const std::string& name, const std::vector<std::string>& values);
  /// Replaces an attribute of that name.
  void set_attribute(const std::string& name, const std::string& value, const std::string& object = "/");
  void remove_attribute(const std::string& name, const std::string& object = "/");  // where it is there
  /// Takes a dataset or group out; its space in the file is not given back.
  void remove(const std::string& name);
  void rename(const std::string& from, const std::string& to);
  /// All so far is with the operating system.
  void flush();

  /// An empty dataset [0, row...] that grows by append(); chunked by `chunk_rows` rows.
  void create_growing(const std::string& name, const Shape& row, DType dtype, std::int64_t chunk_rows);
  void append(const std::string& name, const Tensor& rows);

 private:
  H5File(std::string path, std::int64_t id) : path_(std::move(path)), id_(id) {}
  [[noreturn]] void fail(const std::string& what) const;

  std::string path_;
  std::int64_t id_ = -1;
};

}  // namespace vitral::data
