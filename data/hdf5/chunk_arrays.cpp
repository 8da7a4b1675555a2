#include <algorithm>
#include <bit>

#include "data/hdf5/chunk_walks.h"

namespace vitral::data {
namespace {

// Elements [first, first + count) of an array are addresses of chunks, some of which are ours.
void take_elements(Fields& elements, std::uint64_t first, std::uint64_t count, std::uint64_t stride,
                   ChunkOffsets& out) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t address = elements.address();
    if ((first + i) % stride == 0) out.set((first + i) / stride, address);
  }
}

// Whether they hold one of ours, so that they need reading.
bool is_needed(std::uint64_t first, std::uint64_t count, std::uint64_t stride, const ChunkOffsets& out) {
  const std::uint64_t chunk = first / stride + (first % stride > 0 ? 1 : 0);
  return chunk < out.count() && chunk * stride - first < count;
}

// Signature, version 0, "chunks without filters", and the address of the header, for all but headers.
void expect_block(Fields& block, const char* signature, std::uint64_t header) {
  block.expect(signature);
  block.expect(std::string_view("\0\0", 2));
  if (block.address() != header) block.damaged();
}

// The pages behind a block; each has a checksum of its own, and bit `first_bit` onwards of `written` tells
// whether it was ever written.
struct Pages {
  std::uint64_t begin = 0;             // address
  std::uint64_t elements = 0;          // of a page
  std::uint64_t first = 0, count = 0;  // elements of the array
};

void take_pages(Metadata& metadata, const Pages& pages, const std::vector<bool>& written,
                std::uint64_t first_bit, std::uint64_t stride, ChunkOffsets& out) {
  const std::uint64_t address_bytes = metadata.format.offset_bytes;
  const std::uint64_t page_bytes = pages.elements * address_bytes + checksum_bytes;
  for (std::uint64_t done = 0, page = 0; done < pages.count; done += pages.elements, ++page) {
    const std::uint64_t count = std::min(pages.elements, pages.count - done);
    if (!written[first_bit + page] || !is_needed(pages.first + done, count, stride, out)) continue;
    Fields elements =
        metadata.read_with_checksum(pages.begin + page * page_bytes, count * address_bytes + checksum_bytes);
    take_elements(elements, pages.first + done, count, stride, out);
  }
}

std::vector<bool> take_bits(Fields& block, std::uint64_t bytes, std::uint64_t bits) {
  const Fields bitmap = block.part(bytes);
  std::vector<bool> all(bits);
  for (std::uint64_t i = 0; i < bits; ++i) all[i] = bitmap.bit(i);
  return all;
}

std::vector<std::uint64_t> take_addresses(Fields& block, std::uint64_t count) {
  std::vector<std::uint64_t> all;
  for (std::uint64_t i = 0; i < count; ++i) all.push_back(block.address());
  return all;
}

}  // namespace

void walk_fixed_array(Metadata& metadata, std::uint64_t header, std::uint64_t stride, ChunkOffsets& out) {
  const std::uint64_t address_bytes = metadata.format.offset_bytes;
  Fields head =
      metadata.read_with_checksum(header, 8 + metadata.format.length_bytes + address_bytes + checksum_bytes);
  head.expect(std::string_view("FAHD\0\0", 6));
  const std::uint64_t element_bytes = head.number(1), page_bits = head.number(1), count = head.length();
  const std::uint64_t address = head.address();
  if (element_bytes != address_bytes || page_bits > 63) head.damaged();
  if (address == undefined_address) return;

  const std::uint64_t page = std::uint64_t{1} << page_bits;
  const bool paged = count > page;
  const std::uint64_t pages = paged ? (count - 1) / page + 1 : 0, bitmap_bytes = (pages + 7) / 8;
  const std::uint64_t head_bytes = 6 + address_bytes + bitmap_bytes + checksum_bytes;
  Fields block = metadata.read_with_checksum(address, head_bytes + (paged ? 0 : count * address_bytes));
  expect_block(block, "FADB", header);
  if (paged)
    take_pages(metadata, {address + head_bytes, page, 0, count}, take_bits(block, bitmap_bytes, pages), 0,
               stride, out);
  else
    take_elements(block, 0, count, stride, out);
}

