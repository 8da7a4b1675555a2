// HDF5 files as tensors: the small part of the format that vitral's files use, with errors that name file and
// dataset. The hot path of training reads by data/hdf5/rows.h instead.
//
//   H5File file = H5File::open("train.h5");
//   Tensor embeddings = file.read("/embeddings");             // [N,D], float32 or float16 as stored
//
// A file can crash the HDF5 library, or take all its time and memory. So what it must interpret of a file
// that was there before, it does in a child of this process, which can open no other file
// (base/process/child.h); an end of the child is an Error that names the file. Plugins are off, external
// links and storage are never followed.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include <sys/types.h>

#include "data/hdf5/layout.h"
#include "tensor/tensor.h"

namespace vitral::data {

/// An object of a file, for people: "float32" and "[4, 8]"; "other" where vitral cannot read it, "link" and
/// "-> where" where it lies elsewhere.
struct H5Entry {
  std::string name, dtype, shape;

  auto fields() { return std::tie(name, dtype, shape); }
};

class Ledger;  // data/hdf5/ledger.h

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

  /// Flushes and closes; what was written is then read back, dataset by dataset. Error: it could not be
  /// written (full disk), or is not what was written (data/hdf5/ledger.h). The destructor is silent, and
  /// reads nothing back.
  void close();

  const std::string& path() const { return path_; }
  /// hid_t of one that create() has made, and -1 of others.
  std::int64_t id() const;
  /// Of the child that reads it, 0 where there is none.
  pid_t child() const;
  /// Files opened from now on are read in this process: for fuzz tests, which look for faults of ours.
  static void read_here(bool here);

  /// Soft links are followed within the file. UsageError: `name` leads to another file, or by a link to
  /// nothing.
  bool has(const std::string& name) const;
  bool is_group(const std::string& name) const;
  std::vector<std::string> list(const std::string& group = "/") const;  // links included
  /// Everything in the file but its groups, in the order of the names; no more than the first `most`.
  std::vector<H5Entry> contents(std::size_t most = SIZE_MAX) const;
  H5Layout layout(const std::string& name) const;
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

  /// A dataset of variable-length bytes [N] in this file, or a group with bytes and offsets. Throws nothing
  /// for what is of another kind.
  bool holds_files(const std::string& name) const;
  // For data/hdf5/rows.h and its like, which read in other ways what can be; from any thread.
  /// Rows [first, first + count) of numbers, as float32 or uint8; `to` has room for them.
  void read_rows(const std::string& name, const H5Layout& layout, std::int64_t first, std::int64_t count,
                 DType as, void* to) const;
  std::vector<std::uint8_t> read_bytes(const std::string& name, const H5Layout& layout,
                                       std::int64_t row) const;
  /// Where the chunks lie, or each `step`th, of a dataset that is cut along its first dimension alone and has
  /// no filters; H5Layout::unwritten where one does not.
  std::vector<std::uint64_t> locate_chunks(const std::string& name, const H5Layout& layout,
                                           std::uint64_t step = 1) const;

  /// Creates the dataset (and groups on its way) with all its elements; contiguous unless `chunk_rows` > 0,
  /// which chunks by that many rows of the first dimension.
  void write(const std::string& name, const Tensor& values, std::int64_t chunk_rows = 0);
  void write_uint64(const std::string& name, const std::vector<std::uint64_t>& values, const Shape& shape);
  /// Bytes that are not UTF-8 are written as \xff and the like, here and in attributes.
  void write_strings(const std::string& name, const std::vector<std::string>& values);
  void write_strings(const std::string& name, const std::vector<std::string>& values, const Shape& shape);
  /// Replaces an attribute of that name.
  void set_attribute(const std::string& name, const std::string& value, const std::string& object = "/");
  void remove_attribute(const std::string& name, const std::string& object = "/");  // where it is there
  /// Takes a dataset or group out; its space in the file is not given back.
  void remove(const std::string& name);
  void rename(const std::string& from, const std::string& to);

  /// An empty dataset [0, row...] that grows by append(); chunked by `chunk_rows` rows.
  void create_growing(const std::string& name, const Shape& row, DType dtype, std::int64_t chunk_rows);
  void append(const std::string& name, const Tensor& rows);
  /// The same for unsigned numbers of 16 bits, which no tensor holds; whole rows, one after the other.
  void create_growing_uint16(const std::string& name, const Shape& row, std::int64_t chunk_rows);
  void append_uint16(const std::string& name, const std::vector<std::uint16_t>& rows);

 private:
  struct State;
  H5File(std::string path, std::unique_ptr<State> state);
  enum class Use { read, change, check };  // check: of a file that its writer has locked
  static H5File open(const std::string& path, Use use);
  template <auto Method, class... A>
  auto ask(double bytes, const A&... arguments) const;

  std::string path_;
  std::unique_ptr<State> state_;
  std::unique_ptr<Ledger> ledger_;  // of what was written
};

}  // namespace vitral::data
