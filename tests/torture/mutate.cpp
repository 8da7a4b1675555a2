#include "tests/torture/mutate.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include <zlib.h>

#include "base/bytes.h"
#include "tests/mutated.h"

namespace vitral::torture {
namespace {

std::uint64_t number_at(const std::string& bytes, std::size_t at, std::size_t width) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < width && at + i < bytes.size(); ++i)
    value |= static_cast<std::uint64_t>(static_cast<unsigned char>(bytes[at + i])) << (8 * i);
  return value;
}

void put_at(std::string& bytes, std::size_t at, const std::string& value) {
  for (std::size_t i = 0; i < value.size() && at + i < bytes.size(); ++i) bytes[at + i] = value[i];
}

// Numbers at which sums and products overflow, or which stand for "none".
std::uint64_t unusual(const std::string& bytes, Random& random) {
  const std::array<std::uint64_t, 12> numbers{
      0,          1,          2,          bytes.size(), bytes.size() - 1, 0xFFFF,
      0x7FFFFFFF, 0xFFFFFFFF, 1ULL << 40, 1ULL << 62,   ~0ULL >> 1,       ~0ULL};
  const std::uint64_t kind = random.below(numbers.size() + 3);
  if (kind < numbers.size()) return numbers[kind];
  if (kind == numbers.size()) return random.next();
  return random.below(bytes.size() + 64);
}

std::string in_place(std::string bytes, std::size_t at, Random& random) {
  switch (random.below(5)) {
    case 0:
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.below(8)));
      break;
    case 1:
      bytes[at] = static_cast<char>(random.next());
      break;
    case 2:
      bytes[at] = static_cast<char>(bytes[at] + (random.below(2) ? 1 : -1));
      break;
    default: {
      constexpr std::array widths{std::size_t{1}, std::size_t{2}, std::size_t{4}, std::size_t{8}};
      put_at(bytes, at, little_endian(unusual(bytes, random), widths[random.below(widths.size())]));
    }
  }
  return bytes;
}

std::string text_mutant(std::string bytes, Random& random) {
  constexpr std::string_view alphabet = "{}[]\",:\n\r\t -+.eE0123456789truefalsnl\\#&*!|>%@`'~/";
  const std::size_t at = random.below(bytes.size() + 1);
  switch (random.below(8)) {
    case 0: {  // a number becomes another
      constexpr std::array numbers{"0",
                                   "-1",
                                   "1e999",
                                   "99999999999999999999",
                                   "2147483647",
                                   "4294967296",
                                   "9223372036854775807",
                                   "-9223372036854775808",
                                   "nan",
                                   "1e-400"};
      const std::size_t begin = bytes.find_first_of("0123456789", at);
      if (begin == std::string::npos) break;
      const std::size_t end = std::min(bytes.find_first_not_of("0123456789.", begin), bytes.size());
      bytes.replace(begin, end - begin, numbers[random.below(numbers.size())]);
      return bytes;
    }
    case 1: {
      constexpr std::array<std::string_view, 8> controls{"\x1b[2J",
                                                         "\xc2\x9b"
                                                         "31m",
                                                         "\n",
                                                         "\r",
                                                         "\x7f",
                                                         {"\0", 1},
                                                         "\xe2\x80\xa8",
                                                         "\xff\xfe"};
      bytes.insert(at, controls[random.below(controls.size())]);
      return bytes;
    }
    case 2: {
      constexpr std::array deep{'[', '{', '(', ' ', 'a', '"'};
      bytes.insert(at, std::string(1 + random.below(100000), deep[random.below(deep.size())]));
      return bytes;
    }
    case 3: {  // a piece again
      const std::size_t begin = random.below(bytes.size() + 1);
      bytes.insert(at, bytes.substr(begin, random.below(200)));
      return bytes;
    }
    case 4:
      bytes.resize(at);
      return bytes;
    default:
      break;
  }
  return test::mutated(std::move(bytes), alphabet, random);
}

std::string binary_mutant(std::string bytes, Random& random) {
  for (auto edits = 1 + random.below(3); edits > 0 && !bytes.empty(); --edits) {
    // Headers stand at the beginning, directories at the end.
    const std::size_t near = std::min<std::size_t>(bytes.size(), 256);
    const std::uint64_t where = random.below(4);
    const std::size_t at = where == 0   ? random.below(near)
                           : where == 1 ? bytes.size() - 1 - random.below(near)
                                        : random.below(bytes.size());
    switch (random.below(8)) {
      case 0:
        bytes.resize(at);
        break;
      case 1:
        bytes = test::mutated(std::move(bytes), std::string_view("\0\1\x7f\x80\xff", 5), random);
        break;
      default:
        bytes = in_place(std::move(bytes), at, random);
    }
  }
  return bytes;
}

