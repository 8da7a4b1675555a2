// Commands of `vitral` that take a millisecond to start (server_preload.cpp), for kinds that need ten
// thousands of them.
#pragma once
#include <string>

#include <sys/types.h>

#include "tests/torture/program.h"

namespace vitral::torture {

/// library: libtorture_server.so. One command at a time.
class Server {
 public:
  Server(const std::string& vitral, const std::string& library);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Of the command its arguments, limits (at most four), and `hangs_after`. What it leaves running is
  /// killed.
  Result run(const std::string& folder, const Command& command);

 private:
  pid_t process_ = 0;
  int to_ = -1, from_ = -1;
};

}  // namespace vitral::torture
