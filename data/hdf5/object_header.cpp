#include "data/hdf5/object_header.h"

#include <vector>

namespace vitral::data {
namespace {

constexpr unsigned continuation_message = 16;  // IV.A.2.q
constexpr unsigned shared_flag = 2;

struct Block {
  std::uint64_t address = 0, bytes = 0;
};

struct Header {
  unsigned version = 0;
  unsigned message_bytes = 0;  // before the data of each message
  Fields messages;             // of the header itself
};

// IV.A.1.a "Version 1 Data Object Header Prefix".
Header open_version_1(Metadata& metadata, std::uint64_t address) {
  constexpr unsigned prefix_bytes = 16;
  Fields prefix = metadata.read(address, prefix_bytes);
  prefix.skip(8);  // version, reserved, number of messages, reference count
  const std::uint64_t bytes = prefix.number(4);
  return {1, 8, metadata.read(address + prefix_bytes, bytes)};
}

// IV.A.1.b "Version 2 Data Object Header Prefix".
Header open_version_2(Metadata& metadata, std::uint64_t address) {
  Fields prefix = metadata.read(address, 6);
  prefix.expect("OHDR\2");
  const auto flags = static_cast<unsigned>(prefix.number(1));
  const unsigned times = (flags & 0x20U) != 0 ? 16 : 0, attributes = (flags & 0x10U) != 0 ? 4 : 0;
  const unsigned size_bytes = 1U << (flags & 3U), before = 6 + times + attributes;
  const std::uint64_t bytes = metadata.read(address + before, size_bytes).number(size_bytes);
  if (bytes > ~std::uint64_t{0} - 64) metadata.damaged(address);
  Fields messages = metadata.read_with_checksum(address, before + size_bytes + bytes + checksum_bytes);
  messages.skip(before + size_bytes);
  return {2, (flags & 0x04U) != 0 ? 6U : 4U, messages};
}

}  // namespace

std::optional<Fields> find_message(Metadata& metadata, std::uint64_t address, unsigned type) {
  const std::uint64_t first = metadata.read(address, 1).number(1);
  if (first != 1 && first != 'O') return std::nullopt;
  Header header = first == 1 ? open_version_1(metadata, address) : open_version_2(metadata, address);
  std::vector<Block> continuations;
  for (std::size_t next = 0;; ++next) {
    Fields& messages = header.messages;
    while (messages.left() >= header.message_bytes) {
      const std::uint64_t kind = messages.number(header.version == 1 ? 2 : 1), bytes = messages.number(2),
                          flags = messages.number(1);
      messages.skip(header.message_bytes - (header.version == 1 ? 5 : 4));
      Fields body = messages.part(static_cast<std::size_t>(bytes));
      if (kind == type) return (flags & shared_flag) != 0 ? std::nullopt : std::optional(body);
      if (kind != continuation_message) continue;
      const std::uint64_t at = body.address();
      continuations.push_back({at, body.length()});
    }
    if (next == continuations.size()) return std::nullopt;
    const Block& block = continuations[next];
    if (header.version == 1) {
      messages = metadata.read(block.address, block.bytes);
    } else {
      messages = metadata.read_with_checksum(block.address, block.bytes);
      messages.expect("OCHK");
    }
  }
}

}  // namespace vitral::data
