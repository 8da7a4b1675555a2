#include "data/hdf5/storage_index.h"

#include <algorithm>

namespace vitral::data {
namespace {

static_assert(StorageIndex::unwritten == undefined_address);
constexpr std::uint64_t most_unwritten = 1 << 24;  // chunks, of 8 bytes here

[[noreturn]] void damaged(const InputFile& bytes, const std::string& name, std::int64_t row) {
  throw_error(
      "{}: {} row {} lies beyond the end of the file ({} bytes), it is truncated or damaged; write it again",
      bytes.path(), name, row, bytes.size());
}

void index_contiguous(StorageIndex& index, const InputFile& bytes, const std::string& name,
                      std::uint64_t at) {
  index.layout = "contiguous";
  index.rows_a_piece = std::max<std::int64_t>(index.rows, 1);
  index.pieces.assign(1, at);
  if (at == StorageIndex::unwritten) return;
  const auto rows = static_cast<std::uint64_t>(index.rows);
  if (!bytes.holds(at, 0) || (index.row_bytes > 0 && rows > (bytes.size() - at) / index.row_bytes))
    damaged(bytes, name, index.rows - 1);
}

}  // namespace

ChunkGrid describe_chunks(const H5Layout& layout, const std::string& path, const std::string& name) {
  const auto rank = static_cast<std::size_t>(layout.shape.rank());
  if (layout.chunk.size() != rank || std::count(layout.chunk.begin(), layout.chunk.end(), 0) > 0)
    throw_error("{}: {} has no chunk size, the file is damaged", path, name);
  ChunkGrid grid;
  grid.format = layout.format;
  grid.object_header = layout.object_header;
  grid.tree_rank = layout.tree_rank;
  grid.chunk = layout.chunk;
  grid.most = layout.most;
  const auto rows = static_cast<std::uint64_t>(layout.shape[0]);
  grid.count = rows / grid.chunk[0] + (rows % grid.chunk[0] > 0 ? 1 : 0);
  grid.chunk_bytes = layout.element_bytes;
  for (const std::uint64_t extent : grid.chunk)
    if (__builtin_mul_overflow(grid.chunk_bytes, extent, &grid.chunk_bytes))
      throw_error("{}: {} claims chunks of more than 2^64 bytes, the file is damaged", path, name);
  return grid;
}

namespace {

void index_chunks(StorageIndex& index, const H5File& file, const InputFile& bytes, const std::string& name,
                  const H5Layout& layout) {
  const ChunkGrid grid = describe_chunks(layout, bytes.path(), name);
  const std::uint64_t rows = grid.chunk[0];
  index.rows_a_piece = static_cast<std::int64_t>(rows);
  index.layout = fmt::format("chunks of {} row{}", rows, rows == 1 ? "" : "s");
  if (layout.filters > 0) {
    index.obstacle = "compressed or filtered chunks";
    return;
  }
  if (!std::equal(grid.chunk.begin() + 1, grid.chunk.end(), layout.shape.begin() + 1)) {
    index.obstacle = "chunks that do not hold whole rows";
    return;
  }
  // Each that was written takes more than this in the file's own index; of others, no one needs more.
  if (grid.count > bytes.size() / 8 + most_unwritten)
    throw_error("{}: {} claims {} chunks in a file of {} bytes, the file is damaged; write it again",
                bytes.path(), name, grid.count, bytes.size());
  auto found = read_chunk_index(bytes, name, grid);
  index.pieces = found ? std::move(*found) : file.locate_chunks(name, layout);
  if (index.pieces.size() != grid.count) damaged(bytes, name, 0);
  for (std::uint64_t i = 0; i < grid.count; ++i)
    if (index.pieces[i] != StorageIndex::unwritten && !bytes.holds(index.pieces[i], grid.chunk_bytes))
      damaged(bytes, name, static_cast<std::int64_t>(i * rows));
}

}  // namespace

StorageIndex index_storage(const H5File& file, const InputFile& bytes, const std::string& name,
                           const H5Layout& layout) {
  const Shape& shape = layout.shape;
  VITRAL_CHECK(shape.rank() > 0, "{}: {} is a single value, rows are needed", file.path(), name);
  require_filter(layout.missing_filter, file.path(), name);
  StorageIndex index;
  index.rows = shape[0];
  if (__builtin_mul_overflow(static_cast<std::size_t>(shape.product(1, shape.rank())), layout.element_bytes,
                             &index.row_bytes) ||
      index.row_bytes > std::size_t{1} << 40)
    throw_error("{}: {} {} claims rows of more than 2^40 bytes, the file is damaged", file.path(), name,
                shape);
  if (layout.contiguous) {
    index_contiguous(index, bytes, name, layout.offset);
  } else if (layout.chunked) {
    index_chunks(index, file, bytes, name, layout);
  } else if (layout.compact) {
    index.layout = "compact";
    index.obstacle = "compact storage";
  } else {
    throw_error<UsageError>("{}: {} has an unknown layout; write it contiguous or chunked", file.path(),
                            name);
  }
  if (layout.variable && index.obstacle.empty() &&
      (layout.format.offset_bytes != 8 || layout.format.length_bytes != 8))
    index.obstacle = "an unusual address size";
  return index;
}

std::uint64_t StorageIndex::offset_of(std::int64_t row) const {
  const std::uint64_t piece = pieces[static_cast<std::size_t>(row / rows_a_piece)];
  return piece == unwritten ? unwritten : piece + static_cast<std::uint64_t>(row % rows_a_piece) * row_bytes;
}

bool StorageIndex::read(const InputFile& file, std::int64_t first, std::int64_t count, void* to) const {
  auto* bytes = static_cast<char*>(to);
  while (count > 0) {
    const std::uint64_t offset = offset_of(first);
    if (offset == unwritten) return false;
    const std::int64_t n = std::min(count, rows_a_piece - first % rows_a_piece);
    const std::size_t length = static_cast<std::size_t>(n) * row_bytes;
    file.read(offset, bytes, length);
    bytes += length;
    first += n;
    count -= n;
  }
  return true;
}

std::int64_t StorageIndex::unwritten_rows() const {
  std::int64_t n = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i)
    if (pieces[i] == unwritten)
      n += std::min(rows_a_piece, rows - static_cast<std::int64_t>(i) * rows_a_piece);
  return n;
}

}  // namespace vitral::data
