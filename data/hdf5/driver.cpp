#include "data/hdf5/driver.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>

#include <sys/stat.h>
#include <unistd.h>

#include "base/files/descriptor.h"
#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>
#endif

namespace vitral::data {
namespace {

struct Access {
  int descriptor;
};

// H5FD_t comes first, as the library requires.
struct OpenFile {
  H5FD_t base;
  int descriptor;
  haddr_t end_of_allocation, end_of_file;
};

NotedRead* noted = nullptr;
int first_error = 0;

OpenFile* ours(H5FD_t* file) { return reinterpret_cast<OpenFile*>(file); }
const OpenFile* ours(const H5FD_t* file) { return reinterpret_cast<const OpenFile*>(file); }

herr_t failed(int error) {
  if (first_error == 0) first_error = error;
  return -1;
}

H5FD_t* open_file(const char* name, unsigned, hid_t access, haddr_t) {
  const auto* given = static_cast<const Access*>(H5Pget_driver_info(access));
  if (!given || std::string_view(name) != opened_file) return nullptr;
  const off_t end = ::lseek(given->descriptor, 0, SEEK_END);
  auto* file = static_cast<OpenFile*>(std::calloc(1, sizeof(OpenFile)));
  if (!file || end < 0) {
    std::free(file);
    return nullptr;
  }
  file->descriptor = given->descriptor;
  file->end_of_file = static_cast<haddr_t>(end);
  return &file->base;
}

herr_t close_file(H5FD_t* file) {
  std::free(file);
  return 0;
}

// What the library's own driver says of itself: it decides where new data is put, and whether marks of
// writers are looked at.
herr_t query(const H5FD_t*, unsigned long* flags) {
  *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
           H5FD_FEAT_AGGREGATE_SMALLDATA | H5FD_FEAT_SUPPORTS_SWMR_IO;
  return 0;
}

haddr_t get_end_of_allocation(const H5FD_t* file, H5FD_mem_t) { return ours(file)->end_of_allocation; }
herr_t set_end_of_allocation(H5FD_t* file, H5FD_mem_t, haddr_t at) {
  ours(file)->end_of_allocation = at;
  return 0;
}
haddr_t get_end_of_file(const H5FD_t* file, H5FD_mem_t) { return ours(file)->end_of_file; }

herr_t read_file(H5FD_t* file, H5FD_mem_t type, hid_t, haddr_t at, std::size_t bytes, void* to) {
  if (type == H5FD_MEM_DRAW && noted) {
    *noted = {at, bytes, true};
    return 0;
  }
  const std::size_t there = read_at(ours(file)->descriptor, at, to, bytes);
  if (there < bytes && errno != 0) return failed(errno);
  std::memset(static_cast<char*>(to) + there, 0, bytes - there);  // as the library's own driver, past the end
  return 0;
}

herr_t write_file(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t at, std::size_t bytes, const void* from) {
  const auto* next = static_cast<const char*>(from);
  for (std::size_t done = 0; done < bytes;) {
    const ssize_t n =
        ::pwrite(ours(file)->descriptor, next + done, bytes - done, static_cast<off_t>(at + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return failed(n < 0 ? errno : ENOSPC);
    done += static_cast<std::size_t>(n);
  }
  ours(file)->end_of_file = std::max<haddr_t>(ours(file)->end_of_file, at + bytes);
  return 0;
}

herr_t truncate_file(H5FD_t* file, hid_t, hbool_t) {
  const haddr_t end = ours(file)->end_of_allocation;
  if (end == ours(file)->end_of_file) return 0;
  if (::ftruncate(ours(file)->descriptor, static_cast<off_t>(end)) != 0) return failed(errno);
  ours(file)->end_of_file = end;
  return 0;
}

hid_t driver() {
  static const hid_t id = [] {
    H5FD_class_t c{};
#if H5_VERSION_GE(1, 13, 0)
    c.version = H5FD_CLASS_VERSION;
    c.value = static_cast<H5FD_class_value_t>(611);
#endif
    c.name = "vitral";
    c.maxaddr = INT64_MAX;
    c.fc_degree = H5F_CLOSE_WEAK;
    c.fapl_size = sizeof(Access);
    c.open = open_file;
    c.close = close_file;
    c.query = query;
    c.get_eoa = get_end_of_allocation;
    c.set_eoa = set_end_of_allocation;
    c.get_eof = get_end_of_file;
    c.read = read_file;
    c.write = write_file;
    c.truncate = truncate_file;
    const H5FD_mem_t map[H5FD_MEM_NTYPES] = H5FD_FLMAP_DICHOTOMY;
    std::memcpy(c.fl_map, map, sizeof(map));
    return H5FDregister(&c);
  }();
  return id;
}

}  // namespace

Handle access_by(int descriptor) {
  Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  const Access info{descriptor};
  H5Pset_driver(access, driver(), &info);
  return access;
}

NoteReads::NoteReads(NotedRead& to) { noted = &to; }
NoteReads::~NoteReads() { noted = nullptr; }

int take_driver_error() { return std::exchange(first_error, 0); }

}  // namespace vitral::data
