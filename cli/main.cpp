// vitral: trains a vision transformer whose patch embeddings live in CLIP's image-text space.
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>

#include <unistd.h>

#include "base/error.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/spinning.h"
#include "processes/launch.h"

namespace {

int fail(int status, std::string_view what) {
  // Of several processes, those that fail alike leave it to the first to say so.
  if (vitral::Group* group = vitral::open_group()) {
    if (!group->is_first()) std::this_thread::sleep_for(std::chrono::seconds(5));
    std::fprintf(stderr, "vitral: process %d of %d: %s\n", group->rank(), group->size(),
                 vitral::one_line(what).c_str());
    group->abort(status);
  }
  std::fprintf(stderr, "vitral: %s\n", vitral::one_line(what).c_str());
  return status;
}

// Weights are used where their files are mapped into memory. Bytes that are not there any more are no error
// of a call that could be caught, but this signal.
void lost_bytes(int) {
  constexpr std::string_view line =
      "vitral: a file in use was shortened by another program or cannot be read; copy it again and run this "
      "again\n";
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
  ::_exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  vitral::cli::limit_openmp_spinning(argv);
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is an error of the write, as a full disk is
  std::signal(SIGBUS, lost_bytes);
  using namespace vitral::cli;
  try {
    Program program(
        "Trains, without PyTorch, a vision transformer whose patch embeddings live in CLIP's image-text "
        "space.",
        "vitral " VITRAL_VERSION);
    for (auto add : {add_shapes, add_scenes, add_pack, add_vocabulary, add_teach, add_train, add_eval,
                     add_embed, add_activate, add_search, add_report, add_ablate, add_convert, add_info})
      add(program);
    program.run(argc, argv);
  } catch (const vitral::UsageError& e) {
    return fail(2, e.what());
  } catch (const std::bad_alloc&) {
    return fail(1, "out of memory; use a smaller batch_size");
  } catch (const std::system_error& e) {
    if (e.code() != std::errc::resource_unavailable_try_again) return fail(1, e.what());
    return fail(1,
                "a thread cannot be started; allow more threads and memory (ulimit -u, ulimit -v, the "
                "container's limits), or set OMP_NUM_THREADS and the number of workers lower");
  } catch (const std::exception& e) {
    return fail(1, e.what());
  }
  // What is buffered is written now: a full disk is an error of the work. A reader that went away is none.
  if ((std::fflush(stdout) != 0 || std::ferror(stdout) != 0) && errno != EPIPE)
    return fail(1, std::string("standard output: cannot be written: ") + std::strerror(errno));
  return 0;
}
