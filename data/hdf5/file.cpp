#include "data/hdf5/file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include <unistd.h>

#include "base/files/input_file.h"
#include "base/text.h"
#include "data/hdf5/handle.h"

namespace vitral::data {
namespace {

// The library's own report on stderr is a setting of each thread: errors become exceptions.
void silence() {
  thread_local const bool once = H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr) >= 0;
  static_cast<void>(once);
}

void initialise() {
  static const bool once = [] {
    // Files are closed by their owners. The library's own clean-up at exit would try again to write what a
    // full disk refused, and crash.
    H5dont_atexit();
    H5open();
    unsigned plugins = 0;
    H5PLset_loading_state(plugins);
    return true;
  }();
  static_cast<void>(once);
  silence();
}

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

// The library would lock a file after it has truncated it, which is too late; and its lock would be refused
// on file systems (NFS) that take it for the same kind as the caller's.
Handle access_without_lock() {
  Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_file_locking(access, false, true);
  return access;
}

// The library writes the beginning of a file as it opens it, and does not say why that failed.
void require_opened_for_writing(hid_t id, const std::string& path, const char* otherwise) {
  if (id >= 0) return;
  if (::access(path.c_str(), W_OK) != 0) throw_error<UsageError>("{}: {}", path, otherwise);
  throw_error("{}: cannot be written; the file is damaged or the disk is full", path);
}

// What says why the library refuses a file: HDF5 File Format Specification 3.0, II.A "Format Signature and
// Superblock".
struct Superblock {
  std::uint64_t end = 0;  // bytes that the file had when it was closed; 0: unknown
  bool open_for_writing = false;
};

Superblock read_superblock(const InputFile& file) {
  const auto number = [](const unsigned char* from) {
    std::uint64_t value = 0;
    for (int i = 7; i >= 0; --i) value = value << 8 | from[i];
    return value;
  };
  constexpr std::array<unsigned char, 8> signature{0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
  std::array<unsigned char, 64> b{};
  for (std::uint64_t at = 0; file.holds(at, b.size()); at = at == 0 ? 512 : 2 * at) {  // behind a user block
    file.read(at, b.data(), b.size());
    if (!std::equal(signature.begin(), signature.end(), b.begin())) continue;
    const int version = b[8];
    Superblock out;
    if (version >= 2) {
      out.open_for_writing = (b[11] & 0x05) != 0;  // by a writer, by a SWMR writer
      if (b[9] == 8) out.end = number(b.data() + 28);
    } else if (b[13] == 8) {
      out.end = number(b.data() + (version == 0 ? 40 : 44));
    }
    return out;
  }
  return {};
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

// The elements of a whole dataset. A damaged file may claim any number of them: no more are believed than the
// best compression (1032:1, deflate) can hide in the file.
void check_claim(const std::string& path, const std::string& name, std::int64_t count, std::size_t size) {
  std::error_code ignored;
  const auto file_size = static_cast<double>(std::filesystem::file_size(path, ignored));
  const double claim = static_cast<double>(count) * static_cast<double>(size);
  if (claim > 1 << 20 && claim > 1100 * file_size)
    throw_error("{}: {} claims {:.0f} bytes in a file of {:.0f}, the file is damaged; write it again", path,
                name, claim, file_size);
}

}  // namespace

hid_t float16_type() {
  static const hid_t type = [] {
    const hid_t t = H5Tcopy(H5T_IEEE_F32LE);
    H5Tset_fields(t, 15, 10, 5, 0, 10);
    H5Tset_size(t, 2);
    H5Tset_ebias(t, 15);
    return t;
  }();
  return type;
}

hid_t memory_type(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return H5T_NATIVE_FLOAT;
    case DType::float64:
      return H5T_NATIVE_DOUBLE;
    case DType::float16:
      return float16_type();
    case DType::uint8:
      return H5T_NATIVE_UINT8;
    case DType::int64:
      return H5T_NATIVE_INT64;
    case DType::bfloat16:
      break;
  }
  throw_error<UsageError>("hdf5: dtype {} has no HDF5 type, convert to float32", dtype);
}

std::unique_lock<std::mutex> lock_hdf5() {
  static auto* mutex = new std::mutex;  // never destroyed: readers in static storage may outlive it
  std::unique_lock lock(*mutex);
  silence();
  return lock;
}

namespace {

Handle open_any(const H5File& file, const std::string& name) {
  if (!file.has(name)) throw_error<UsageError>("{}: has no dataset {}", file.path(), name);
  const Handle object(H5Oopen(file.id(), name.c_str(), H5P_DEFAULT), H5Oclose);
  if (object >= 0 && H5Iget_type(object) != H5I_DATASET)
    throw_error<UsageError>("{}: {} is not a dataset", file.path(), name);
  Handle dataset(H5Dopen2(file.id(), name.c_str(), H5P_DEFAULT), H5Dclose);
  if (dataset < 0) throw_error("{}: {} cannot be read; the file is damaged", file.path(), name);
  // First of all: to tell the extent of a virtual dataset the library opens the files that it names.
  const Handle creation(H5Dget_create_plist(dataset), H5Pclose);
  if (H5Pget_external_count(creation) > 0 || H5Pget_layout(creation) == H5D_VIRTUAL)
    throw_error<UsageError>("{}: {} lies in another file, copy it into this one", file.path(), name);
  return dataset;
}

// Everything that decodes the chunks must be part of the library: its plugins are off.
void check_filters(const H5File& file, const std::string& name, hid_t creation) {
  for (int i = 0; i < H5Pget_nfilters(creation); ++i) {
    char title[64] = {};
    unsigned flags = 0, config = 0;
    std::size_t values = 0;
    const H5Z_filter_t filter = H5Pget_filter2(creation, static_cast<unsigned>(i), &flags, &values, nullptr,
                                               sizeof title - 1, title, &config);
    if (filter < 0 || H5Zfilter_avail(filter) > 0) continue;
    throw_error<UsageError>(
        "{}: {} is compressed with {}, which this HDF5 cannot read; rewrite it with gzip or none",
        file.path(), name, title[0] ? shown(title) : fmt::format("filter {}", filter));
  }
}

}  // namespace

Handle open_dataset(const H5File& file, const std::string& name) {
  Handle dataset = open_any(file, name);
  const Handle creation(H5Dget_create_plist(dataset), H5Pclose);
  check_filters(file, name, creation);
  return dataset;
}

bool H5File::is_hdf5(const std::string& path) {
  initialise();
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored) && H5Fis_hdf5(path.c_str()) > 0;
}

