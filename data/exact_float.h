// Include last, in a source file whose floating-point results must be the same on every machine: no fused
// multiply-add behind the back of the source, which rounds once where Pillow (and a build for another
// processor) rounds twice.
#pragma once
#if defined(__clang__)
#pragma clang fp contract(off)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif
