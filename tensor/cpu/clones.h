// One program for all processors of an architecture. A function marked VITRAL_CLONES is compiled three times
// on x86-64: for every processor, for those with AVX2 and FMA (x86-64-v3) and for those with AVX-512
// (x86-64-v4); the loader picks one when the program starts. Its loops are plain, so that the compiler
// vectorises each clone with the registers it has; what it calls must be VITRAL_INLINE, or it would be code
// for every processor.
//
// On other architectures, in a build for one processor (-Dnative=true) and under sanitizers, whose runtime is
// not there yet when the loader asks, it is an ordinary function.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(VITRAL_NATIVE) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define VITRAL_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define VITRAL_CLONES
#endif

#define VITRAL_INLINE [[gnu::always_inline]] inline
