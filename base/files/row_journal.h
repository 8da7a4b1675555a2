// A file of rows of one size that grows beside hours of work, so that an interruption costs little of it.
//
//   RowJournal journal("train.h5.teach", "vitral-embeddings-2", identity, row_bytes);
//   for (std::int64_t i = journal.rows(); i < all; i += n) journal.append(rows, n);
//
// Layout: the format and the identity, a line of text each, then the rows end to end, each with a checksum
// (xxh3 + number of the row, 8 bytes) behind it. On opening, all is cut off from the first row on whose
// checksum is wrong: torn by a killed process, lost in a power cut, a flipped bit. One without rows goes with
// its owner: there is nothing in it to go on from.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "base/files/descriptor.h"

namespace vitral {

class RowJournal {
 public:
  /// Opens the journal of an earlier start where there is one, else begins it. identity: everything that the
  /// rows depend on, one line. UsageError: the journal there is of another identity, or this is no journal of
  /// this format (it says what to do); another process has it open; it cannot be created.
  RowJournal(std::string path, std::string_view format, const std::string& identity, std::int64_t row_bytes);
  ~RowJournal();
  RowJournal(const RowJournal&) = delete;
  RowJournal& operator=(const RowJournal&) = delete;

  std::int64_t rows() const { return rows_; }
  /// Durable at the latest after some seconds of further appends. Error: the disk is full.
  void append(const void* rows, std::int64_t count);
  /// Rows [first, first + count) into `to`. Error: one is not what was written.
  void read(std::int64_t first, std::int64_t count, void* to) const;
  /// The work is done: the file goes.
  void remove();

 private:
  void write(const void* data, std::int64_t bytes);
  void sync();
  /// How many of `count` rows from `first` on are there and whole, the first ones of them into `to`.
  std::int64_t read_whole(std::int64_t first, std::int64_t count, char* to) const;
  std::int64_t record_bytes() const { return row_bytes_ + static_cast<std::int64_t>(sizeof(std::uint64_t)); }

  std::string path_;
  std::int64_t row_bytes_, begin_ = 0, rows_ = 0;
  double synced_ = 0;  // when
  Descriptor descriptor_;
};

}  // namespace vitral
