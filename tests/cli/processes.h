// Jobs of several processes, as `vitral train --processes` starts them.
#pragma once
#include <filesystem>
#include <fstream>
#include <sstream>

#include <fmt/format.h>

#include "tests/cli/small_run.h"

namespace vitral::test {

inline bool in_path(const std::string& program) {
  std::istringstream folders(std::getenv("PATH"));
  for (std::string folder; std::getline(folders, folder, ':');)
    if (::access((folder + "/" + program).c_str(), X_OK) == 0) return true;
  return false;
}

/// Skips where jobs cannot be started.
class Processes : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!in_path("mpirun")) GTEST_SKIP() << "no mpirun here (openmpi-bin)";
    const auto module =
        std::filesystem::path(std::getenv("VITRAL_PROGRAM")).parent_path() / "../libvitral_mpi.so";
    if (!std::filesystem::exists(module)) GTEST_SKIP() << "built without MPI (libopenmpi-dev)";
    ::setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    ::setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    // Open MPI keeps what it has until the end.
    const char* asan = std::getenv("ASAN_OPTIONS");
    ::setenv("ASAN_OPTIONS", (std::string(asan ? asan : "") + ":detect_leaks=0").c_str(), 1);
  }
};

/// Of a job that `vitral train --processes` started: the process with this rank, 0 where there is none.
inline pid_t process_of(const Program& program, int rank) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const auto parent_of = [](const std::string& pid) {
      std::ifstream file("/proc/" + pid + "/stat");
      std::string text;
      std::getline(file, text);
      const auto end = text.rfind(')');  // of the program's name
      return end == std::string::npos ? 0 : std::atoi(text.c_str() + end + 3);
    };
    if (parent_of(std::to_string(parent_of(name))) != program.id()) continue;
    std::ifstream file("/proc/" + name + "/environ", std::ios::binary);
    for (std::string variable; std::getline(file, variable, '\0');)
      if (variable == fmt::format("OMPI_COMM_WORLD_RANK={}", rank)) return std::atoi(name.c_str());
  }
  return 0;
}

inline Result train(const SmallRun& data, const std::string& output, int processes, Program::Arguments more) {
  more.insert(more.end(), {"train.output=" + data.output(output), fmt::format("--processes={}", processes)});
  return data(more);
}

}  // namespace vitral::test
