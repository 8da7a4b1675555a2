#include <algorithm>
#include <bit>

#include "data/hdf5/chunk_walks.h"

namespace vitral::data {
namespace {

struct Node {
  std::uint64_t address = 0;
  std::uint64_t records = 0;  // version 2: told by the node above
};

// Level by level, the nodes of each in the order of the file, which the disk is told ahead: it fetches many
// at once. `read` takes a node, how many levels are below it, and a list for its children.
template <class Read>
void walk(const Metadata& metadata, std::uint64_t node_bytes, const Node& root, std::uint64_t depth,
          Read&& read) {
  constexpr std::size_t ahead = 256;
  std::vector<Node> level{root}, below;
  for (;; --depth) {
    std::sort(level.begin(), level.end(), [](const Node& a, const Node& b) { return a.address < b.address; });
    below.clear();
    for (std::size_t i = 0, told = 0; i < level.size(); ++i) {
      for (; told < std::min(i + ahead, level.size()); ++told)
        metadata.prefetch(level[told].address, node_bytes);
      read(level[i], depth, below);
    }
    if (depth == 0) return;
    std::swap(level, below);
  }
}

}  // namespace

void walk_btree_1(Metadata& metadata, std::uint64_t root, const ChunkGrid& grid, ChunkOffsets& out) {
  const std::size_t rank = grid.chunk.size();
  const std::uint64_t address_bytes = metadata.format.offset_bytes;
  const std::uint64_t head_bytes = 8 + 2 * address_bytes, most = 2 * std::uint64_t{grid.tree_rank};
  const std::uint64_t key_bytes = 8 + 8 * (rank + 1);  // size, filters, where the chunk begins
  const std::uint64_t node_bytes = head_bytes + most * (key_bytes + address_bytes) + key_bytes;
  const auto head = [&](Fields& node) {
    node.expect(std::string_view("TREE\1", 5));
    return node.number(1);
  };
  Fields top = metadata.read(root, head_bytes);
  walk(metadata, node_bytes, {root}, head(top),
       [&](const Node& at, std::uint64_t depth, std::vector<Node>& below) {
         Fields node = metadata.read(at.address, node_bytes);
         if (head(node) != depth) node.damaged();
         const std::uint64_t used = node.number(2);
         if (used > most) node.damaged();
         node.skip(2 * address_bytes);  // siblings
         for (std::uint64_t i = 0; i < used; ++i) {
           const std::uint64_t bytes = node.number(4);
           node.skip(4);
           const std::uint64_t row = node.number(8);
           std::uint64_t elsewhere = 0;  // the chunk is not of the first column
           for (std::size_t d = 1; d < rank; ++d) elsewhere |= node.number(8);
           node.skip(8);
           const std::uint64_t child = node.address();
           if (depth > 0) {
             below.push_back({child});
           } else if (elsewhere == 0) {
             if (bytes < grid.chunk_bytes || row % grid.chunk[0] != 0) node.damaged();
             out.set(row / grid.chunk[0], child);
           }
         }
       });
}

void walk_btree_2(Metadata& metadata, std::uint64_t header, const ChunkGrid& grid, ChunkOffsets& out) {
  constexpr std::uint64_t fixed_bytes = 6 + checksum_bytes;  // of a node: signature, version, type
  constexpr std::uint64_t deepest = 64;
  const std::size_t rank = grid.chunk.size();
  const std::uint64_t address_bytes = metadata.format.offset_bytes;
  Fields head = metadata.read_with_checksum(header, 22 + address_bytes + metadata.format.length_bytes);
  head.expect(std::string_view("BTHD\0\12", 6));  // records of chunks without filters
  const std::uint64_t node_bytes = head.number(4), record_bytes = head.number(2), depth = head.number(2);
  head.skip(2);
  const std::uint64_t root = head.address(), records = head.number(2);
  if (record_bytes != address_bytes + 8 * rank || depth > deepest || node_bytes < fixed_bytes + record_bytes)
    head.damaged();
  if (root == undefined_address || records == 0) return;

  // How many bytes a pointer to a child takes depends on how many records can lie below it.
  const auto bytes_for = [](std::uint64_t most) {
    return static_cast<unsigned>((std::bit_width(most) + 7) / 8);
  };
  std::uint64_t most = (node_bytes - fixed_bytes) / record_bytes;
  const unsigned count_bytes = bytes_for(most);
  std::vector<unsigned> total_bytes{0};  // for each depth, of the records in a whole branch
  for (std::uint64_t d = 1; d <= depth; ++d) {
    const std::uint64_t pointer_bytes = address_bytes + count_bytes + total_bytes.back();
    if (node_bytes < fixed_bytes + pointer_bytes) head.damaged();
    const std::uint64_t own = (node_bytes - fixed_bytes - pointer_bytes) / (record_bytes + pointer_bytes);
    if (__builtin_mul_overflow(own + 1, most, &most) || __builtin_add_overflow(most, own, &most))
      head.damaged();
    total_bytes.push_back(bytes_for(most));
  }

  walk(metadata, node_bytes, {root, records}, depth,
       [&](const Node& at, std::uint64_t level, std::vector<Node>& below) {
         const unsigned branch_bytes = level > 0 ? total_bytes[level - 1] : 0;
         const std::uint64_t pointers = level > 0 ? at.records + 1 : 0;
         const std::uint64_t bytes = fixed_bytes + at.records * record_bytes +
                                     pointers * (address_bytes + count_bytes + branch_bytes);
         if (at.records > node_bytes || bytes > node_bytes) metadata.damaged(at.address);
         Fields node = metadata.read_with_checksum(at.address, bytes);
         node.expect(level > 0 ? std::string_view("BTIN\0\12", 6) : std::string_view("BTLF\0\12", 6));
         for (std::uint64_t i = 0; i < at.records; ++i) {
           const std::uint64_t chunk_address = node.address(), chunk = node.number(8);
           std::uint64_t elsewhere = 0;
           for (std::size_t d = 1; d < rank; ++d) elsewhere |= node.number(8);
           if (elsewhere == 0) out.set(chunk, chunk_address);
         }
         for (std::uint64_t i = 0; i < pointers; ++i) {
           const std::uint64_t child = node.address();
           below.push_back({child, node.number(count_bytes)});
           node.skip(branch_bytes);
         }
       });
}

}  // namespace vitral::data
