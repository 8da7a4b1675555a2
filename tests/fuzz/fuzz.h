// What the fuzz targets share: the input as a file, errors that are no findings, and a limit on memory.
//
// A finding is a crash, a report of a sanitizer, a hang, an exception that is no vitral::Error, a message of
// more than one line, or memory beyond what a file of that size may cost: no block larger than the input and
// a megabyte, and all together no more than `factor` times the input and 8 MB.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>

namespace vitral::fuzz {

using Bytes = std::span<const std::uint8_t>;

/// A file in memory that has a path. One for each process, rewritten at each call.
const std::string& file_of(Bytes bytes);

/// Runs f(); an Error with a message of one line is fine, anything else ends the process. `factor`: how much
/// memory the bytes may cost; `allowance`: more for one block, where the file legitimately unfolds to more.
void check(std::size_t input_bytes, std::size_t factor, std::size_t allowance, void (*f)(void*),
           void* argument);

template <class F>
void check(std::size_t input_bytes, std::size_t factor, F&& f, std::size_t allowance = 0) {
  check(
      input_bytes, factor, allowance, [](void* g) { (*static_cast<std::remove_reference_t<F>*>(g))(); }, &f);
}

}  // namespace vitral::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