H5File H5File::open(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    throw_error<UsageError>("{}: is a directory, an HDF5 file is needed", path);
  const InputFile bytes(path);  // says why a file cannot be read
  const bool known = is_hdf5(path);
  const int lock = bytes.lock_problem();
  if (known) {
    // A file system without locks (NFS without its lock daemon, some of FUSE) can be read all the same.
    const Handle access = lock == 0 || lock == EWOULDBLOCK ? Handle() : access_without_lock();
    const hid_t id = H5Fopen(path.c_str(), H5F_ACC_RDONLY, access >= 0 ? hid_t{access} : H5P_DEFAULT);
    if (id >= 0) return {path, id};
  }
  if (lock == EWOULDBLOCK)
    throw_error<UsageError>("{}: another program has it open for writing; close it there", path);
  if (!known) throw_error<UsageError>("{}: is not an HDF5 file", path);
  const Superblock superblock = read_superblock(bytes);
  if (superblock.end > bytes.size())
    throw_error("{}: is truncated: {} of its {} bytes are there; copy it or write it again", path,
                bytes.size(), superblock.end);
  if (superblock.open_for_writing)
    throw_error<UsageError>(
        "{}: is marked as open for writing; close the program that writes it, or if that has crashed, repair "
        "the file with h5clear -s {}",
        path, path);
  throw_error("{}: cannot be opened as HDF5, it is damaged; write it again", path);
}

H5File H5File::create(const std::string& path) {
  initialise();
  const hid_t id = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access_without_lock());
  require_opened_for_writing(id, path, "cannot be created; check that the folder exists and may be written");
  return {path, id};
}

H5File H5File::modify(const std::string& path) {
  { const H5File readable = open(path); }
  const hid_t id = H5Fopen(path.c_str(), H5F_ACC_RDWR, access_without_lock());
  require_opened_for_writing(id, path, "cannot be opened for writing; check its permissions");
  return {path, id};
}

