#include "data/hdf5/global_heap.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "base/files/forward_reader.h"

namespace vitral::data {
namespace {

static_assert(std::endian::native == std::endian::little);

template <class T>
T load(const unsigned char* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

constexpr std::uint64_t header_bytes = 16;  // of a collection and of an object

// One collection: "GCOL", version, 3 reserved, size of the whole; then objects: number (0: the free space at
// the end), reference count, 4 reserved, size, data padded to 8 bytes.
class Collection {
 public:
  Collection(const InputFile& file, ForwardReader& reader, std::uint64_t offset, const std::string& what)
      : file_(file), reader_(reader), offset_(offset), what_(what) {
    if (!file.holds(offset, header_bytes)) fail();
    const unsigned char* const header = reader.read(offset, header_bytes);
    const auto size = load<std::uint64_t>(header + 8);
    if (std::memcmp(header, "GCOL\1", 5) != 0 || size < header_bytes || !file.holds(offset, size)) fail();
    end_ = offset + size;
  }

  std::uint64_t end() const { return end_; }

  /// The places of all objects by number; length 0 where there is none.
  void objects(std::vector<HeapObject>& table) const {
    table.clear();
    for (std::uint64_t at = offset_ + header_bytes; end_ - at >= header_bytes;) {
      const unsigned char* const header = reader_.read(at, header_bytes);
      const std::uint32_t number = load<std::uint16_t>(header);
      if (number == 0) return;
      const auto size = load<std::uint64_t>(header + 8);
      at += header_bytes;
      if (size > end_ - at || size > 0xFFFFFFFF) fail();
      if (number >= table.size()) table.resize(number + 1);
      table[number] = {at, static_cast<std::uint32_t>(size)};
      at += std::min((size + 7) / 8 * 8, end_ - at);
    }
  }

  [[noreturn]] void fail() const {
    throw_error(
        "{}: {} points at byte {}, where no values lie; the file is truncated or damaged, write it again",
        file_.path(), what_, offset_);
  }

 private:
  const InputFile& file_;
  ForwardReader& reader_;
  std::uint64_t offset_, end_ = 0;
  const std::string& what_;
};

}  // namespace

HeapReference parse_heap_reference(const unsigned char bytes[heap_reference_bytes]) {
  return {load<std::uint32_t>(bytes), load<std::uint64_t>(bytes + 4), load<std::uint32_t>(bytes + 12)};
}

std::vector<HeapObject> resolve_heap(const InputFile& file, std::uint64_t user_block,
                                     const std::vector<HeapReference>& references, const std::string& what) {
  std::vector<HeapObject> found(references.size());
  // In the order of the file: each collection once, forwards.
  std::vector<std::size_t> order(references.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return references[a].address < references[b].address; });
  ForwardReader reader(file);
  std::vector<HeapObject> objects;
  std::uint64_t previous_end = 0;
  for (std::size_t i = 0; i < order.size();) {
    const std::uint64_t address = references[order[i]].address;
    std::size_t last = i;
    bool used = false;  // empty values refer to nothing
    for (; last < order.size() && references[order[last]].address == address; ++last)
      used = used || references[order[last]].length > 0;
    if (used) {
      std::uint64_t offset = 0;
      if (__builtin_add_overflow(address, user_block, &offset)) offset = ~std::uint64_t{0};
      const Collection collection(file, reader, offset, what);
      // Collections never overlap; believing so keeps the work within the size of the file.
      if (offset < previous_end) collection.fail();
      previous_end = collection.end();
      collection.objects(objects);
      for (std::size_t k = i; k < last; ++k) {
        const HeapReference& r = references[order[k]];
        if (r.length == 0) continue;
        if (r.object >= objects.size() || objects[r.object].length < r.length) collection.fail();
        found[order[k]] = {objects[r.object].offset, r.length};
      }
    }
    i = last;
  }
  return found;
}

}  // namespace vitral::data
