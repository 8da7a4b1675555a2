// One program for all processors of an architecture.
//
//   VITRAL_CLONES void halve(std::uint8_t* __restrict to, const std::uint8_t* __restrict from, int n) {
//     for (int i = 0; i < n; ++i) to[i] = from[i] / 2;     // the compiler vectorises it, three times
//   }
//
// On x86-64 the function is compiled for every processor, for those with AVX2 and FMA (x86-64-v3) and for
// those with AVX-512 (x86-64-v4); the loader picks one when the program starts. Its loops are plain, so that
// each clone is vectorised with the registers it has; what it calls must be VITRAL_INLINE, or it would be
// code for every processor. All three give the same bits where a loop adds integers, or floats without fusing
// (base/exact_float.h).
//
// It is an ordinary function on other architectures and for other compilers, in a program compiled for
// AVX-512 anyway, and under sanitizers, whose runtime is not there yet when the loader asks.
#pragma once

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__AVX512BW__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#if __GNUC__ >= 12
#define VITRAL_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#endif
#endif
#ifndef VITRAL_CLONES
#define VITRAL_CLONES
#endif

#define VITRAL_INLINE [[gnu::always_inline]] inline
