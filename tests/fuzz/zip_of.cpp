#include "tests/fuzz/zip_of.h"

#include <zlib.h>

#include "base/bytes.h"

namespace vitral::fuzz {

std::string zip_of(const std::vector<std::pair<std::string, std::string>>& entries) {
  std::string out, directory;
  for (const auto& [name, bytes] : entries) {
    const auto crc = crc32_z(0, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
    std::string common = le16(20);
    common += le32(0) + le16(0) + le16(0x21) + le32(crc) + le32(bytes.size());
    common += le32(bytes.size()) + le16(name.size()) + le16(0);
    directory += std::string("PK\1\2") + le16(20);
    directory += common + le16(0) + le16(0) + le16(0) + le32(0) + le32(out.size());
    directory += name;
    out += std::string("PK\3\4") + common;
    out += name + bytes;
  }
  std::string end = std::string("PK\5\6") + le32(0);
  end += le16(entries.size()) + le16(entries.size()) + le32(directory.size());
  end += le32(out.size()) + le16(0);
  return out + directory + end;
}

}  // namespace vitral::fuzz
