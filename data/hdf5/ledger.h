// What a writer has handed to the HDF5 library, by name, so that the closed file can be asked whether it
// holds that: the library keeps chunks and descriptions of its own, and a disk may take what it does not
// store.
#pragma once
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/hash.h"
#include "data/hdf5/file.h"

namespace vitral::data {

class Ledger {
 public:
  /// More rows of a dataset of numbers, as they are stored.
  void add(const std::string& dataset, const void* rows, std::size_t bytes);
  void add(const std::string& dataset, const std::vector<std::string>& texts);
  void set_attribute(const std::string& object, const std::string& name, const std::string& value);
  void remove_attribute(const std::string& object, const std::string& name);
  /// Datasets and groups.
  void remove(const std::string& name);
  void rename(const std::string& from, const std::string& to);

  bool empty() const { return datasets_.empty() && attributes_.empty(); }
  /// Reads all of it back. Error "PATH: cannot write: what was read back of /images is not what was written;
  /// check the disk"; ReadError.
  void check(const H5File& file) const;

 private:
  struct Dataset {
    Hash hash;
    std::uint64_t bytes = 0;
    bool text = false;
  };
  static bool holds(const H5File& file, const std::string& name, const Dataset& written);

  std::map<std::string, Dataset> datasets_;
  std::map<std::pair<std::string, std::string>, std::string> attributes_;  // by object and name
};

}  // namespace vitral::data
