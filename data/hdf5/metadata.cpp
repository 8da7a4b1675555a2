#include "data/hdf5/metadata.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace vitral::data {

static_assert(std::endian::native == std::endian::little);

const unsigned char* Fields::take(std::size_t bytes) {
  if (bytes > left()) damaged();
  const unsigned char* const from = at_;
  at_ += bytes;
  return from;
}

std::uint64_t Fields::number(unsigned bytes) {
  std::uint64_t value = 0;
  const unsigned char* const from = take(bytes);
  if (bytes == sizeof value)
    std::memcpy(&value, from, sizeof value);
  else
    std::memcpy(&value, from, std::min<std::size_t>(bytes, sizeof value));
  return value;
}

std::uint64_t Fields::address() {
  const unsigned bytes = from_->format.offset_bytes;
  const std::uint64_t value = number(bytes);
  return value == undefined_address >> (64 - 8 * bytes) ? undefined_address : value;
}

std::uint64_t Fields::length() { return number(from_->format.length_bytes); }

Fields Fields::part(std::size_t bytes) {
  const std::uint64_t address = address_ + static_cast<std::uint64_t>(at_ - begin_);
  return {*from_, address, take(bytes), bytes};
}

void Fields::expect(std::string_view bytes) {
  if (std::memcmp(take(bytes.size()), bytes.data(), bytes.size()) != 0) damaged();
}

bool Fields::bit(std::uint64_t i) const {
  if (i / 8 >= left()) damaged();
  return (at_[i / 8] & (0x80U >> (i % 8))) != 0;
}

void Fields::damaged() const { from_->damaged(address_); }

const unsigned char* Metadata::bytes_at(std::uint64_t address, std::uint64_t bytes) {
  std::uint64_t offset = 0;
  if (__builtin_add_overflow(address, format.user_block, &offset) || !file_.holds(offset, bytes) ||
      bytes > left_)
    damaged(address);
  left_ -= bytes;
  return reader_.read(offset, static_cast<std::size_t>(bytes));
}

Fields Metadata::read(std::uint64_t address, std::uint64_t bytes) {
  return {*this, address, bytes_at(address, bytes), static_cast<std::size_t>(bytes)};
}

Fields Metadata::read_with_checksum(std::uint64_t address, std::uint64_t bytes) {
  if (bytes < checksum_bytes) damaged(address);
  const unsigned char* const at = bytes_at(address, bytes);
  const auto count = static_cast<std::size_t>(bytes - checksum_bytes);
  std::uint32_t stored = 0;
  std::memcpy(&stored, at + count, sizeof stored);
  if (lookup3(at, count) != stored) damaged(address);
  return {*this, address, at, count};
}

void Metadata::damaged(std::uint64_t address) const {
  throw_error("{}: what says where {} lies is damaged at byte {}; copy the file again or write it again",
              file_.path(), dataset_, address == undefined_address ? address : address + format.user_block);
}

std::uint32_t lookup3(const unsigned char* bytes, std::size_t count) {
  using std::rotl;
  std::uint32_t a = 0xdeadbeef + static_cast<std::uint32_t>(count), b = a, c = a;
  std::uint32_t k[3];
  for (; count > sizeof k; count -= sizeof k, bytes += sizeof k) {
    std::memcpy(k, bytes, sizeof k);
    a += k[0], b += k[1], c += k[2];
    a -= c, a ^= rotl(c, 4), c += b;
    b -= a, b ^= rotl(a, 6), a += c;
    c -= b, c ^= rotl(b, 8), b += a;
    a -= c, a ^= rotl(c, 16), c += b;
    b -= a, b ^= rotl(a, 19), a += c;
    c -= b, c ^= rotl(b, 4), b += a;
  }
  if (count == 0) return c;
  std::memset(k, 0, sizeof k);
  std::memcpy(k, bytes, count);
  a += k[0], b += k[1], c += k[2];
  c ^= b, c -= rotl(b, 14);
  a ^= c, a -= rotl(c, 11);
  b ^= a, b -= rotl(a, 25);
  c ^= b, c -= rotl(b, 16);
  a ^= c, a -= rotl(c, 4);
  b ^= a, b -= rotl(a, 14);
  c ^= b, c -= rotl(b, 24);
  return c;
}

}  // namespace vitral::data
