// A valid dataset file, one of several layouts, with edits in all that our own code reads and interprets:
// numbers, offsets, references of variable length, the global heap, encoded images, names.
//
// What describes the datasets (superblock, object headers, chunk indices) is read by the HDF5 library, which
// a hostile file can crash (docs/weights.md); it stays as it is here, and so does text in attributes.
//
//   first byte: which file; then edits: a byte of kind (0: one byte, else eight), two bytes of place, the
//   value
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/files/input_file.h"
#include "data/dataset.h"
#include "data/hdf5/storage_index.h"
#include "tests/fuzz/fuzz.h"

namespace {

using namespace vitral;

struct Base {
  std::string bytes;
  std::vector<std::uint32_t> editable;  // places of bytes
};

void add_region(Base& base, std::uint64_t begin, std::uint64_t bytes) {
  for (std::uint64_t i = begin; i < std::min<std::uint64_t>(begin + bytes, base.bytes.size()); ++i)
    base.editable.push_back(static_cast<std::uint32_t>(i));
}

Base load_base(const std::string& name) {
  const std::string path = "tests/golden/layouts_" + name + ".h5";
  Base base{read_text_file(path, 1 << 20), {}};
  const data::H5File file = data::H5File::open(path);
  const InputFile reader(path);
  for (const auto& entry : file.contents()) {
    const data::StorageIndex index = data::index_storage(file, reader, entry.name, file.layout(entry.name));
    for (const std::uint64_t piece : index.pieces)
      if (piece != data::StorageIndex::unwritten)
        add_region(base, piece,
                   static_cast<std::uint64_t>(std::min(index.rows, index.rows_a_piece)) * index.row_bytes);
  }
  // The library itself follows attributes into the heap.
  for (std::size_t at = base.bytes.find("GCOL"); !file.attribute("teacher") && at != std::string::npos;
       at = base.bytes.find("GCOL", at + 1)) {
    std::uint64_t size = 0;
    std::memcpy(&size, base.bytes.data() + at + 8, sizeof size);
    add_region(base, at, size);
  }
  std::sort(base.editable.begin(), base.editable.end());
  return base;
}

const std::vector<Base>& bases() {
  static const std::vector<Base> all = [] {
    std::vector<Base> out;
    for (const char* name :
         {"vlen", "vlen_chunked", "vlen_userblock", "flat", "flat_chunked", "views", "chunked", "contiguous",
          "rows", "float64", "captions", "captions_chunked", "captions_fixed"})
      out.push_back(load_base(name));
    return out;
  }();
  return all;
}

void read_all(const std::string& path) {
  const data::Dataset dataset = data::Dataset::open(path);
  static_cast<void>(dataset.description());
  static_cast<void>(dataset.concepts());
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    static_cast<void>(dataset.name(i));
    static_cast<void>(dataset.captions(i));
    if (dataset.width() > 0)
      for (std::int64_t v = 0; v < std::max<std::int64_t>(dataset.views(i), 1); ++v)
        static_cast<void>(dataset.target(i, v));
    try {
      static_cast<void>(dataset.image(i));
    } catch (const Error&) {  // the others are read all the same
    }
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return -1;
  const Base& base = bases()[data[0] % bases().size()];
  std::string bytes = base.bytes;
  for (std::size_t at = 1; at < size;) {
    const std::size_t length = data[at++] == 0 ? 1 : 8;
    if (size - at < 2 + length) break;
    const std::size_t place = base.editable[(data[at] | data[at + 1] << 8) % base.editable.size()];
    at += 2;
    for (std::size_t i = 0; i < length; ++i, ++at)
      if (place + i < bytes.size() &&
          std::binary_search(base.editable.begin(), base.editable.end(), place + i))
        bytes[place + i] = static_cast<char>(data[at]);
  }
  const std::string& path =
      fuzz::file_of({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
  fuzz::check(
      bytes.size(), 64, [&] { read_all(path); }, std::size_t{16} << 20);
  return 0;
}
