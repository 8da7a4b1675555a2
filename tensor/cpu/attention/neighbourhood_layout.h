// How neighbourhood attention on the CPU keeps one head (tensor/cpu/attention/neighbourhood_attention.cpp).
#pragma once
#include <algorithm>
#include <vector>

#include "tensor/cpu/vector.h"
#include "tensor/ops/attention.h"

namespace vitral::cpu_kernels {

// Where a sum finds the weights of the neighbours.
struct NeighbourWeights {
  std::int64_t first, row;      // to those of token (0, 0), and from a row of the grid to the next
  const std::int64_t* offsets;  // from a token to its weight of each
};

// Where everything is. The loops take it by value: its numbers stay in registers, whatever they write.
struct NeighbourhoodLayout {
  // Offsets of the neighbours go to `tables`, which must live as long.
  NeighbourhoodLayout(const Neighbourhood& n, std::int64_t head_size, std::vector<std::int64_t>& tables)
      : rows(n.grid.rows), columns(n.grid.columns), size(head_size), registers(n.registers) {
    // A window wider than the grid sees no more than all of it.
    const std::int64_t longest = std::max<std::int64_t>({rows, columns, 1}) - 1;
    dilation = std::min(n.dilation, longest + 1);
    reach = std::min(n.window / 2, longest / dilation);
    neighbours = (2 * reach + 1) * (2 * reach + 1);
    margin = reach * dilation;
    width = (columns + lanes - 1) / lanes * lanes;
    span = rows * width;
    pitch = (width + 2 * margin + 15) / 16 * 16;
    const std::int64_t left = (pitch - width) / 2;
    first = margin * size * pitch + left;
    tables.resize(static_cast<std::size_t>(3 * neighbours));
    std::int64_t *shift = tables.data(), *compact = shift + neighbours, *other = compact + neighbours;
    shifts = shift;
    own = {0, width, compact};
    opposite = {margin * neighbours * pitch + left, neighbours * pitch, other};
    std::int64_t o = 0;
    for (std::int64_t dy = -margin; dy <= margin; dy += dilation)
      for (std::int64_t dx = -margin; dx <= margin; dx += dilation, ++o) {
        shift[o] = dy * size * pitch + dx;
        compact[o] = o * span;
        other[o] = (dy * neighbours + neighbours - 1 - o) * pitch + dx;
      }
  }

  // Numbers of [rows, numbers, pitch] with the zeros around it.
  std::int64_t around(std::int64_t numbers) const { return (rows + 2 * margin) * numbers * pitch; }
  // What a token of the grid sees.
  std::int64_t keys() const { return neighbours + registers; }
  // Weights of a register: for the grid, then for the registers.
  std::int64_t all() const { return span + registers; }

  std::int64_t rows, columns;                // of the grid
  std::int64_t size;                         // D
  std::int64_t registers;                    // R
  std::int64_t dilation, reach, neighbours;  // of the window
  std::int64_t margin;                       // places that it reaches over the grid's border
  std::int64_t width, span;                  // columns in whole vectors; of all rows
  std::int64_t pitch;                        // of a row with zeros beside it
  std::int64_t first;                        // to token (0, 0), in [rows, D, pitch] with zeros around it
  const std::int64_t* shifts;                // from a token to each neighbour, there
  // A token's own weights, in [neighbours, span]; the weights that each neighbour has for the token, in
  // [rows, neighbours, pitch] with zeros around it.
  NeighbourWeights own, opposite;
};

}  // namespace vitral::cpu_kernels
