// What a disk may hold after the power was cut: the calls of a program, replayed up to a moment, of which
// what was not synced may have reached the disk or not.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "tests/torture/trace.h"

namespace vitral::torture {

enum class DiskModel {
  posix,    // names and bytes that were not synced: any subset of them is there, bytes also in part
  journal,  // names change in their order, and a sync of anything makes all earlier ones durable
};

class Disk {
 public:
  /// The files of a folder, all durable.
  explicit Disk(const std::string& folder);
  /// A call, unless it failed; paths as in run_undisturbed().
  void apply(const TracedCall& call);
  /// Writes one of the states that the disk may have into an empty folder.
  void cut_power(DiskModel model, Random& random, const std::string& folder) const;

 private:
  struct Node;
  using NodePointer = std::shared_ptr<Node>;
  struct Change {  // of a file's bytes
    std::int64_t at;
    std::string data;
    bool truncates;  // to `at`
  };
  // A name in a folder, and all that it has meant since it was last durable (first: what is durable).
  struct Name {
    std::vector<std::pair<std::int64_t, NodePointer>>
        meanings;  // the number of the change, and the file or none
  };
  struct Node {
    bool is_folder = false;
    std::string source;                 // a file whose bytes it begins with, or ""
    std::vector<Change> changes;        // of a file
    std::size_t durable = 0;            // how many of them
    std::map<std::string, Name> names;  // of a folder
  };

  Name* find(const std::string& path, NodePointer* folder = nullptr);
  NodePointer at(const std::string& path);
  void set(const std::string& path, const NodePointer& node);
  void load(const std::string& folder, Node& into);
  void write(const Node& folder, DiskModel model, std::int64_t durable, Random& random,
             const std::string& to) const;

  NodePointer root_;
  std::int64_t changes_ = 0;          // of names, so far
  std::int64_t durable_changes_ = 0;  // when something was synced last
};

}  // namespace vitral::torture
