// Embeddings on their way into a dataset: a file beside it that grows row by row, so that hours of a
// teacher's work survive an interruption.
//
//   EmbeddingJournal journal("train.h5.teach", identity, {10, 512}, DType::float32);
//   for (std::int64_t i = journal.rows(); i < images; i += n) journal.append(rows);     // [n,10,512]
//
// Layout: "vitral-embeddings-1\n", the identity as one line of text, then the rows end to end, little-endian.
// A torn row at the end, which a killed process may leave, is cut off on opening.
#pragma once
#include <cstdint>
#include <string>

#include "tensor/tensor.h"

namespace vitral::data {

class EmbeddingJournal {
 public:
  /// Opens the journal of an earlier start where there is one, else begins it. identity: everything that the
  /// rows depend on, one line. UsageError: the journal there is of another identity, or this is no journal
  /// (it says what to do); another process has it open; it cannot be created.
  EmbeddingJournal(const std::string& path, const std::string& identity, const Shape& row, DType dtype);
  ~EmbeddingJournal();
  EmbeddingJournal(const EmbeddingJournal&) = delete;
  EmbeddingJournal& operator=(const EmbeddingJournal&) = delete;

  std::int64_t rows() const { return rows_; }
  /// [n, row...] of the journal's dtype. Durable at the latest after some seconds of further appends. Error:
  /// the disk is full.
  void append(const Tensor& rows);
  /// Rows [first, first + count).
  Tensor read(std::int64_t first, std::int64_t count) const;
  /// The work is done: the file goes.
  void remove();

 private:
  std::string path_;
  Shape row_;
  DType dtype_;
  std::int64_t row_bytes_ = 0, begin_ = 0, rows_ = 0;
  double synced_ = 0;  // when
  int descriptor_ = -1;
};

}  // namespace vitral::data
