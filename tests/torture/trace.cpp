#include "tests/torture/trace.h"

#include <cstdio>

namespace vitral::torture {

std::vector<TracedCall> read_trace(const std::string& file) {
  std::vector<TracedCall> out;
  FILE* const stream = std::fopen(file.c_str(), "rb");
  if (!stream) return out;
  const auto get = [&](std::string& text) {
    std::uint64_t bytes = 0;
    if (std::fread(&bytes, sizeof bytes, 1, stream) != 1) return false;
    text.resize(bytes);
    return std::fread(text.data(), 1, bytes, stream) == bytes;
  };
  for (TracedCall call; get(call.call) && get(call.path) && get(call.to) &&
                        std::fread(&call.at, sizeof call.at, 1, stream) == 1 &&
                        std::fread(&call.failed, sizeof call.failed, 1, stream) == 1 && get(call.data);)
    out.push_back(call);
  std::fclose(stream);
  return out;
}

}  // namespace vitral::torture
