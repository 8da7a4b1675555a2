// Embeddings on their way into a dataset: tensors in a base/files/row_journal.h.
//
//   EmbeddingJournal journal("train.h5.teach", identity, {10, 512}, DType::float32);
//   for (std::int64_t i = journal.rows(); i < images; i += n) journal.append(rows);     // [n,10,512]
#pragma once
#include <cstdint>
#include <string>

#include "base/files/row_journal.h"
#include "tensor/tensor.h"

namespace vitral::data {

class EmbeddingJournal {
 public:
  /// Throws as RowJournal does.
  EmbeddingJournal(const std::string& path, const std::string& identity, const Shape& row, DType dtype);

  std::int64_t rows() const { return journal_.rows(); }
  /// [n, row...] of the journal's dtype. Error: the disk is full.
  void append(const Tensor& rows);
  /// Rows [first, first + count).
  Tensor read(std::int64_t first, std::int64_t count) const;
  /// The work is done: the file goes.
  void remove() { journal_.remove(); }

 private:
  Shape shape_of(std::int64_t rows) const;

  Shape row_;
  DType dtype_;
  RowJournal journal_;
};

}  // namespace vitral::data
