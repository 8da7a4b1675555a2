// Inside data/hdf5 only: the structures of an HDF5 file as bytes, by our own reading (HDF5 File Format
// Specification 3.0). Whatever a damaged file says ends in an Error that names file, dataset and byte.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>

#include "base/files/forward_reader.h"

namespace vitral::data {

/// What the superblock says of all structures.
struct MetadataFormat {
  std::uint64_t user_block = 0;  // bytes before the HDF5 file; addresses count from its end
  unsigned offset_bytes = 8;     // of an address ("size of offsets")
  unsigned length_bytes = 8;     // of a length ("size of lengths")

  auto fields() { return std::tie(user_block, offset_bytes, length_bytes); }
};

/// An address that is not set: all bits are one, whatever its size. Here always this.
constexpr std::uint64_t undefined_address = ~std::uint64_t{0};

class Metadata;

/// The fields of one structure, in order; little-endian. Valid until Metadata reads the next one. Error:
/// damaged, beyond the end.
class Fields {
 public:
  Fields(const Metadata& from, std::uint64_t address, const unsigned char* bytes, std::size_t count)
      : from_(&from), address_(address), begin_(bytes), at_(bytes), end_(bytes + count) {}

  std::size_t left() const { return static_cast<std::size_t>(end_ - at_); }
  std::uint64_t number(unsigned bytes);  // of 1 to 8 bytes
  std::uint64_t address();               // or undefined_address
  std::uint64_t length();
  void skip(std::size_t bytes) { take(bytes); }
  /// The next bytes as a structure of their own.
  Fields part(std::size_t bytes);
  /// Damaged unless the next bytes are these.
  void expect(std::string_view bytes);
  /// Bit `i` from here on, the highest of a byte first.
  bool bit(std::uint64_t i) const;
  [[noreturn]] void damaged() const;

 private:
  const unsigned char* take(std::size_t bytes);

  const Metadata* from_;
  std::uint64_t address_;
  const unsigned char *begin_, *at_, *end_;
};

class Metadata {
 public:
  /// `dataset`: for errors.
  Metadata(const InputFile& file, std::string dataset, const MetadataFormat& format)
      : format(format),
        reader_(file),
        file_(file),
        dataset_(std::move(dataset)),
        left_(file.size() + slack) {}

  const MetadataFormat format;

  /// The structure of `bytes` bytes at an address. All that are read together are no more than the file's
  /// size: structures do not overlap, and believing so ends the walk around any circle.
  Fields read(std::uint64_t address, std::uint64_t bytes);
  /// The same for one that ends with a checksum, which must be right and is left out.
  Fields read_with_checksum(std::uint64_t address, std::uint64_t bytes);
  /// This structure will be read soon.
  void prefetch(std::uint64_t address, std::uint64_t bytes) const {
    file_.prefetch(address + format.user_block, bytes);
  }
  [[noreturn]] void damaged(std::uint64_t address) const;

 private:
  const unsigned char* bytes_at(std::uint64_t address, std::uint64_t bytes);

  static constexpr std::uint64_t slack = 4096;  // beginnings are read again with what follows
  ForwardReader reader_;
  const InputFile& file_;
  std::string dataset_;
  std::uint64_t left_;
};

constexpr unsigned checksum_bytes = 4;
/// Of the structures of HDF5 1.8 and later: hashlittle() of Bob Jenkins' lookup3.c (2006, public domain).
std::uint32_t lookup3(const unsigned char* bytes, std::size_t count);

}  // namespace vitral::data
