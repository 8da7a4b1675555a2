#include "tests/torture/disk.h"

#include <algorithm>
#include <filesystem>

#include <fcntl.h>
#include <fmt/format.h>

#include "base/error.h"
#include "tests/support.h"
#include "tests/torture/workshop.h"

namespace vitral::torture {

namespace fs = std::filesystem;

Disk::Disk(const std::string& folder) : root_(std::make_shared<Node>()) {
  root_->is_folder = true;
  load(folder, *root_);
}

void Disk::load(const std::string& folder, Node& into) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    auto node = std::make_shared<Node>();
    node->is_folder = entry.is_directory();
    if (node->is_folder)
      load(entry.path(), *node);
    else
      node->source = entry.path();
    into.names[entry.path().filename()].meanings = {{0, node}};
  }
}

// The name at a path; nothing where a folder on the way is not there. A new name means nothing yet.
Disk::Name* Disk::find(const std::string& path, NodePointer* folder) {
  NodePointer node = root_;
  const fs::path way = fs::path(path).lexically_normal();
  for (auto part = way.begin(); part != way.end(); ++part) {
    if (!node || !node->is_folder) return nullptr;
    if (folder) *folder = node;
    Name& name = node->names[*part];
    if (name.meanings.empty()) name.meanings = {{0, nullptr}};
    if (std::next(part) == way.end()) return &name;
    node = name.meanings.back().second;
  }
  return nullptr;
}

Disk::NodePointer Disk::at(const std::string& path) {
  if (path == "." || path.empty()) return root_;
  const Name* name = find(path);
  return name ? name->meanings.back().second : nullptr;
}

void Disk::set(const std::string& path, const NodePointer& node) {
  Name* name = find(path);
  VITRAL_CHECK(name, "the record of calls has {} in no folder", path);
  name->meanings.emplace_back(++changes_, node);
}

void Disk::apply(const TracedCall& call) {
  if (call.failed) return;
  const NodePointer node = at(call.path);
  if (call.call == "open") {
    if (!node && (call.at & O_CREAT)) set(call.path, std::make_shared<Node>());
    if (node && (call.at & O_TRUNC)) node->changes.push_back({0, "", true});
  } else if (call.call == "mkdir") {
    auto folder = std::make_shared<Node>();
    folder->is_folder = true;
    set(call.path, folder);
  } else if (call.call == "write" || call.call == "pwrite" || call.call == "copy") {
    if (node) node->changes.push_back({call.at, call.data, false});
  } else if (call.call == "ftruncate") {
    if (node) node->changes.push_back({call.at, "", true});
  } else if (call.call == "rename" || call.call == "renameat2") {
    constexpr std::int64_t exchange = 2;
    const NodePointer there = at(call.to);
    set(call.to, node);
    set(call.path, call.call == "renameat2" && (call.at & exchange) ? there : nullptr);
  } else if (call.call == "link") {
    set(call.to, node);
  } else if (call.call == "unlink") {
    set(call.path, nullptr);
  } else if (call.call == "fsync" && node) {
    durable_changes_ = changes_;
    node->durable = node->changes.size();
    for (auto& [name, value] : node->names) value.meanings = {value.meanings.back()};
  }
}

void Disk::cut_power(DiskModel model, Random& random, const std::string& folder) const {
  const auto open = static_cast<std::uint64_t>(changes_ - durable_changes_);
  const std::int64_t durable = durable_changes_ + static_cast<std::int64_t>(random.below(open + 1));
  write(*root_, model, durable, random, folder);
}

void Disk::write(const Node& folder, DiskModel model, std::int64_t durable, Random& random,
                 const std::string& to) const {
  fs::create_directories(to);
  for (const auto& [name, value] : folder.names) {
    std::size_t chosen = 0;
    if (model == DiskModel::posix)
      chosen = random.below(value.meanings.size());
    else
      while (chosen + 1 < value.meanings.size() && value.meanings[chosen + 1].first <= durable) ++chosen;
    const NodePointer node = value.meanings[chosen].second;
    if (!node) continue;
    const std::string path = to + "/" + name;
    if (node->is_folder) {
      write(*node, model, durable, random, path);
      continue;
    }
    if (node->changes.empty() && !node->source.empty()) {
      copy_with_times(node->source, path);
      continue;
    }
    std::string bytes = node->source.empty() ? "" : test::bytes_of_file(node->source);
    // Of what was not synced all is there, nothing, or any part; a page that never came is zeros.
    const auto luck = random.below(3);
    for (std::size_t i = 0; i < node->changes.size(); ++i) {
      const Change& change = node->changes[i];
      const bool is_durable = i < node->durable;
      if (!is_durable && (luck == 0 || (luck == 1 && random.below(2) == 0))) continue;
      const auto at = static_cast<std::size_t>(change.at);
      if (change.truncates) {
        bytes.resize(at, '\0');
        continue;
      }
      std::size_t size = change.data.size();
      bytes.resize(std::max(bytes.size(), at + size), '\0');
      if (!is_durable && luck == 1 && random.below(4) == 0) size = random.below(size + 1);
      std::copy_n(change.data.begin(), size, bytes.begin() + static_cast<std::ptrdiff_t>(at));
    }
    test::put_file(path, bytes);
  }
}

}  // namespace vitral::torture
