#include "data/hdf5/chunk_locator.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files/descriptor.h"
#include "data/hdf5/handle.h"
#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>
#endif

namespace vitral::data {
namespace {

// The driver. H5FD_t comes first, as the library requires.
struct NotingFile {
  H5FD_t base;
  int fd;
  haddr_t end_of_allocation, end_of_file;
};

// One locator asks at a time; the driver's callbacks run inside its call.
std::mutex asking;
ChunkLocator::Location* noted = nullptr;

NotingFile* noting(H5FD_t* file) { return reinterpret_cast<NotingFile*>(file); }
const NotingFile* noting(const H5FD_t* file) { return reinterpret_cast<const NotingFile*>(file); }

H5FD_t* open_file(const char* path, unsigned, hid_t, haddr_t) {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  struct stat info {};
  if (fd < 0 || ::fstat(fd, &info) != 0) {
    if (fd >= 0) ::close(fd);
    return nullptr;
  }
  auto* file = static_cast<NotingFile*>(std::calloc(1, sizeof(NotingFile)));
  if (!file) {
    ::close(fd);
    return nullptr;
  }
  file->fd = fd;
  file->end_of_file = static_cast<haddr_t>(info.st_size);
  return &file->base;
}

herr_t close_file(H5FD_t* file) {
  ::close(noting(file)->fd);
  std::free(file);
  return 0;
}

haddr_t get_end_of_allocation(const H5FD_t* file, H5FD_mem_t) { return noting(file)->end_of_allocation; }
herr_t set_end_of_allocation(H5FD_t* file, H5FD_mem_t, haddr_t at) {
  noting(file)->end_of_allocation = at;
  return 0;
}
haddr_t get_end_of_file(const H5FD_t* file, H5FD_mem_t) { return noting(file)->end_of_file; }

herr_t read_file(H5FD_t* file, H5FD_mem_t type, hid_t, haddr_t at, std::size_t size, void* to) {
  if (type == H5FD_MEM_DRAW && noted) {
    *noted = {at, size, true};
    return 0;
  }
  const std::size_t there = read_at(noting(file)->fd, at, to, size);
  if (there < size && errno != 0) return -1;
  std::memset(static_cast<char*>(to) + there, 0, size - there);  // as the library's own driver, past the end
  return 0;
}

herr_t write_file(H5FD_t*, H5FD_mem_t, hid_t, haddr_t, std::size_t, const void*) { return -1; }

hid_t driver() {
  static const hid_t id = [] {
    H5FD_class_t c{};
#if H5_VERSION_GE(1, 13, 0)
    c.version = H5FD_CLASS_VERSION;
    c.value = static_cast<H5FD_class_value_t>(611);
#endif
    c.name = "vitral_noting";
    c.maxaddr = HADDR_MAX;
    c.fc_degree = H5F_CLOSE_WEAK;
    c.open = open_file;
    c.close = close_file;
    c.get_eoa = get_end_of_allocation;
    c.set_eoa = set_end_of_allocation;
    c.get_eof = get_end_of_file;
    c.read = read_file;
    c.write = write_file;
    const H5FD_mem_t map[H5FD_MEM_NTYPES] = H5FD_FLMAP_DICHOTOMY;
    std::memcpy(c.fl_map, map, sizeof(map));
    return H5FDregister(&c);
  }();
  return id;
}

}  // namespace

struct ChunkLocator::State {
  Handle file, dataset;
  std::vector<hsize_t> at;
};

ChunkLocator::ChunkLocator(const std::string& path, const std::string& name)
    : state_(std::make_unique<State>()) {
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  if (H5Pset_driver(access, driver(), nullptr) >= 0)
    state_->file = Handle(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access), H5Fclose);
  if (state_->file >= 0)
    state_->dataset = Handle(H5Dopen2(state_->file, name.c_str(), H5P_DEFAULT), H5Dclose);
  if (state_->dataset < 0) throw_error("{}: {} cannot be read; the file is damaged", path, name);
  const Handle space(H5Dget_space(state_->dataset), H5Sclose);
  state_->at.resize(static_cast<std::size_t>(H5Sget_simple_extent_ndims(space)));
}

ChunkLocator::~ChunkLocator() = default;

ChunkLocator::Location ChunkLocator::locate(std::uint64_t row) {
  state_->at[0] = row;
  Location place;
  std::uint32_t filters = 0;
  char nothing = 0;  // the driver leaves it alone
  const std::lock_guard lock(asking);
  noted = &place;
  const herr_t found = H5Dread_chunk(state_->dataset, H5P_DEFAULT, state_->at.data(), &filters, &nothing);
  noted = nullptr;
  return found < 0 ? Location{} : place;
}

}  // namespace vitral::data
