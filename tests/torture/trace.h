// The record that tests/system_calls.h makes of a program's calls.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace vitral::torture {

/// One call.
struct TracedCall {
  std::string call;      // as in FaultPlan
  std::string path, to;  // to: of rename, renameat2, link
  std::int64_t at = 0;   // offset; of open and renameat2 the flags, of ftruncate the size
  bool failed = false;
  std::string data;  // what write, pwrite and copy wrote
};

std::vector<TracedCall> read_trace(const std::string& file);

}  // namespace vitral::torture
