// For source files whose floating-point results must be the same on every machine: from here to the end of
// the file no multiplication and addition are fused, which would round once where Pillow (and a build for
// another processor) rounds twice.
#pragma once
#if defined(__clang__)
#pragma clang fp contract(off)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif
