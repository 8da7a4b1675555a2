#include "data/hdf5/heap_rows.h"

#include <cstring>
#include <optional>
#include <utility>

#include "base/files/forward_reader.h"

namespace vitral::data {
namespace {

std::vector<HeapReference> read_references(const InputFile& bytes, const StorageIndex& index,
                                           const std::string& name) {
  const auto rows = static_cast<std::size_t>(index.rows), a_row = index.row_bytes / heap_reference_bytes;
  if (a_row > 0 && rows > bytes.size() / a_row)  // each takes 16 bytes, but for those never written
    throw_error("{}: {} claims {} rows in a file of {} bytes, the file is damaged; write it again",
                bytes.path(), name, rows, bytes.size());
  std::vector<HeapReference> all(rows * a_row);
  ForwardReader reader(bytes);
  for (std::size_t row = 0; row < rows; ++row) {
    const std::uint64_t offset = index.offset_of(static_cast<std::int64_t>(row));
    if (offset == StorageIndex::unwritten) continue;
    for (std::size_t k = 0; k < a_row; ++k)
      all[row * a_row + k] =
          parse_heap_reference(reader.read(offset + k * heap_reference_bytes, heap_reference_bytes));
  }
  return all;
}

}  // namespace

std::vector<HeapObject> resolve_heap_rows(const InputFile& bytes, const StorageIndex& index,
                                          const H5Layout& layout, const std::string& name) {
  return resolve_heap(bytes, layout.format.user_block, read_references(bytes, index, name), name);
}

namespace {

// Where the strings of a dataset lie; nullopt: the library must read them.
std::optional<std::vector<HeapObject>> places_of_text(const H5File& file, const InputFile& bytes,
                                                      const std::string& name, const H5Layout& layout) {
  if (!layout.text || !layout.variable || layout.shape.rank() == 0) return std::nullopt;
  const StorageIndex index = index_storage(file, bytes, name, layout);
  if (!index.obstacle.empty()) return std::nullopt;
  return resolve_heap_rows(bytes, index, layout, name);
}

// Some writers count the terminating zero.
std::string to_text(const char* text, std::size_t length) { return {text, strnlen(text, length)}; }

// `rows` of a dataset of strings, or all of them.
std::vector<std::string> read_rows(const H5File& file, const InputFile& bytes, const std::string& name,
                                   const std::vector<std::int64_t>* rows) {
  const auto chosen = [&](const auto& all, const auto& text_of) {
    std::vector<std::string> text;
    if (!rows) {
      for (const auto& one : all) text.push_back(text_of(one));
      return text;
    }
    for (const std::int64_t row : *rows) {
      VITRAL_CHECK(row >= 0 && row < static_cast<std::int64_t>(all.size()),
                   "{}: {} row {} is out of range, there are {}", bytes.path(), name, row, all.size());
      text.push_back(text_of(all[static_cast<std::size_t>(row)]));
    }
    return text;
  };
  const auto places = places_of_text(file, bytes, name, file.layout(name));
  if (!places) return chosen(file.read_strings(name), [](const std::string& text) { return text; });
  std::uint64_t total = 0;
  ForwardReader reader(bytes);  // one text is behind the other, mostly
  return chosen(*places, [&](const HeapObject& object) {
    // No writer shares values among rows; a damaged file may say one long one a million times.
    if ((total += object.length) > bytes.size() && !rows)
      throw_error("{}: {} claims more text than the file has bytes, the file is damaged; write it again",
                  bytes.path(), name);
    if (object.length == 0) return std::string();
    return to_text(reinterpret_cast<const char*>(reader.read(object.offset, object.length)), object.length);
  });
}

}  // namespace

std::vector<std::string> read_text_rows(const H5File& file, const InputFile& bytes, const std::string& name) {
  return read_rows(file, bytes, name, nullptr);
}

std::vector<std::string> read_text_rows(const H5File& file, const InputFile& bytes, const std::string& name,
                                        const std::vector<std::int64_t>& rows) {
  return read_rows(file, bytes, name, &rows);
}

TextReader::TextReader(const H5File& file, std::shared_ptr<const InputFile> bytes, const std::string& name)
    : bytes_(std::move(bytes)), name_(name) {
  const H5Layout layout = file.layout(name);
  VITRAL_CHECK(layout.shape.rank() > 0, "{}: {} is a single value, rows are needed", file.path(), name);
  rows_ = static_cast<std::size_t>(layout.shape[0]);
  a_row_ = static_cast<std::size_t>(layout.shape.product(1, layout.shape.rank()));
  if (auto places = places_of_text(file, *bytes_, name, layout))
    places_ = std::move(*places);
  else
    texts_ = file.read_strings(name);
}

std::vector<std::string> TextReader::read(std::int64_t row) const {
  VITRAL_CHECK(row >= 0 && static_cast<std::size_t>(row) < rows_,
               "{}: {} row {} is out of range, there are {}", bytes_->path(), name_, row, rows_);
  const std::size_t first = static_cast<std::size_t>(row) * a_row_;
  if (places_.empty()) {
    const auto begin = texts_.begin() + static_cast<std::ptrdiff_t>(first);
    return {begin, begin + static_cast<std::ptrdiff_t>(a_row_)};
  }
  std::vector<std::string> out;
  std::uint64_t total = 0;
  for (std::size_t k = 0; k < a_row_; ++k) {
    const HeapObject& object = places_[first + k];
    if ((total += object.length) > bytes_->size())
      throw_error(
          "{}: {} row {} claims more text than the file has bytes, the file is damaged; write it again",
          bytes_->path(), name_, row);
    std::string text(object.length, '\0');
    if (object.length > 0) bytes_->read(object.offset, text.data(), text.size());
    out.push_back(to_text(text.data(), text.size()));
  }
  return out;
}

}  // namespace vitral::data
