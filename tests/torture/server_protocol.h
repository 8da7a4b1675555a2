// What the client (server.h) and the preloaded half (server_preload.cpp) say to each other, through pipes.
#pragma once
#include <array>
#include <cstdint>

namespace vitral::torture {

struct ServerLimit {
  std::int64_t resource = -1, value = 0;  // of setrlimit(); -1: none
};

/// Followed by `bytes` of text: the folder to work in, then the arguments, each ended by '\0'.
struct ServerRequest {
  std::uint64_t bytes = 0;
  std::int64_t milliseconds = 0;  // then the process is killed
  std::array<ServerLimit, 4> limits{};
};

struct ServerAnswer {
  std::int32_t status = 0;  // as waitpid() gives it
  std::int32_t hung = 0;    // killed after `milliseconds`
  std::int64_t cpu_milliseconds = 0, peak_kilobytes = 0;
};

}  // namespace vitral::torture