void walk_extensible_array(Metadata& metadata, std::uint64_t header, std::uint64_t stride,
                           ChunkOffsets& out) {
  const std::uint64_t address_bytes = metadata.format.offset_bytes;
  const std::uint64_t statistics_bytes = 6 * std::uint64_t{metadata.format.length_bytes};
  Fields head = metadata.read_with_checksum(header, 12 + statistics_bytes + address_bytes + checksum_bytes);
  head.expect(std::string_view("EAHD\0\0", 6));
  const std::uint64_t element_bytes = head.number(1), bits = head.number(1), in_index = head.number(1),
                      least = head.number(1), least_pointers = head.number(1), page_bits = head.number(1);
  head.skip(statistics_bytes);
  const std::uint64_t index_address = head.address();
  if (element_bytes != address_bytes || bits > 63 || page_bits > 63 || !std::has_single_bit(least) ||
      !std::has_single_bit(least_pointers))
    head.damaged();
  if (index_address == undefined_address) return;

  // Data blocks are kept by secondary blocks, number s of which holds 2^(s/2) of least * 2^((s+1)/2)
  // elements; the index block itself stands for the first ones.
  const auto log2 = [](std::uint64_t power) { return static_cast<std::uint64_t>(std::bit_width(power)) - 1; };
  const std::uint64_t by_index = 2 * log2(least_pointers), direct = 2 * (least_pointers - 1);
  if (bits < log2(least) || bits - log2(least) + 1 < by_index) head.damaged();
  const std::uint64_t secondary = bits - log2(least) + 1;
  const std::uint64_t page = std::uint64_t{1} << page_bits, place_bytes = (bits + 7) / 8;

  Fields index = metadata.read_with_checksum(
      index_address, 6 + address_bytes * (1 + in_index + direct + secondary - by_index) + checksum_bytes);
  expect_block(index, "EAIB", header);
  take_elements(index, 0, in_index, stride, out);
  const auto direct_addresses = take_addresses(index, direct);
  const auto secondary_addresses = take_addresses(index, secondary - by_index);

  std::uint64_t place = 0, used = 0;  // elements behind those of the index block, direct addresses
  for (std::uint64_t s = 0; s < secondary && (in_index + place) / stride < out.count(); ++s) {
    const std::uint64_t blocks = std::uint64_t{1} << (s / 2), count = least << ((s + 1) / 2);
    const bool paged = s >= by_index && count > page;
    const std::uint64_t pages = paged ? count / page : 0;
    std::vector<std::uint64_t> addresses;
    std::vector<bool> written;
    if (s < by_index) {
      addresses.assign(direct_addresses.begin() + static_cast<std::ptrdiff_t>(used),
                       direct_addresses.begin() + static_cast<std::ptrdiff_t>(used + blocks));
      used += blocks;
    } else if (const std::uint64_t at = secondary_addresses[s - by_index]; at != undefined_address) {
      const std::uint64_t bitmap_bytes = blocks * ((pages + 7) / 8);
      Fields block = metadata.read_with_checksum(
          at, 6 + address_bytes + place_bytes + bitmap_bytes + blocks * address_bytes + checksum_bytes);
      expect_block(block, "EASB", header);
      block.skip(place_bytes);
      written = take_bits(block, bitmap_bytes, blocks * pages);
      addresses = take_addresses(block, blocks);
    }
    for (std::uint64_t b = 0; b < addresses.size(); ++b) {
      const std::uint64_t at = addresses[b], first = place + b * count;
      if (at == undefined_address || !is_needed(in_index + first, count, stride, out)) continue;
      const std::uint64_t head_bytes = 6 + address_bytes + place_bytes + checksum_bytes;
      Fields block = metadata.read_with_checksum(at, head_bytes + (paged ? 0 : count * address_bytes));
      expect_block(block, "EADB", header);
      block.skip(place_bytes);  // its place in the array, which the library counts in two ways
      if (paged)
        take_pages(metadata, {at + head_bytes, page, in_index + first, count}, written, b * pages, stride,
                   out);
      else
        take_elements(block, in_index + first, count, stride, out);
    }
    place += blocks * count;
  }
}

}  // namespace vitral::data
