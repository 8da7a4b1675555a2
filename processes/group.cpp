#include "processes/group.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include <unistd.h>

namespace vitral {
namespace {

class Alone : public Group {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void all_to_all(const void* from, void* to, std::size_t bytes) override { std::memmove(to, from, bytes); }
  void all_gather(const void* from, void* to, std::size_t bytes) override { std::memmove(to, from, bytes); }
  void broadcast(void*, std::size_t) override {}
  [[noreturn]] void abort(int status) override { ::_exit(status); }
};

}  // namespace

Group& alone() {
  static Alone group;
  return group;
}

std::vector<std::string> all_gather(Group& group, const std::string& text) {
  const std::uint64_t bytes = text.size();
  std::vector<std::uint64_t> sizes(static_cast<std::size_t>(group.size()));
  group.all_gather(&bytes, sizes.data(), sizeof bytes);
  const std::size_t most = *std::max_element(sizes.begin(), sizes.end());
  std::string padded = text, all(most * sizes.size(), '\0');
  padded.resize(most);
  group.all_gather(padded.data(), all.data(), most);
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < sizes.size(); ++i) texts.push_back(all.substr(i * most, sizes[i]));
  return texts;
}

std::string broadcast(Group& group, const std::string& text) {
  std::uint64_t bytes = text.size();
  group.broadcast(&bytes, sizeof bytes);
  std::string copy = group.is_first() ? text : std::string(bytes, '\0');
  group.broadcast(copy.data(), bytes);
  return copy;
}

}  // namespace vitral
