#include "data/hdf5/storage_index.h"

#include <algorithm>

#include "data/hdf5/chunk_locator.h"
#include "data/hdf5/handle.h"

namespace vitral::data {
namespace {

static_assert(StorageIndex::unwritten == undefined_address);
constexpr std::uint64_t beyond_any_file = StorageIndex::unwritten - 1;
constexpr std::uint64_t most_unwritten = 1 << 24;  // chunks, of 8 bytes here

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

// What the library knows of the file's structures and of the dataset's place among them.
MetadataFormat format_of(hid_t file) {
  const Handle creation(H5Fget_create_plist(file), H5Pclose);
  hsize_t user_block = 0;
  std::size_t offset_bytes = 0, length_bytes = 0;
  H5Pget_userblock(creation, &user_block);
  H5Pget_sizes(creation, &offset_bytes, &length_bytes);
  return {user_block, static_cast<unsigned>(offset_bytes), static_cast<unsigned>(length_bytes)};
}

bool is_variable(hid_t type) { return H5Tget_class(type) == H5T_VLEN || H5Tis_variable_str(type) > 0; }

// A variable-length value is stored as a reference; H5Tget_size() would be that of hvl_t.
std::size_t stored_bytes(hid_t type, const MetadataFormat& format) {
  return is_variable(type) ? 8 + format.offset_bytes : H5Tget_size(type);
}

std::uint64_t address_of_header(hid_t dataset) {
  haddr_t address = HADDR_UNDEF;
#if H5_VERSION_GE(1, 12, 0)
  H5O_info2_t info;
  if (H5Oget_info3(dataset, &info, H5O_INFO_BASIC) < 0 ||
      H5VLnative_token_to_addr(dataset, info.token, &address) < 0)
    return HADDR_UNDEF;
#else
  H5O_info_t info;
  if (H5Oget_info2(dataset, &info, H5O_INFO_BASIC) >= 0) address = info.addr;
#endif
  return address;
}

// By the library, for kinds of indexes that we do not read ourselves.
std::vector<std::uint64_t> locate_chunks(const std::string& path, const std::string& name,
                                         const ChunkGrid& grid) {
  ChunkLocator locator(path, name);
  std::vector<std::uint64_t> offsets;
  for (std::uint64_t i = 0; i < grid.count; ++i) {
    const auto place = locator.locate(i * grid.chunk[0]);
    const std::uint64_t offset = place.bytes < grid.chunk_bytes ? beyond_any_file : place.offset;
    offsets.push_back(place.written ? offset : StorageIndex::unwritten);
  }
  return offsets;
}

}  // namespace

ChunkGrid describe_chunks(const H5File& file, const std::string& name) {
  const Handle dataset = open_dataset(file, name);
  const Handle type(H5Dget_type(dataset), H5Tclose), space(H5Dget_space(dataset), H5Sclose);
  const Handle creation(H5Dget_create_plist(dataset), H5Pclose);
  const Handle file_creation(H5Fget_create_plist(file.id()), H5Pclose);
  const auto rank = static_cast<std::size_t>(file.shape(name).rank());
  static_assert(H5S_UNLIMITED == ChunkGrid::unlimited);
  std::vector<hsize_t> extents(rank), most(rank), chunk(rank);
  H5Sget_simple_extent_dims(space, extents.data(), most.data());
  if (H5Pget_chunk(creation, static_cast<int>(rank), chunk.data()) != static_cast<int>(rank) ||
      std::count(chunk.begin(), chunk.end(), 0) > 0)
    throw_error("{}: {} has no chunk size, the file is damaged", file.path(), name);
  ChunkGrid grid;
  grid.format = format_of(file.id());
  grid.object_header = address_of_header(dataset);
  H5Pget_istore_k(file_creation, &grid.tree_rank);
  grid.chunk.assign(chunk.begin(), chunk.end());
  grid.most.assign(most.begin(), most.end());
  grid.count = extents[0] / chunk[0] + (extents[0] % chunk[0] > 0 ? 1 : 0);
  grid.chunk_bytes = stored_bytes(type, grid.format);
  for (const hsize_t extent : chunk)
    if (__builtin_mul_overflow(grid.chunk_bytes, extent, &grid.chunk_bytes))
      throw_error("{}: {} claims chunks of more than 2^64 bytes, the file is damaged", file.path(), name);
  return grid;
}

namespace {

void index_chunks(StorageIndex& index, const H5File& file, const InputFile& bytes, const std::string& name,
                  hid_t creation, const Shape& shape) {
  const ChunkGrid grid = describe_chunks(file, name);
  const std::uint64_t rows = grid.chunk[0];
  index.rows_a_piece = static_cast<std::int64_t>(rows);
  index.layout = fmt::format("chunks of {} row{}", rows, rows == 1 ? "" : "s");
  if (H5Pget_nfilters(creation) > 0) {
    index.obstacle = "compressed or filtered chunks";
    return;
  }
  if (!std::equal(grid.chunk.begin() + 1, grid.chunk.end(), shape.begin() + 1)) {
    index.obstacle = "chunks that do not hold whole rows";
    return;
  }
  // Each that was written takes more than this in the file's own index; of others, no one needs more.
  if (grid.count > bytes.size() / 8 + most_unwritten)
    throw_error("{}: {} claims {} chunks in a file of {} bytes, the file is damaged; write it again",
                bytes.path(), name, grid.count, bytes.size());
  auto found = read_chunk_index(bytes, name, grid);
  index.pieces = found ? std::move(*found) : locate_chunks(bytes.path(), name, grid);
  for (std::uint64_t i = 0; i < grid.count; ++i)
    if (index.pieces[i] != StorageIndex::unwritten && !bytes.holds(index.pieces[i], grid.chunk_bytes))
      damaged(bytes, name, static_cast<std::int64_t>(i * rows));
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
  const MetadataFormat format = format_of(file.id());
  if (__builtin_mul_overflow(static_cast<std::size_t>(shape.product(1, shape.rank())),
                             stored_bytes(type, format), &index.row_bytes) ||
      index.row_bytes > std::size_t{1} << 40)
    throw_error("{}: {} {} claims rows of more than 2^40 bytes, the file is damaged", file.path(), name,
                shape);
  switch (H5Pget_layout(creation)) {
    case H5D_CONTIGUOUS:
      index_contiguous(index, bytes, name, dataset);
      break;
    case H5D_CHUNKED:
      index_chunks(index, file, bytes, name, creation, shape);
      break;
    case H5D_COMPACT:
      index.layout = "compact";
      index.obstacle = "compact storage";
      break;
    default:
      throw_error<UsageError>("{}: {} has an unknown layout; write it contiguous or chunked", file.path(),
                              name);
  }
  if (is_variable(type) && index.obstacle.empty() && (format.offset_bytes != 8 || format.length_bytes != 8))
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
