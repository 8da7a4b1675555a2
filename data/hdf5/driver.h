// Inside data/hdf5 only: how the library reads and writes one file that is open already, and no other.
#pragma once
#include <cstdint>

#include "data/hdf5/handle.h"

namespace vitral::data {

/// Where raw data would be read.
struct NotedRead {
  std::uint64_t offset = 0, bytes = 0;
  bool noted = false;
};

/// The file under which H5Fopen() gets `descriptor` by this access; any other name is not there.
constexpr const char* opened_file = "/";
Handle access_by(int descriptor);

/// While one lives, raw data is not read: `to` says where it lies. One at a time, under lock_hdf5().
class NoteReads {
 public:
  explicit NoteReads(NotedRead& to);
  ~NoteReads();
  NoteReads(const NoteReads&) = delete;
  NoteReads& operator=(const NoteReads&) = delete;
};

/// errno of the first read or write that the system refused since the last question, or 0.
int take_driver_error();

}  // namespace vitral::data