// Where something is described: behind each signature of the format, and the superblock.
std::vector<std::size_t> described(const std::string& bytes) {
  std::vector<std::size_t> out{0};
  for (const std::string_view mark :
       {"\x89HDF", "TREE", "SNOD", "HEAP", "OHDR", "OCHK", "GCOL", "FRHP", "FHDB", "FHIB", "FSHD", "FSSE",
        "BTHD",    "BTIN", "BTLF", "EAHD", "EAIB", "EASB", "EADB", "FAHD", "FADB", "SMTB", "SMLI"})
    for (std::size_t at = bytes.find(mark); at != std::string::npos; at = bytes.find(mark, at + 1))
      out.push_back(at);
  // Object headers of version 1 have no signature: trees and heaps of groups name them.
  for (std::size_t at = bytes.find("SNOD"); at != std::string::npos; at = bytes.find("SNOD", at + 1))
    for (std::size_t i = 0; i < std::min<std::uint64_t>(number_at(bytes, at + 6, 2), 64); ++i)
      if (const auto header = number_at(bytes, at + 8 + 40 * i + 8, 8); header < bytes.size())
        out.push_back(static_cast<std::size_t>(header));
  return out;
}

std::string hdf5_mutant(std::string bytes, Random& random) {
  const auto places = described(bytes);
  const auto near = [&] {
    return std::min<std::size_t>(places[random.below(places.size())] + random.below(512), bytes.size() - 1);
  };
  for (auto edits = 1 + random.below(4); edits > 0; --edits) {
    switch (random.below(10)) {
      case 0:  // one thing is another: circles, blocks of the wrong kind
        put_at(bytes, near(), le64(places[random.below(places.size())]));
        break;
      case 1:
        bytes = in_place(std::move(bytes), random.below(bytes.size()), random);
        break;
      case 2:
        put_at(bytes, near(), bytes.substr(near(), 1 + random.below(64)));
        break;
      case 3:
        if (random.below(4) == 0) bytes.resize(1 + random.below(bytes.size()));
        break;
      default:
        bytes = in_place(std::move(bytes), near(), random);
    }
  }
  return bytes;
}

// The first bytes of an entry of the directory and of the entry itself.
struct Entry {
  std::size_t directory, header, data, size;
};

std::vector<Entry> stored_entries(const std::string& bytes) {
  std::vector<Entry> out;
  for (std::size_t at = bytes.find("PK\1\2"); at != std::string::npos; at = bytes.find("PK\1\2", at + 1)) {
    const auto header = static_cast<std::size_t>(number_at(bytes, at + 42, 4));
    const auto size = static_cast<std::size_t>(number_at(bytes, at + 20, 4));
    const std::size_t data =
        header + 30 + number_at(bytes, header + 26, 2) + number_at(bytes, header + 28, 2);
    if (number_at(bytes, at + 10, 2) == 0 && size > 0 && data + size <= bytes.size())
      out.push_back({at, header, data, size});
  }
  return out;
}

std::string zip_mutant(std::string bytes, Random& random) {
  const auto entries = stored_entries(bytes);
  if (entries.empty() || random.below(4) == 0) return binary_mutant(std::move(bytes), random);
  const Entry& e = entries[random.below(entries.size())];
  for (auto edits = 1 + random.below(3); edits > 0; --edits) {
    std::string inside = bytes.substr(e.data, e.size);
    const std::size_t near = random.below(2) ? e.size : std::min<std::size_t>(e.size, 200);
    inside = in_place(std::move(inside), random.below(near), random);
    put_at(bytes, e.data, inside);
  }
  const auto crc = le32(crc32_z(0, reinterpret_cast<const unsigned char*>(bytes.data() + e.data), e.size));
  put_at(bytes, e.directory + 16, crc);
  put_at(bytes, e.header + 14, crc);
  return bytes;
}

std::string safetensors_mutant(std::string bytes, Random& random) {
  const auto length = number_at(bytes, 0, 8);
  if (length + 8 > bytes.size() || random.below(6) == 0) return binary_mutant(std::move(bytes), random);
  const std::string header = text_mutant(bytes.substr(8, length), random);
  return le64(random.below(20) == 0 ? unusual(bytes, random) : header.size()) + header +
         bytes.substr(8 + length);
}

}  // namespace

std::string mutant(std::string bytes, Format format, Random& random) {
  if (bytes.empty()) return bytes;
  switch (format) {
    case Format::text:
      return text_mutant(std::move(bytes), random);
    case Format::binary:
      return binary_mutant(std::move(bytes), random);
    case Format::hdf5:
      return hdf5_mutant(std::move(bytes), random);
    case Format::zip:
      return zip_mutant(std::move(bytes), random);
    case Format::safetensors:
      return safetensors_mutant(std::move(bytes), random);
  }
  return bytes;
}

}  // namespace vitral::torture
