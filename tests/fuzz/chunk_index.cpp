// The index of a chunked dataset's chunks, of every kind, with edits in its structures whose checksums are
// made right again. The library sees the undamaged file alone.
//
//   first byte: which dataset; then edits: a byte of how many bytes, two of which structure, two of where,
//   eight of the value
#include "data/hdf5/chunk_index.h"

#include <cstring>

#include "data/hdf5/storage_index.h"
#include "tests/chunk_structures.h"
#include "tests/fuzz/fuzz.h"

namespace {

using namespace vitral;

struct Base {
  std::string bytes;
  test::ChunkStructures structures;
  std::vector<std::pair<std::string, data::ChunkGrid>> datasets;
};

Base load_base(const std::string& name) {
  const std::string path = "tests/golden/chunk_indexes/" + name + ".h5";
  const std::string bytes = read_text_file(path, 1 << 20);
  Base base{bytes, test::ChunkStructures(bytes), {}};
  const data::H5File file = data::H5File::open(path);
  for (const auto& entry : file.contents())
    base.datasets.emplace_back(entry.name, data::describe_chunks(file.layout(entry.name), path, entry.name));
  return base;
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Base bases[] = {load_base("earliest"), load_base("v108"), load_base("v110"),
                               load_base("user_block"), load_base("small_addresses")};
  if (size < 2) return -1;
  const Base& base = bases[data[0] % std::size(bases)];
  const auto& dataset = base.datasets[data[1] % base.datasets.size()];
  std::string bytes = base.bytes;
  constexpr std::size_t edit_bytes = 13;
  for (std::size_t at = 2; at + edit_bytes <= size; at += edit_bytes) {
    std::uint16_t which = 0, where = 0;
    std::uint64_t value = 0;
    std::memcpy(&which, data + at + 1, sizeof which);
    std::memcpy(&where, data + at + 3, sizeof where);
    std::memcpy(&value, data + at + 5, sizeof value);
    base.structures.damage(bytes, which, where, value, data[at] % 9U);
  }
  const std::string& path =
      fuzz::file_of({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
  fuzz::check(bytes.size(), 64,
              [&] { data::read_chunk_index(InputFile(path), dataset.first, dataset.second); });
  return 0;
}
