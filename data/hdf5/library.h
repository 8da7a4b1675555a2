// Inside data/hdf5 only: what libhdf5 says of one file and does to it, in the process that asks. H5File has
// it done in a child for every file that vitral did not begin itself.
//
// It is called under lock_hdf5(). In a child there is no OpenMP and no allocator of tensors: its tensors lie
// over memory of their own.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "data/hdf5/file.h"
#include "data/hdf5/handle.h"

namespace vitral::data {

/// Names of files need not be UTF-8, but text tagged as such must be: other bytes become \xff and the like.
std::string as_utf8(const std::string& text);

class H5Library {
 public:
  /// A file that the library has opened.
  H5Library(std::string path, hid_t file);
  /// One that is open as `descriptor`, whose owner keeps it; is_open() says whether it is one of HDF5's.
  H5Library(std::string path, int descriptor, bool writable);
  ~H5Library();
  H5Library(const H5Library&) = delete;
  H5Library& operator=(const H5Library&) = delete;

  bool is_open() const { return file_ >= 0; }
  hid_t id() const { return file_; }

  // As in H5File.
  bool has(const std::string& name) const;
  bool is_group(const std::string& name) const;
  bool holds_files(const std::string& name) const;
  std::vector<std::string> list(const std::string& group) const;
  std::vector<H5Entry> contents(std::uint64_t most) const;
  H5Layout layout(const std::string& name) const;
  std::string type_text(const std::string& name) const;
  std::optional<std::string> attribute(const std::string& name, const std::string& object) const;
  Tensor read(const std::string& name) const;
  std::vector<std::uint64_t> read_uint64(const std::string& name) const;
  std::vector<std::string> read_strings(const std::string& name) const;
  /// Rows of numbers as `dtype`.
  std::vector<std::uint8_t> read_rows(const std::string& name, std::int64_t first, std::int64_t count,
                                      DType dtype) const;
  std::vector<std::uint8_t> read_bytes(const std::string& name, std::int64_t row) const;
  std::vector<std::uint64_t> locate_chunks(const std::string& name, std::uint64_t step) const;

  void write(const std::string& name, const Tensor& values, std::int64_t chunk_rows);
  void write_uint64(const std::string& name, const std::vector<std::uint64_t>& values, const Shape& shape);
  void write_strings(const std::string& name, const std::vector<std::string>& values, const Shape& shape);
  void set_attribute(const std::string& name, const std::string& value, const std::string& object);
  void remove_attribute(const std::string& name, const std::string& object);
  void remove(const std::string& name);
  void rename(const std::string& from, const std::string& to);
  void create_growing(const std::string& name, const Shape& row, DType dtype, std::int64_t chunk_rows);
  void create_growing_uint16(const std::string& name, const Shape& row, std::int64_t chunk_rows);
  void append(const std::string& name, const Tensor& rows);
  void append_uint16(const std::string& name, const std::vector<std::uint16_t>& rows);
  void close();

 private:
  void create_growing_of(hid_t type, const std::string& name, const Shape& row, std::int64_t chunk_rows);
  void append_of(hid_t type, const std::string& name, std::int64_t rows, const void* values);
  [[noreturn]] void fail(const std::string& what) const;
  [[noreturn]] void cannot_be_read(const std::string& what) const;
  Handle open_any(const std::string& name) const;
  Handle open_dataset(const std::string& name) const;
  const Handle& opened(const std::string& name) const;
  H5Entry describe(hid_t dataset, const std::string& name) const;
  void check_claim(const std::string& name, std::int64_t count, std::size_t size) const;

  std::string path_;
  hid_t file_ = -1;
  mutable std::map<std::string, Handle>
      open_;  // whose rows are read; their chunks stay in the library's cache
};

}  // namespace vitral::data
