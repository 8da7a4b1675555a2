#include "data/embedding_journal.h"

#include "base/error.h"

namespace vitral::data {

EmbeddingJournal::EmbeddingJournal(const std::string& path, const std::string& identity, const Shape& row,
                                   DType dtype)
    : row_(row),
      dtype_(dtype),
      journal_(path, "vitral-embeddings-2", identity,
               row.numel() * static_cast<std::int64_t>(size_of(dtype))) {}

Shape EmbeddingJournal::shape_of(std::int64_t rows) const {
  Shape shape{rows};
  for (const auto d : row_) shape = shape.append(d);
  return shape;
}

void EmbeddingJournal::append(const Tensor& rows) {
  const Shape expected = shape_of(rows.dim(0));
  VITRAL_CHECK(rows.dtype() == dtype_ && rows.shape() == expected, "journal: rows {} {} must be {} {}",
               rows.dtype(), rows.shape(), dtype_, expected);
  journal_.append(rows.raw(), rows.dim(0));
}

Tensor EmbeddingJournal::read(std::int64_t first, std::int64_t count) const {
  Tensor out(shape_of(count), dtype_);
  journal_.read(first, count, out.raw());
  return out;
}

}  // namespace vitral::data
