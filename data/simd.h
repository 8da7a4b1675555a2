// Loops over pixels that use what the processor has, whatever the program was compiled for.
//
//   VITRAL_CLONES void brighten(std::uint8_t* __restrict to, const std::uint8_t* __restrict from,
//   std::int64_t n) {
//     for (std::int64_t i = 0; i < n; ++i) ...              // the compiler vectorises it, three times
//   }
//
// The function is compiled for any x86-64, for AVX2 (x86-64-v3) and for AVX-512 (v4), and the loader of the
// program chooses once. All three give the same bits where the loop adds integers, or floats without fusing
// (data/exact_float.h). Helpers must be inlined into it, VITRAL_INLINE, or they stay code for any x86-64.
//
// Nothing happens where a compiler or an architecture has no such choice, where the program is compiled for
// AVX-512 already, and under address and thread sanitizers, whose checks cannot run as early as the choice.
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
