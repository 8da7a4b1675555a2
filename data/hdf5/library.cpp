#include "data/hdf5/library.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "base/files/input_file.h"
#include "base/text.h"
#include "data/hdf5/driver.h"
#include "data/hdf5/wire.h"

namespace vitral::data {
namespace {

std::optional<DType> dtype_of_type(hid_t type) {
  const std::size_t size = H5Tget_size(type);
  switch (H5Tget_class(type)) {
    case H5T_FLOAT:
      if (size == 2) return H5Tget_ebias(type) == 15 ? DType::float16 : DType::bfloat16;
      if (size == 4) return DType::float32;
      if (size == 8) return DType::float64;
      return std::nullopt;
    case H5T_INTEGER:
      return size == 1 && H5Tget_sign(type) == H5T_SGN_NONE ? DType::uint8 : DType::int64;
    case H5T_ENUM:
      return DType::int64;  // h5py's bool
    default:
      return std::nullopt;
  }
}

Shape shape_of_space(hid_t space, const std::string& path, const std::string& name) {
  const int rank = H5Sget_simple_extent_ndims(space);
  if (rank < 0 || rank > Shape::max_rank)
    throw_error("{}: {} is of rank {}, at most {} is supported; reshape it", path, name, rank,
                Shape::max_rank);
  constexpr hsize_t most = hsize_t{1} << 56;
  hsize_t dims[Shape::max_rank] = {};
  H5Sget_simple_extent_dims(space, dims, nullptr);
  Shape shape;
  std::uint64_t count = 1;  // a damaged file may claim more elements than a number can count
  for (int i = 0; i < rank; ++i) {
    if (dims[i] > most || __builtin_mul_overflow(count, std::max<hsize_t>(dims[i], 1), &count) ||
        count > most)
      throw_error("{}: {} claims more than 2^56 elements, the file is damaged; write it again", path, name);
    shape = shape.append(static_cast<std::int64_t>(dims[i]));
  }
  return shape;
}

// First of all: to tell the extent of a virtual dataset the library opens the files that it names.
void require_in_file(hid_t dataset, const std::string& path, const std::string& name) {
  const Handle creation(H5Dget_create_plist(dataset), H5Pclose);
  if (H5Pget_external_count(creation) > 0 || H5Pget_layout(creation) == H5D_VIRTUAL)
    throw_error<UsageError>("{}: {} lies in another file, copy it into this one", path, name);
}

// The strings of a dataset or attribute that hold variable-length or fixed-length text.
template <class Read>
bool read_text(hid_t type, std::size_t count, std::vector<std::string>& out, Read&& read) {
  if (H5Tget_class(type) != H5T_STRING) return false;
  const Handle memory(H5Tcopy(type), H5Tclose);
  if (H5Tis_variable_str(type) > 0) {
    std::vector<char*> pointers(count, nullptr);
    if (read(static_cast<hid_t>(memory), static_cast<void*>(pointers.data())) < 0) return false;
    for (char* p : pointers) {
      out.emplace_back(p ? p : "");
      H5free_memory(p);
    }
    return true;
  }
  const std::size_t size = H5Tget_size(type);
  std::vector<char> bytes(size * count);
  if (read(static_cast<hid_t>(memory), static_cast<void*>(bytes.data())) < 0) return false;
  for (std::size_t i = 0; i < count; ++i)
    out.emplace_back(bytes.data() + i * size, strnlen(bytes.data() + i * size, size));
  return true;
}

// What the chunks pass and this library lacks (its plugins are off), or nothing.
std::string missing_filter(hid_t creation) {
  for (int i = 0; i < H5Pget_nfilters(creation); ++i) {
    char title[64] = {};
    unsigned flags = 0, config = 0;
    std::size_t values = 0;
    const H5Z_filter_t filter = H5Pget_filter2(creation, static_cast<unsigned>(i), &flags, &values, nullptr,
                                               sizeof title - 1, title, &config);
    if (filter < 0 || H5Zfilter_avail(filter) > 0) continue;
    // Some write where they are found, too: "bitshuffle; see https://...".
    const std::string_view name =
        std::string_view(title).substr(0, std::string_view(title).find_first_of(":;"));
    return name.empty() ? fmt::format("filter {}", filter) : shown(name);
  }
  return "";
}

bool is_native(hid_t type, const std::optional<DType>& dtype) {
  if (dtype == DType::uint8) return H5Tget_precision(type) == 8;
  if (dtype == DType::float16) return H5Tequal(type, float16_type()) > 0;
  if (dtype == DType::float32) return H5Tequal(type, H5T_NATIVE_FLOAT) > 0;
  if (dtype == DType::float64) return H5Tequal(type, H5T_NATIVE_DOUBLE) > 0;
  return false;
}

std::uint64_t address_of(hid_t object) {
  haddr_t address = HADDR_UNDEF;
#if H5_VERSION_GE(1, 12, 0)
  H5O_info2_t info;
  if (H5Oget_info3(object, &info, H5O_INFO_BASIC) < 0 ||
      H5VLnative_token_to_addr(object, info.token, &address) < 0)
    return HADDR_UNDEF;
#else
  H5O_info_t info;
  if (H5Oget_info2(object, &info, H5O_INFO_BASIC) >= 0) address = info.addr;
#endif
  return address;
}

bool is_bytes(hid_t type) {
  if (H5Tget_class(type) != H5T_VLEN) return false;
  const Handle element(H5Tget_super(type), H5Tclose);
  return H5Tget_class(element) == H5T_INTEGER && H5Tget_size(element) == 1 &&
         H5Tget_sign(element) == H5T_SGN_NONE;
}

}  // namespace

void require_filter(const std::string& missing, const std::string& path, const std::string& name) {
  if (!missing.empty())
    throw_error<UsageError>(
        "{}: {} is compressed with {}, which this HDF5 cannot read; rewrite it with gzip or none", path, name,
        missing);
}

H5Library::H5Library(std::string path, hid_t file) : path_(std::move(path)), file_(file) {}

H5Library::H5Library(std::string path, int descriptor, bool writable)
    : path_(std::move(path)),
      file_(H5Fopen(opened_file, writable ? H5F_ACC_RDWR : H5F_ACC_RDONLY, access_by(descriptor))) {}

H5Library::~H5Library() {
  open_.clear();
  if (file_ >= 0) H5Fclose(file_);
}

// To be called before the library is called again, which forgets why it failed.
void H5Library::cannot_be_read(const std::string& what) const {
  bool memory = false;
  H5Ewalk2(
      H5E_DEFAULT, H5E_WALK_UPWARD,
      [](unsigned, const H5E_error2_t* error, void* found) -> herr_t {
        if (error->min_num == H5E_NOSPACE || error->min_num == H5E_CANTALLOC)
          *static_cast<bool*>(found) = true;
        return 0;
      },
      &memory);
  if (memory) throw std::bad_alloc();
  throw_error("{}: {} cannot be read; the file is damaged", path_, what);
}

void H5Library::fail(const std::string& what) const {
  throw_error("{}: {}; the file is damaged or the disk is full", path_, what);
}

Handle H5Library::open_any(const std::string& name) const {
  if (!has(name)) throw_error<UsageError>("{}: has no dataset {}", path_, name);
  const Handle object(H5Oopen(file_, name.c_str(), H5P_DEFAULT), H5Oclose);
  if (object >= 0 && H5Iget_type(object) != H5I_DATASET)
    throw_error<UsageError>("{}: {} is not a dataset", path_, name);
  Handle dataset(H5Dopen2(file_, name.c_str(), H5P_DEFAULT), H5Dclose);
  if (dataset < 0) throw_error("{}: {} cannot be read; the file is damaged", path_, name);
  require_in_file(dataset, path_, name);
  return dataset;
}

Handle H5Library::open_dataset(const std::string& name) const {
  Handle dataset = open_any(name);
  const Handle creation(H5Dget_create_plist(dataset), H5Pclose);
  require_filter(missing_filter(creation), path_, name);
  return dataset;
}

H5Layout H5Library::layout(const std::string& name) const {
  const Handle dataset = open_any(name);
  const Handle type(H5Dget_type(dataset), H5Tclose), space(H5Dget_space(dataset), H5Sclose),
      creation(H5Dget_create_plist(dataset), H5Pclose), file(H5Fget_create_plist(file_), H5Pclose);
  H5Layout out;
  hsize_t user_block = 0;
  std::size_t offset_bytes = 0, length_bytes = 0;
  unsigned tree_rank = 0;
  H5Pget_userblock(file, &user_block);
  H5Pget_sizes(file, &offset_bytes, &length_bytes);
  H5Pget_istore_k(file, &tree_rank);
  out.format = {user_block, static_cast<unsigned>(offset_bytes), static_cast<unsigned>(length_bytes)};
  out.tree_rank = tree_rank;
  out.shape = shape_of_space(space, path_, name);
  hsize_t dims[Shape::max_rank] = {};
  static_assert(H5S_UNLIMITED == H5Layout::unlimited && HADDR_UNDEF == H5Layout::unwritten);
  H5Sget_simple_extent_dims(space, nullptr, dims);
  out.most.assign(dims, dims + out.shape.rank());
  out.dtype = dtype_of_type(type);
  out.native = is_native(type, out.dtype);
  out.uint16 = H5Tequal(type, H5T_NATIVE_UINT16) > 0;
  out.text = H5Tget_class(type) == H5T_STRING;
  // Stored as a reference; H5Tget_size() would be that of hvl_t.
  out.variable = H5Tget_class(type) == H5T_VLEN || H5Tis_variable_str(type) > 0;
  out.files = is_bytes(type) && out.shape.rank() == 1;
  out.element_bytes = out.variable ? 8 + offset_bytes : H5Tget_size(type);
  const H5D_layout_t kind = H5Pget_layout(creation);
  out.contiguous = kind == H5D_CONTIGUOUS;
  out.chunked = kind == H5D_CHUNKED;
  out.compact = kind == H5D_COMPACT;
  if (out.contiguous) out.offset = H5Dget_offset(dataset);
  if (out.chunked) {
    const int rank = H5Pget_chunk(creation, Shape::max_rank, dims);
    out.chunk.assign(dims, dims + std::clamp(rank, 0, Shape::max_rank));
  }
  out.filters = static_cast<std::uint64_t>(std::max(H5Pget_nfilters(creation), 0));
  out.missing_filter = missing_filter(creation);
  out.object_header = address_of(dataset);
  return out;
}

H5Entry H5Library::describe(hid_t dataset, const std::string& name) const {
  try {
    require_in_file(dataset, path_, name);
    const Handle type(H5Dget_type(dataset), H5Tclose), space(H5Dget_space(dataset), H5Sclose);
    const auto dtype = dtype_of_type(type);
    return {name, dtype ? vitral::name(*dtype) : "other", shape_of_space(space, path_, name).str()};
  } catch (const Error&) {  // a shape beyond ours, in another file, damage
    return {name, "other", ""};
  }
}

std::string H5Library::type_text(const std::string& name) const {
  const Handle dataset = open_any(name);
  const Handle type(H5Dget_type(dataset), H5Tclose);
  if (const auto dtype = dtype_of_type(type))
    return *dtype == DType::int64 ? "integers" : std::string(vitral::name(*dtype));
  switch (H5Tget_class(type)) {
    case H5T_STRING:
      return "text";
    case H5T_COMPOUND:
      return "a table";
    case H5T_VLEN:
      return "values of variable length";
    case H5T_OPAQUE:
      return fmt::format("opaque values of {} bytes", H5Tget_size(type));
    default:
      return "no numbers";
  }
}

// The elements of a whole dataset. A damaged file may claim any number of them: no more are believed than the
// best compression (1032:1, deflate) can hide in the file.
void H5Library::check_claim(const std::string& name, std::int64_t count, std::size_t size) const {
  hsize_t file_size = 0;
  H5Fget_filesize(file_, &file_size);
  const double claim = static_cast<double>(count) * static_cast<double>(size);
  if (claim > 1 << 20 && claim > 1100 * static_cast<double>(file_size))
    throw_error("{}: {} claims {:.0f} bytes in a file of {}, the file is damaged; write it again", path_,
                name, claim, file_size);
}

Tensor H5Library::read(const std::string& name) const {
  const H5Layout dataset_layout = layout(name);
  const auto& [shape, dtype] = std::tie(dataset_layout.shape, dataset_layout.dtype);
  if (!dtype) throw_error<UsageError>("{}: {} does not hold numbers", path_, name);
  const Handle dataset = open_dataset(name);
  check_claim(name, shape.numel(), size_of(*dtype));
  Tensor values = tensor_of_own(shape, *dtype);
  if (values.numel() > 0 &&
      H5Dread(dataset, memory_type(*dtype), H5S_ALL, H5S_ALL, H5P_DEFAULT, values.raw()) < 0)
    cannot_be_read(name);
  return values;
}

std::vector<std::uint64_t> H5Library::read_uint64(const std::string& name) const {
  const H5Layout l = layout(name);
  if (l.dtype != DType::int64 && l.dtype != DType::uint8)
    throw_error<UsageError>("{}: {} does not hold integers", path_, name);
  const Handle dataset = open_dataset(name);
  check_claim(name, l.shape.numel(), sizeof(std::uint64_t));
  const Handle type(H5Dget_type(dataset), H5Tclose);
  // The library would turn negative numbers into 0.
  const bool is_signed = H5Tget_sign(type) == H5T_SGN_2;
  std::vector<std::uint64_t> values(static_cast<std::size_t>(l.shape.numel()));
  if (!values.empty() && H5Dread(dataset, is_signed ? H5T_NATIVE_INT64 : H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL,
                                 H5P_DEFAULT, values.data()) < 0)
    cannot_be_read(name);
  for (std::size_t i = 0; is_signed && i < values.size(); ++i)
    if (const auto value = static_cast<std::int64_t>(values[i]); value < 0)
      throw_error<UsageError>("{}: {} row {} is {}; numbers from 0 on are needed, write uint64", path_, name,
                              static_cast<std::int64_t>(i) / l.shape.product(1, l.shape.rank()), value);
  return values;
}

std::vector<std::string> H5Library::read_strings(const std::string& name) const {
  const auto count = static_cast<std::size_t>(layout(name).shape.numel());
  const Handle dataset = open_dataset(name);
  const Handle type(H5Dget_type(dataset), H5Tclose);
  check_claim(name, static_cast<std::int64_t>(count), H5Tget_size(type));
  std::vector<std::string> strings;
  const bool ok = read_text(type, count, strings, [&](hid_t memory, void* to) {
    if (H5Dread(dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, to) < 0) cannot_be_read(name);
    return herr_t{0};
  });
  if (!ok) throw_error<UsageError>("{}: {} does not hold text", path_, name);
  return strings;
}

std::optional<std::string> H5Library::attribute(const std::string& name, const std::string& object) const {
  if (H5Aexists_by_name(file_, object.c_str(), name.c_str(), H5P_DEFAULT) <= 0) return std::nullopt;
  const Handle attribute(H5Aopen_by_name(file_, object.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT),
                         H5Aclose);
  const Handle type(H5Aget_type(attribute), H5Tclose);
  const Handle space(H5Aget_space(attribute), H5Sclose);
  std::vector<std::string> strings;
  const auto count = static_cast<std::size_t>(shape_of_space(space, path_, name).numel());
  if (count != 1 ||
      !read_text(type, 1, strings, [&](hid_t memory, void* to) { return H5Aread(attribute, memory, to); }))
    return std::nullopt;
  return strings.front();
}

const Handle& H5Library::opened(const std::string& name) const {
  Handle& dataset = open_[name];
  if (dataset < 0) dataset = open_dataset(name);
  return dataset;
}

std::vector<std::uint8_t> H5Library::read_rows(const std::string& name, std::int64_t first,
                                               std::int64_t count, DType dtype) const {
  const Handle& dataset = opened(name);
  const Handle space(H5Dget_space(dataset), H5Sclose);
  const Shape shape = shape_of_space(space, path_, name);
  std::vector<hsize_t> start(static_cast<std::size_t>(shape.rank()), 0), extent(shape.begin(), shape.end());
  VITRAL_CHECK(!start.empty() && first >= 0 && count >= 0 && count <= shape[0] - first,
               "{}: {} rows [{}, {}) are out of range", path_, name, first, first + count);
  start[0] = static_cast<hsize_t>(first);
  extent[0] = static_cast<hsize_t>(count);
  H5Sselect_hyperslab(space, H5S_SELECT_SET, start.data(), nullptr, extent.data(), nullptr);
  const Handle memory(H5Screate_simple(shape.rank(), extent.data(), nullptr), H5Sclose);
  std::vector<std::uint8_t> rows(static_cast<std::size_t>(count * shape.product(1, shape.rank())) *
                                 size_of(dtype));
  if (H5Dread(dataset, memory_type(dtype), memory, space, H5P_DEFAULT, rows.data()) < 0)
    cannot_be_read(fmt::format("{} row {}", name, first));
  return rows;
}

std::vector<std::uint8_t> H5Library::read_bytes(const std::string& name, std::int64_t row) const {
  const Handle& dataset = opened(name);
  const Handle space(H5Dget_space(dataset), H5Sclose);
  const auto start = static_cast<hsize_t>(row);
  const hsize_t one = 1;
  H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, nullptr, &one, nullptr);
  const Handle memory(H5Screate_simple(1, &one, nullptr), H5Sclose);
  const Handle type(H5Tvlen_create(H5T_NATIVE_UINT8), H5Tclose);
  hvl_t value{};
  if (H5Dread(dataset, type, memory, space, H5P_DEFAULT, &value) < 0)
    cannot_be_read(fmt::format("{} row {}", name, row));
  const auto* from = static_cast<const std::uint8_t*>(value.p);
  std::vector<std::uint8_t> bytes(from, from + (from ? value.len : 0));
  H5Dvlen_reclaim(type, memory, H5P_DEFAULT, &value);
  return bytes;
}

