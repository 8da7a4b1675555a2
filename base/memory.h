// Where memory ends.
#pragma once
#include "base/read_error.h"

namespace vitral {

/// Memory is used up: the machine's or a GPU's.
class MemoryError : public ReadError {
 public:
  using ReadError::ReadError;
};

/// Whether address space is limited (ulimit -v) and less than 64 MB of it is left: then libraries get
/// nothing, which some do not survive, and others take for damage of a file. Costs a microsecond, without a
/// limit none.
bool memory_is_short();

}  // namespace vitral
