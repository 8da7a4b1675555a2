#include "data/hdf5/heap_rows.h"

#include <algorithm>
#include <cstring>

#include "base/files/forward_reader.h"

namespace vitral::data {
namespace {

std::vector<HeapReference> read_references(const InputFile& bytes, const StorageIndex& index,
                                           const std::string& name) {
  const auto count = static_cast<std::size_t>(index.rows);
  if (count > bytes.size())  // each takes 16 bytes, but for those never written
    throw_error("{}: {} claims {} rows in a file of {} bytes, the file is damaged; write it again",
                bytes.path(), name, count, bytes.size());
  std::vector<HeapReference> all(count);
  ForwardReader reader(bytes);
  for (std::size_t row = 0; row < count; ++row)
    if (const std::uint64_t offset = index.offset_of(static_cast<std::int64_t>(row));
        offset != StorageIndex::unwritten)
      all[row] = parse_heap_reference(reader.read(offset, heap_reference_bytes));
  return all;
}

}  // namespace

std::vector<HeapObject> resolve_heap_rows(const InputFile& bytes, const StorageIndex& index,
                                          const H5Layout& layout, const std::string& name) {
  return resolve_heap(bytes, layout.format.user_block, read_references(bytes, index, name), name);
}

namespace {

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
  const H5Layout layout = file.layout(name);
  const auto as_it_is = [](const std::string& text) { return text; };
  if (!layout.text || !layout.variable || layout.shape.rank() != 1)
    return chosen(file.read_strings(name), as_it_is);
  const StorageIndex index = index_storage(file, bytes, name, layout);
  if (!index.obstacle.empty()) return chosen(file.read_strings(name), as_it_is);
  std::uint64_t total = 0;
  ForwardReader reader(bytes);  // one text is behind the other, mostly
  return chosen(resolve_heap_rows(bytes, index, layout, name), [&](const HeapObject& object) {
    // No writer shares values among rows; a damaged file may say one long one a million times.
    if ((total += object.length) > bytes.size() && !rows)
      throw_error("{}: {} claims more text than the file has bytes, the file is damaged; write it again",
                  bytes.path(), name);
    if (object.length == 0) return std::string();
    const auto* const text = reinterpret_cast<const char*>(reader.read(object.offset, object.length));
    return std::string(text, strnlen(text, object.length));  // some writers count the terminating zero
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

}  // namespace vitral::data