// The library's own question, H5Dget_chunk_info_by_coord, walks over all chunks for each answer before HDF5
// 1.14 (quadratic: minutes for 100,000 images). H5Dread_chunk looks one chunk up in the index, and our driver
// notes where it would be read.
std::vector<std::uint64_t> H5Library::locate_chunks(const std::string& name, std::uint64_t step) const {
  const H5Layout l = layout(name);
  const Handle dataset = open_dataset(name);
  std::vector<hsize_t> at(static_cast<std::size_t>(l.shape.rank()), 0);
  if (at.empty() || l.chunk.size() != at.size() || l.chunk[0] == 0 || l.filters > 0)
    throw_error("{}: {} has no chunks that could be found, the file is damaged; write it again", path_, name);
  std::uint64_t chunk_bytes = l.element_bytes;
  for (const auto n : l.chunk)
    if (__builtin_mul_overflow(chunk_bytes, n, &chunk_bytes)) chunk_bytes = H5Layout::unwritten;
  std::vector<std::uint64_t> offsets;
  for (; at[0] < static_cast<hsize_t>(l.shape[0]); at[0] += step * l.chunk[0]) {
    NotedRead place;
    std::uint32_t filters = 0;
    char nothing = 0;  // the driver leaves it alone
    const NoteReads note(place);
    const bool found = H5Dread_chunk(dataset, H5P_DEFAULT, at.data(), &filters, &nothing) >= 0 && place.noted;
    // What is too short lies nowhere in the file.
    offsets.push_back(!found                      ? H5Layout::unwritten
                      : place.bytes < chunk_bytes ? H5Layout::unwritten - 1
                                                  : place.offset);
  }
  return offsets;
}

}  // namespace vitral::data
