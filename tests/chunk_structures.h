// Damage to what says where the chunks of an HDF5 file lie, with checksums made right again, so that it
// reaches what a checksum would keep away.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "data/hdf5/metadata.h"

namespace vitral::test {

class ChunkStructures {
 public:
  /// Of a whole undamaged file.
  explicit ChunkStructures(const std::string& file) {
    constexpr std::string_view signatures[] = {"TREE\1", "BTHD", "BTIN", "BTLF", "FAHD", "FADB",
                                               "EAHD",   "EAIB", "EASB", "EADB", "OHDR", "OCHK"};
    for (const std::string_view signature : signatures)
      for (auto at = file.find(signature); at != std::string::npos; at = file.find(signature, at + 1))
        add(file, at, signature == "TREE\1");
  }

  std::size_t size() const { return structures_.size(); }
  /// Puts `value`, of `bytes` bytes, near place `where` (any number) of structure `which` (likewise).
  void damage(std::string& file, std::uint64_t which, std::uint64_t where, std::uint64_t value,
              std::size_t bytes) const {
    const Structure& s = structures_[which % structures_.size()];
    const std::size_t at = where % s.bytes;
    std::memcpy(file.data() + s.at + at, &value, std::min({bytes, s.bytes - at, sizeof value}));
    if (!s.checked) return;
    const std::uint32_t sum =
        data::lookup3(reinterpret_cast<const unsigned char*>(file.data()) + s.at, s.bytes);
    std::memcpy(file.data() + s.at + s.bytes, &sum, sizeof sum);
  }

 private:
  struct Structure {
    std::size_t at, bytes;
    bool checked;  // a checksum follows
  };

  // Where a structure ends is where its checksum is right.
  void add(const std::string& file, std::size_t at, bool is_tree) {
    constexpr std::size_t longest = 4096;
    const std::size_t most = std::min(longest, file.size() - at);
    if (is_tree) structures_.push_back({at, most, false});
    const auto* const from = reinterpret_cast<const unsigned char*>(file.data()) + at;
    for (std::size_t bytes = 8; !is_tree && bytes + 4 <= most; ++bytes) {
      std::uint32_t stored = 0;
      std::memcpy(&stored, from + bytes, sizeof stored);
      if (data::lookup3(from, bytes) != stored) continue;
      structures_.push_back({at, bytes, true});
      return;
    }
  }

  std::vector<Structure> structures_;
};

}  // namespace vitral::test
