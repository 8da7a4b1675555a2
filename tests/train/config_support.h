// A configuration file out of a text, for the tests of train/config.h.
#pragma once
#include <string>
#include <vector>

#include "tests/support.h"
#include "train/config.h"

namespace vitral::test {

inline train::Config config_of(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
  const TempDir dir;
  put_file(dir / "config.yaml", yaml);
  return train::load_config(dir / "config.yaml", overrides);
}

/// The message of a configuration that does not load, without the folder of the file.
inline std::string config_error(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
  const TempDir dir;
  put_file(dir / "config.yaml", yaml);
  std::string message = message_of([&] { train::load_config(dir / "config.yaml", overrides); });
  const std::string folder = dir.str() + "/";
  for (std::size_t at = 0; (at = message.find(folder)) != std::string::npos;)
    message.erase(at, folder.size());
  return message;
}

}  // namespace vitral::test
