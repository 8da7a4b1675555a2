#include "data/hdf5/storage_index.h"

#include <algorithm>

#include "data/hdf5/chunk_locator.h"
#include "data/hdf5/handle.h"

namespace vitral::data {
namespace {

[[noreturn]] void damaged(const InputFile& bytes, const std::string& name, std::int64_t row) {
  throw_error(
      "{}: {} row {} lies beyond the end of the file ({} bytes), it is truncated or damaged; write it again",
      bytes.path(), name, row, bytes.size());
}

void index_contiguous(StorageIndex& index, const InputFile& bytes, const std::string& name, hid_t dataset) {
  index.layout = "contiguous";
  index.rows_a_piece = std::max<std::int64_t>(index.rows, 1);
  const haddr_t at = H5Dget_offset(dataset);
  if (at == HADDR_UNDEF) {
    index.pieces.assign(1, StorageIndex::unwritten);
    return;
  }
  const auto rows = static_cast<std::uint64_t>(index.rows);
  if (!bytes.holds(at, 0) || (index.row_bytes > 0 && rows > (bytes.size() - at) / index.row_bytes))
    damaged(bytes, name, index.rows - 1);
  index.pieces.assign(1, at);
}

void index_chunks(StorageIndex& index, const InputFile& bytes, const std::string& name, hid_t creation,
                  const Shape& shape) {
  hsize_t chunk[Shape::max_rank] = {};
  if (H5Pget_chunk(creation, Shape::max_rank, chunk) != shape.rank())
    throw_error("{}: {} has no chunk size, the file is damaged", bytes.path(), name);
  index.rows_a_piece = static_cast<std::int64_t>(chunk[0]);
  index.layout = fmt::format("chunks of {} row{}", chunk[0], chunk[0] == 1 ? "" : "s");
  if (H5Pget_nfilters(creation) > 0) {
    index.obstacle = "compressed or filtered chunks";
    return;
  }
  for (int i = 1; i < shape.rank(); ++i)
    if (chunk[i] != static_cast<hsize_t>(shape[i])) {
      index.obstacle = "chunks that do not hold whole rows";
      return;
    }
  const std::int64_t count = (index.rows + index.rows_a_piece - 1) / index.rows_a_piece;
  // Each chunk takes more than this in the file's own index.
  if (static_cast<std::uint64_t>(count) > bytes.size() / 8 + 65536)
    throw_error("{}: {} claims {} chunks in a file of {} bytes, the file is damaged; write it again",
                bytes.path(), name, count, bytes.size());
  ChunkLocator locator(bytes.path(), name);
  index.pieces.reserve(static_cast<std::size_t>(count));
  const std::uint64_t chunk_bytes = static_cast<std::uint64_t>(chunk[0]) * index.row_bytes;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t row = i * index.rows_a_piece;
    const auto place = locator.locate(static_cast<std::uint64_t>(row));
    if (place.written && (place.bytes < chunk_bytes || !bytes.holds(place.offset, chunk_bytes)))
      damaged(bytes, name, row);
    index.pieces.push_back(place.written ? place.offset : StorageIndex::unwritten);
  }
}

}  // namespace

StorageIndex index_storage(const H5File& file, const InputFile& bytes, const std::string& name) {
  const Shape shape = file.shape(name);
  VITRAL_CHECK(shape.rank() > 0, "{}: {} is a single value, rows are needed", file.path(), name);
  const Handle dataset = open_dataset(file, name);
  const Handle type(H5Dget_type(dataset), H5Tclose);
  const Handle creation(H5Dget_create_plist(dataset), H5Pclose);
  StorageIndex index;
  index.rows = shape[0];
  // A variable-length value is stored as a reference; H5Tget_size() would be that of hvl_t.
  const bool variable = H5Tget_class(type) == H5T_VLEN || H5Tis_variable_str(type) > 0;
  const std::size_t element_bytes = variable ? 16 : H5Tget_size(type);
  if (__builtin_mul_overflow(static_cast<std::size_t>(shape.product(1, shape.rank())), element_bytes,
                             &index.row_bytes) ||
      index.row_bytes > std::size_t{1} << 40)
    throw_error("{}: {} {} claims rows of more than 2^40 bytes, the file is damaged", file.path(), name,
                shape);
  switch (H5Pget_layout(creation)) {
    case H5D_CONTIGUOUS:
      index_contiguous(index, bytes, name, dataset);
      break;
    case H5D_CHUNKED:
      index_chunks(index, bytes, name, creation, shape);
      break;
    case H5D_COMPACT:
      index.layout = "compact";
      index.obstacle = "compact storage";
      break;
    default:
      throw_error<UsageError>("{}: {} has an unknown layout; write it contiguous or chunked", file.path(),
                              name);
  }
  if (variable && index.obstacle.empty()) {
    std::size_t address_bytes = 0, length_bytes = 0;
    const Handle file_creation(H5Fget_create_plist(file.id()), H5Pclose);
    H5Pget_sizes(file_creation, &address_bytes, &length_bytes);
    if (address_bytes != 8 || length_bytes != 8) index.obstacle = "an unusual address size";
  }
  return index;
}

bool StorageIndex::read(const InputFile& file, std::int64_t first, std::int64_t count, void* to) const {
  auto* bytes = static_cast<char*>(to);
  while (count > 0) {
    const std::uint64_t piece = pieces[static_cast<std::size_t>(first / rows_a_piece)];
    if (piece == unwritten) return false;
    const std::int64_t in_piece = first % rows_a_piece;
    const std::int64_t n = std::min(count, rows_a_piece - in_piece);
    const std::size_t length = static_cast<std::size_t>(n) * row_bytes;
    file.read(piece + static_cast<std::uint64_t>(in_piece) * row_bytes, bytes, length);
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
