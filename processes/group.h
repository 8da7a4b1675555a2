// The processes of one job: who am I, and the few exchanges that training needs. One process is a group, too,
// so that nobody asks how many there are.
//
//   Group& group = processes();                       // processes/launch.h
//   group.all_gather(&mine, all.data(), sizeof mine);
//
// All processes call the same exchanges in the same order, from one thread. An exchange that fails throws
// Error.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

namespace vitral {

class Group {
 public:
  Group() = default;
  virtual ~Group() = default;
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  virtual int rank() const = 0;  // 0 to size() - 1
  virtual int size() const = 0;
  bool is_first() const { return rank() == 0; }
  bool is_one() const { return size() == 1; }

  /// `from` and `to` are size() pieces of `bytes` bytes: piece i goes to process i, piece i comes from it.
  virtual void all_to_all(const void* from, void* to, std::size_t bytes) = 0;
  /// `to` gets the `bytes` bytes of each process, in the order of their ranks.
  virtual void all_gather(const void* from, void* to, std::size_t bytes) = 0;
  /// `data` of process 0 is copied to all.
  virtual void broadcast(void* data, std::size_t bytes) = 0;
  /// Ends all processes with this status, at once. Whoever calls has said why.
  [[noreturn]] virtual void abort(int status) = 0;
};

/// This process alone.
Group& alone();

/// A text of each process, in the order of their ranks.
std::vector<std::string> all_gather(Group& group, const std::string& text);
/// The text of process 0.
std::string broadcast(Group& group, const std::string& text);

}  // namespace vitral
