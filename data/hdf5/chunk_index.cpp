#include "data/hdf5/chunk_index.h"

#include <iterator>

#include "data/hdf5/chunk_walks.h"
#include "data/hdf5/object_header.h"

namespace vitral::data {
namespace {

enum class Kind { btree_1, single, implicit, fixed_array, extensible_array, btree_2 };

// IV.A.2.i "The Data Layout Message".
struct Layout {
  Kind kind = Kind::btree_1;
  std::uint64_t address = undefined_address;
};

constexpr std::uint64_t chunked = 2;  // the class of layouts

void expect_chunk(Fields& layout, unsigned dimensions, unsigned bytes, const ChunkGrid& grid) {
  if (dimensions != grid.chunk.size() + 1) layout.damaged();  // the last one is the size of an element
  for (const std::uint64_t extent : grid.chunk)
    if (layout.number(bytes) != extent) layout.damaged();
  layout.skip(bytes);
}

std::optional<Layout> read_layout(Metadata& metadata, const ChunkGrid& grid) {
  auto message = find_message(metadata, grid.object_header, data_layout_message);
  if (!message) return std::nullopt;
  Fields& layout = *message;
  const std::uint64_t version = layout.number(1);
  if (version != 3 && version != 4) return std::nullopt;
  if (layout.number(1) != chunked) layout.damaged();
  if (version == 3) {
    const auto dimensions = static_cast<unsigned>(layout.number(1));
    const std::uint64_t address = layout.address();
    expect_chunk(layout, dimensions, 4, grid);
    return Layout{Kind::btree_1, address};
  }
  if ((layout.number(1) & 2U) != 0) return std::nullopt;  // a single chunk, filtered
  const auto dimensions = static_cast<unsigned>(layout.number(1));
  const auto bytes = static_cast<unsigned>(layout.number(1));
  expect_chunk(layout, dimensions, bytes, grid);
  // What it takes to make the index stands before its address, and again in the index.
  constexpr std::size_t parameters[] = {0, 0, 1, 5, 6};
  const std::uint64_t type = layout.number(1);
  if (type < 1 || type > std::size(parameters)) return std::nullopt;
  layout.skip(parameters[type - 1]);
  return Layout{static_cast<Kind>(type), layout.address()};
}

// From one chunk of the first dimension to the next, in the order of all chunks that the dataset may ever
// have. A dimension without end counts as the outermost one, whichever it is.
std::uint64_t stride_of(const Metadata& metadata, const ChunkGrid& grid) {
  std::uint64_t stride = 1;
  for (std::size_t i = 1; i < grid.chunk.size(); ++i)
    if (grid.most[i] != ChunkGrid::unlimited) {
      const std::uint64_t chunks = grid.most[i] / grid.chunk[i] + (grid.most[i] % grid.chunk[i] > 0 ? 1 : 0);
      if (chunks == 0 || __builtin_mul_overflow(stride, chunks, &stride))
        metadata.damaged(grid.object_header);
    }
  std::uint64_t all = 0;
  if (__builtin_mul_overflow(stride, grid.count, &all)) metadata.damaged(grid.object_header);
  return stride;
}

void place_in_turn(const Metadata& metadata, std::uint64_t address, std::uint64_t stride,
                   const ChunkGrid& grid, ChunkOffsets& out) {
  std::uint64_t step = 0, all = 0;
  if (__builtin_mul_overflow(stride, grid.chunk_bytes, &step) ||
      __builtin_mul_overflow(step, grid.count, &all) || __builtin_add_overflow(address, all, &all))
    metadata.damaged(address);
  for (std::uint64_t i = 0; i < grid.count; ++i) out.set(i, address + i * step);
}

}  // namespace

std::optional<std::vector<std::uint64_t>> read_chunk_index(const InputFile& file, const std::string& name,
                                                           const ChunkGrid& grid) {
  for (const unsigned bytes : {grid.format.offset_bytes, grid.format.length_bytes})
    if (bytes < 2 || bytes > 8) return std::nullopt;
  Metadata metadata(file, name, grid.format);
  const auto layout = read_layout(metadata, grid);
  if (!layout) return std::nullopt;
  const std::uint64_t at = layout->address, stride = stride_of(metadata, grid);
  ChunkOffsets found(metadata, grid);
  if (at == undefined_address || grid.count == 0) return found.take();
  switch (layout->kind) {
    case Kind::btree_1:
      walk_btree_1(metadata, at, grid, found);
      break;
    case Kind::single:
      found.set(0, at);
      break;
    case Kind::implicit:
      place_in_turn(metadata, at, stride, grid, found);
      break;
    case Kind::fixed_array:
      walk_fixed_array(metadata, at, stride, found);
      break;
    case Kind::extensible_array:
      walk_extensible_array(metadata, at, stride, found);
      break;
    case Kind::btree_2:
      walk_btree_2(metadata, at, grid, found);
      break;
  }
  return found.take();
}

}  // namespace vitral::data
