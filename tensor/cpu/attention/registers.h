// Registers in neighbourhood attention on the CPU: the R tokens behind the grid, which see all tokens and are
// seen by all. Their numbers are rows [R,D] beside the grid's x [rows, D, pitch]; with l a layout, weights
// between both are [R, span], `stride` apart, and of a register for all tokens [R, l.all()]. C is float or
// double.
#pragma once
#include "tensor/cpu/attention/neighbourhood_layout.h"

namespace vitral::cpu_kernels {

/// w[r] = a[r] . x, of each token of the grid.
template <class C>
void dot_registers(C* w, std::int64_t stride, const C* x, const C* a, const NeighbourhoodLayout& l);
/// y [rows, D, width] += sum_r w[r] a[r]
template <class C>
void add_registers(C* y, const C* w, std::int64_t stride, const C* a, const NeighbourhoodLayout& l);
/// out [R,D] = sum over the grid's tokens of w[r] x
template <class C>
void gather(C* out, const C* w, std::int64_t stride, const C* x, const NeighbourhoodLayout& l);

// --- registers as queries: w [R, l.all()] ---

/// w = a . (x of the grid, b of the registers)
template <class C>
void dot_all(C* w, const C* x, const C* b, const C* a, const NeighbourhoodLayout& l);
/// In place.
template <class C>
void softmax_all(C* w, const NeighbourhoodLayout& l);
/// ds = p (dp - sum p dp), in place of dp.
template <class C>
void softmax_all_backward(C* dp, const C* p, const NeighbourhoodLayout& l);
/// out [R,D] = sum over all tokens of w[r] (x, b)
template <class C>
void gather_all(C* out, const C* w, const C* x, const C* b, const NeighbourhoodLayout& l);
/// out[r] += sum over the registers of their weight for r times a
template <class C>
void add_from_registers(C* out, const C* w, const C* a, const NeighbourhoodLayout& l);

}  // namespace vitral::cpu_kernels