H5File::H5File(H5File&& other) noexcept : path_(std::move(other.path_)), id_(std::exchange(other.id_, -1)) {}

H5File& H5File::operator=(H5File&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(id_, other.id_);
  return *this;
}

H5File::~H5File() {
  if (id_ >= 0) H5Fclose(id_);
}

void H5File::close() {
  if (id_ < 0) return;
  const herr_t flushed = H5Fflush(id_, H5F_SCOPE_GLOBAL);
  const herr_t closed = H5Fclose(std::exchange(id_, -1));
  if (flushed < 0 || closed < 0) fail("cannot be written");
}

void H5File::fail(const std::string& what) const {
  throw_error("{}: {}; the file is damaged or the disk is full", path_, what);
}

Shape H5File::shape(const std::string& name) const {
  const Handle dataset = open_any(*this, name);
  const Handle space(H5Dget_space(dataset), H5Sclose);
  return shape_of_space(space, path_, name);
}

std::optional<DType> H5File::dtype(const std::string& name) const {
  const Handle dataset = open_any(*this, name);
  const Handle type(H5Dget_type(dataset), H5Tclose);
  return dtype_of_type(type);
}

std::string H5File::type_text(const std::string& name) const {
  const Handle dataset = open_any(*this, name);
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

Tensor H5File::read(const std::string& name) const {
  const Shape dims = shape(name);
  const auto type = dtype(name);
  if (!type) throw_error<UsageError>("{}: {} does not hold numbers", path_, name);
  const Handle dataset = open_dataset(*this, name);
  check_claim(path_, name, dims.numel(), size_of(*type));
  Tensor values(dims, *type);
  if (values.numel() > 0 &&
      H5Dread(dataset, memory_type(*type), H5S_ALL, H5S_ALL, H5P_DEFAULT, values.raw()) < 0)
    fail(name + " cannot be read");
  return values;
}

std::vector<std::uint64_t> H5File::read_uint64(const std::string& name) const {
  const Shape dims = shape(name);
  if (dtype(name) != DType::int64 && dtype(name) != DType::uint8)
    throw_error<UsageError>("{}: {} does not hold integers", path_, name);
  const Handle dataset = open_dataset(*this, name);
  check_claim(path_, name, dims.numel(), sizeof(std::uint64_t));
  const Handle type(H5Dget_type(dataset), H5Tclose);
  if (H5Tget_sign(type) == H5T_SGN_2) {  // the library would turn negative numbers into 0
    const Tensor numbers = read(name).cast(DType::int64);
    const auto* p = numbers.data<std::int64_t>();
    for (std::int64_t i = 0; i < numbers.numel(); ++i)
      if (p[i] < 0)
        throw_error<UsageError>("{}: {} row {} is {}; numbers from 0 on are needed, write uint64", path_,
                                name, i / dims.product(1, dims.rank()), p[i]);
    return {p, p + numbers.numel()};
  }
  std::vector<std::uint64_t> values(static_cast<std::size_t>(dims.numel()));
  if (!values.empty() &&
      H5Dread(dataset, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) < 0)
    fail(name + " cannot be read");
  return values;
}

std::vector<std::string> H5File::read_strings(const std::string& name) const {
  const auto count = static_cast<std::size_t>(shape(name).numel());
  const Handle dataset = open_dataset(*this, name);
  const Handle type(H5Dget_type(dataset), H5Tclose);
  check_claim(path_, name, static_cast<std::int64_t>(count), H5Tget_size(type));
  std::vector<std::string> strings;
  const bool ok = read_text(type, count, strings, [&](hid_t memory, void* to) {
    return H5Dread(dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, to);
  });
  if (!ok) throw_error<UsageError>("{}: {} does not hold text", path_, name);
  return strings;
}

std::optional<std::string> H5File::attribute(const std::string& name, const std::string& object) const {
  if (H5Aexists_by_name(id_, object.c_str(), name.c_str(), H5P_DEFAULT) <= 0) return std::nullopt;
  const Handle attribute(H5Aopen_by_name(id_, object.c_str(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT),
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

}  // namespace vitral::data
