#include "tests/torture/server.h"

#include <chrono>
#include <filesystem>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "tests/support.h"
#include "tests/torture/server_protocol.h"

namespace vitral::torture {

Server::Server(const std::string& vitral, const std::string& library) {
  int requests[2], answers[2];
  if (::pipe2(requests, O_CLOEXEC) != 0 || ::pipe2(answers, O_CLOEXEC) != 0) throw_error("no pipes");
  process_ = ::fork();
  if (process_ < 0) throw_error("cannot fork");
  if (process_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::dup2(requests[0], 0);
    ::dup2(answers[1], 1);
    ::setenv("LD_PRELOAD", library.c_str(), 1);
    ::setenv("LC_ALL", "C", 1);
    ::setenv("OMP_NUM_THREADS", "1", 1);
    ::setenv("GOMP_SPINCOUNT", "1000", 1);  // else the program starts itself once more
    ::execl(vitral.c_str(), vitral.c_str(), nullptr);
    ::_exit(127);
  }
  ::close(requests[0]);
  ::close(answers[1]);
  to_ = requests[1];
  from_ = answers[0];
}

Server::~Server() {
  ::close(to_);
  ::close(from_);
  ::waitpid(process_, nullptr, 0);
}

Result Server::run(const std::string& folder, const Command& command) {
  ServerRequest request;
  std::string text = folder + '\0';
  for (const auto& argument : command.arguments) text += argument + '\0';
  request.bytes = text.size();
  request.milliseconds = static_cast<std::int64_t>(1000 * command.hangs_after);
  for (std::size_t i = 0; i < command.limits.size(); ++i)
    request.limits.at(i) = {command.limits[i].first, static_cast<std::int64_t>(command.limits[i].second)};
  text.insert(0, reinterpret_cast<const char*>(&request), sizeof request);
  ServerAnswer answer;
  const auto begin = std::chrono::steady_clock::now();
  if (::write(to_, text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      ::read(from_, &answer, sizeof answer) != sizeof answer)
    throw_error("the server ended");
  Result out;
  out.status = WIFSIGNALED(answer.status) ? 128 + WTERMSIG(answer.status) : WEXITSTATUS(answer.status);
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  out.hung = answer.hung != 0;
  out.cpu_seconds = 1e-3 * static_cast<double>(answer.cpu_milliseconds);
  out.peak_memory = 1024 * answer.peak_kilobytes;
  for (const auto& [name, to] : {std::pair{".out", &out.out}, std::pair{".err", &out.err}}) {
    *to = test::bytes_of_file(folder + "/" + name);
    std::filesystem::remove(folder + "/" + name);
  }
  return out;
}

}  // namespace vitral::torture
