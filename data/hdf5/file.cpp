#include "data/hdf5/file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <iterator>

#include <fcntl.h>
#include <unistd.h>

#include "base/files/digest.h"
#include "base/files/in_place.h"
#include "base/files/input_file.h"
#include "data/hdf5/ledger.h"
#include "data/hdf5/library.h"
#include "data/hdf5/questions.h"

namespace vitral::data {
namespace {

bool here = false;  // H5File::read_here()

// What says why the library refuses a file: HDF5 File Format Specification 3.0, II.A "Format Signature and
// Superblock".
struct Superblock {
  std::uint64_t end = 0;  // bytes that the file had when it was closed; 0: unknown
  bool open_for_writing = false;
};

std::optional<Superblock> find_superblock(const InputFile& file) {
  const auto number = [](const unsigned char* from) {
    std::uint64_t value = 0;
    for (int i = 7; i >= 0; --i) value = value << 8 | from[i];
    return value;
  };
  constexpr std::array<unsigned char, 8> signature{0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
  std::array<unsigned char, 64> b{};
  for (std::uint64_t at = 0; file.holds(at, signature.size()); at = at == 0 ? 512 : 2 * at) {
    const auto there = static_cast<std::size_t>(std::min<std::uint64_t>(b.size(), file.size() - at));
    file.read(at, b.data(), there);  // behind a user block
    if (!std::equal(signature.begin(), signature.end(), b.begin())) continue;
    const int version = b[8];
    Superblock out;
    if (version >= 2) {
      out.open_for_writing = version >= 3 && (b[11] & 0x05) != 0;  // by a writer, by a SWMR writer
      if (b[9] == 8) out.end = number(b.data() + 28);
    } else if (b[13] == 8) {
      out.end = number(b.data() + (version == 0 ? 40 : 44));
    }
    return out;
  }
  return std::nullopt;
}

// Why it is not opened.
[[noreturn]] void refuse(const Superblock& superblock, const InputFile& file, bool writable) {
  const std::string& path = file.path();
  if (superblock.end > file.size())
    throw_error("{}: is truncated: {} of its {} bytes are there; copy it or write it again", path,
                file.size(), superblock.end);
  if (superblock.open_for_writing)
    throw_error<UsageError>(
        "{}: is marked as open for writing; close the program that writes it, or if that has crashed, repair "
        "the file with h5clear -s {}",
        path, path);
  // The library writes the beginning of a file as it opens it, and does not say why that failed.
  if (writable) throw_error("{}: cannot be written; the file is damaged or the disk is full", path);
  throw_error("{}: cannot be opened as HDF5, it is damaged; write it again", path);
}

// The library would lock a file after it has truncated it, which is too late; and its lock would be refused
// on file systems (NFS) that take it for the same kind as the caller's.
Handle access_without_lock() {
  Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_file_locking(access, false, true);
  return access;
}

Descriptor open_to_write(const std::string& path) {
  Descriptor file(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (file < 0) throw_error<UsageError>("{}: cannot be opened for writing; check its permissions", path);
  return file;
}

}  // namespace

// Either the library itself, or a child that has it.
struct H5File::State {
  std::unique_ptr<InputFile> bytes;  // its lock keeps writers away
  Descriptor writing;
  std::unique_ptr<H5Library> library;
  std::unique_ptr<Questions> child;
};

H5File::H5File(std::string path, std::unique_ptr<State> state)
    : path_(std::move(path)), state_(std::move(state)), ledger_(std::make_unique<Ledger>()) {}
H5File::H5File(H5File&&) noexcept = default;
H5File& H5File::operator=(H5File&&) noexcept = default;

H5File::~H5File() {
  if (!state_ || !state_->library) return;
  const auto lock = lock_hdf5();
  state_->library.reset();
}

void H5File::read_here(bool yes) { here = yes; }

bool H5File::is_hdf5(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return false;
  try {
    return find_superblock(InputFile(path)).has_value();
  } catch (const UsageError&) {  // it may not be read
    return false;
  }
}

H5File H5File::open(const std::string& path) { return open(path, Use::read); }

H5File H5File::modify(const std::string& path) { return open(path, Use::change); }

namespace {

// A sanitizer's allocator, unlike the C library's, does not go with a fork while another thread is in it.
bool can_fork() {
#ifdef __SANITIZE_ADDRESS__
  using Threads = std::filesystem::directory_iterator;
  return std::distance(Threads("/proc/self/task"), Threads()) == 1;
#else
  return true;
#endif
}

}  // namespace

H5File H5File::open(const std::string& path, Use use) {
  const bool writable = use == Use::change;
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    throw_error<UsageError>("{}: is a directory, an HDF5 file is needed", path);
  auto state = std::make_unique<State>();
  state->bytes = std::make_unique<InputFile>(path);  // says why a file cannot be read
  if (is_half_changed(path))
    throw_error<UsageError>(
        "{}: is being changed, or a change of it was interrupted; run that `vitral teach --in-place` again, "
        "it "
        "completes the change",
        path);
  // A file system without locks (NFS without its lock daemon, some of FUSE) can be read all the same.
  if (use != Use::check && state->bytes->lock_to_read() == EWOULDBLOCK)
    throw_error<UsageError>("{}: another program has it open for writing; close it there", path);
  const auto superblock = find_superblock(*state->bytes);
  if (!superblock) throw_error<UsageError>("{}: is not an HDF5 file", path);
  if (superblock->open_for_writing) refuse(*superblock, *state->bytes, writable);
  if (writable) state->writing = open_to_write(path);
  const int descriptor = writable ? state->writing : state->bytes->descriptor();
  const bool in_process = here || !can_fork();
  if (in_process) {
    const auto lock = lock_hdf5();
    state->library = std::make_unique<H5Library>(path, descriptor, writable);
  } else {
    state->child = std::make_unique<Questions>(path, descriptor, writable, state->bytes->size());
  }
  if (!(in_process ? state->library->is_open() : state->child->is_open()))
    refuse(*superblock, *state->bytes, writable);
  return {path, std::move(state)};
}

H5File H5File::create(const std::string& path) {
  const auto lock = lock_hdf5();
  const hid_t id = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access_without_lock());
  if (id < 0 && ::access(path.c_str(), W_OK) != 0)
    throw_error<UsageError>("{}: cannot be created; check that the folder exists and may be written", path);
  if (id < 0) throw_error("{}: cannot be written; the file is damaged or the disk is full", path);
  auto state = std::make_unique<State>();
  state->library = std::make_unique<H5Library>(path, id);
  return {path, std::move(state)};
}

std::int64_t H5File::id() const { return state_->library ? state_->library->id() : -1; }
pid_t H5File::child() const { return state_->child ? state_->child->pid() : 0; }

// The answer of H5Library's function of the same name. `bytes`: of values, unpacked, that it takes.
template <auto Method, class... A>
auto H5File::ask(double bytes, const A&... arguments) const {
  using Result = typename Answer<Method>::Result;
  VITRAL_CHECK(state_, "{}: is closed", path_);
  if (state_->child)
    return state_->child->ask<Method>(
        bytes,
        [](Channel& channel) {
          if constexpr (!std::is_void_v<Result>) return get<Result>(channel);
        },
        arguments...);
  const auto lock = lock_hdf5();
  return ((*state_->library).*Method)(arguments...);
}

using L = H5Library;

bool H5File::has(const std::string& name) const { return ask<&L::has>(0, name); }
bool H5File::is_group(const std::string& name) const { return ask<&L::is_group>(0, name); }
bool H5File::holds_files(const std::string& name) const { return ask<&L::holds_files>(0, name); }
std::vector<std::string> H5File::list(const std::string& group) const { return ask<&L::list>(0, group); }
std::vector<H5Entry> H5File::contents(std::size_t most) const {
  return ask<&L::contents>(0, std::uint64_t{most});
}
H5Layout H5File::layout(const std::string& name) const { return ask<&L::layout>(0, name); }
Shape H5File::shape(const std::string& name) const { return layout(name).shape; }
std::optional<DType> H5File::dtype(const std::string& name) const { return layout(name).dtype; }
std::string H5File::type_text(const std::string& name) const { return ask<&L::type_text>(0, name); }
std::optional<std::string> H5File::attribute(const std::string& name, const std::string& object) const {
  return ask<&L::attribute>(0, name, object);
}

Tensor H5File::read(const std::string& name) const {
  const H5Layout of = layout(name);
  return ask<&L::read>(of.bytes() + of.chunk_bytes(), name);
}
std::vector<std::uint64_t> H5File::read_uint64(const std::string& name) const {
  const H5Layout of = layout(name);
  return ask<&L::read_uint64>(8 * of.bytes() + of.chunk_bytes(), name);
}
std::vector<std::string> H5File::read_strings(const std::string& name) const {
  const H5Layout of = layout(name);
  return ask<&L::read_strings>(of.bytes() + of.chunk_bytes(), name);
}

void H5File::read_rows(const std::string& name, const H5Layout& of, std::int64_t first, std::int64_t count,
                       DType as, void* to) const {
  const auto bytes = static_cast<std::size_t>(count * of.shape.product(1, of.shape.rank())) * size_of(as);
  const auto fits = [&](std::uint64_t came) {
    if (came != bytes) throw_error("{}: {} row {} cannot be read; the file is damaged", path_, name, first);
  };
  if (!state_->child) {
    const auto rows = ask<&L::read_rows>(0, name, first, count, as);
    fits(rows.size());
    std::copy(rows.begin(), rows.end(), static_cast<std::uint8_t*>(to));
    return;
  }
  state_->child->ask<&L::read_rows>(
      static_cast<double>(bytes) + of.chunk_bytes(),
      [&](Channel& channel) {
        fits(get<std::uint64_t>(channel));
        channel.read(to, bytes);
      },
      name, first, count, as);
}

std::vector<std::uint8_t> H5File::read_bytes(const std::string& name, const H5Layout& of,
                                             std::int64_t row) const {
  return ask<&L::read_bytes>(of.chunk_bytes(), name, row);
}

std::vector<std::uint64_t> H5File::locate_chunks(const std::string& name, const H5Layout& of,
                                                 std::uint64_t step) const {
  // One takes about as long as unpacking 4 KB.
  const double chunks = of.chunk.empty() || of.chunk[0] == 0
                            ? 0
                            : static_cast<double>(of.shape[0]) / static_cast<double>(of.chunk[0]);
  return ask<&L::locate_chunks>(4096 * chunks / static_cast<double>(step), name, step);
}

void H5File::close() {
  if (!state_) return;
  try {
    ask<&L::close>(0);
  } catch (...) {
    state_.reset();
    throw;
  }
  state_.reset();
  if (ledger_->empty()) return;
  std::optional<H5File> written;
  try {
    written.emplace(open(path_, Use::check));
  } catch (const ReadError&) {
    throw;
  } catch (const Error&) {
    not_what_was_written(path_);
  }
  ledger_->check(*written);
}

void H5File::write(const std::string& name, const Tensor& values, std::int64_t chunk_rows) {
  ask<&L::write>(static_cast<double>(values.bytes()), name, values, chunk_rows);
  ledger_->add(name, values.raw(), values.bytes());
}
void H5File::write_uint64(const std::string& name, const std::vector<std::uint64_t>& values,
                          const Shape& shape) {
  ask<&L::write_uint64>(8 * static_cast<double>(values.size()), name, values, shape);
  ledger_->add(name, values.data(), values.size() * sizeof(std::uint64_t));
}
void H5File::write_strings(const std::string& name, const std::vector<std::string>& values) {
  write_strings(name, values, {static_cast<std::int64_t>(values.size())});
}
void H5File::write_strings(const std::string& name, const std::vector<std::string>& values,
                           const Shape& shape) {
  ask<&L::write_strings>(0, name, values, shape);
  std::vector<std::string> stored;
  std::transform(values.begin(), values.end(), std::back_inserter(stored), as_utf8);
  ledger_->add(name, stored);
}
void H5File::set_attribute(const std::string& name, const std::string& value, const std::string& object) {
  ask<&L::set_attribute>(0, name, value, object);
  ledger_->set_attribute(object, name, as_utf8(value));
}
void H5File::remove_attribute(const std::string& name, const std::string& object) {
  ask<&L::remove_attribute>(0, name, object);
  ledger_->remove_attribute(object, name);
}
void H5File::remove(const std::string& name) {
  ask<&L::remove>(0, name);
  ledger_->remove(name);
}
void H5File::rename(const std::string& from, const std::string& to) {
  ask<&L::rename>(0, from, to);
  ledger_->rename(from, to);
}
void H5File::create_growing(const std::string& name, const Shape& row, DType dtype, std::int64_t chunk_rows) {
  ask<&L::create_growing>(0, name, row, dtype, chunk_rows);
}
void H5File::append(const std::string& name, const Tensor& rows) {
  ask<&L::append>(static_cast<double>(rows.bytes()), name, rows);
  ledger_->add(name, rows.raw(), rows.bytes());
}
void H5File::create_growing_uint16(const std::string& name, const Shape& row, std::int64_t chunk_rows) {
  ask<&L::create_growing_uint16>(0, name, row, chunk_rows);
}
void H5File::append_uint16(const std::string& name, const std::vector<std::uint16_t>& rows) {
  const std::size_t bytes = rows.size() * sizeof(std::uint16_t);
  ask<&L::append_uint16>(static_cast<double>(bytes), name, rows);
  ledger_->add(name, rows.data(), bytes);
}

}  // namespace vitral::data
