// What the running process has cost so far.
#pragma once
#include <ctime>
#include <fstream>
#include <string>

#include <sys/resource.h>
#include <unistd.h>

namespace vitral::bench {

/// The most memory that was resident at once, in 1e9 bytes.
inline double peak_resident_gb() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) * 1024 / 1e9;
}

/// Since the process was started, to the system's clock tick (10 ms): the program's loading and static
/// initialisation included. Field 22 of proc_pid_stat(5).
inline double seconds_since_start() {
  std::ifstream file("/proc/self/stat");
  std::string field;
  std::getline(file, field, ')');  // the name, which may hold spaces
  for (int i = 3; i <= 22; ++i) file >> field;
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec) -
         std::stod(field) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

}  // namespace vitral::bench
