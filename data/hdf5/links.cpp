// What lies where in a file: links and groups.
#include <algorithm>
#include <cstring>
#include <set>

#include "base/text.h"
#include "data/hdf5/library.h"

namespace vitral::data {
namespace {

constexpr int max_links = 16;  // one after the other, as in the library

std::optional<H5L_info_t> link_at(hid_t file, const std::string& path) {
  H5L_info_t info;
  if (H5Lexists(file, path.c_str(), H5P_DEFAULT) <= 0 ||
      H5Lget_info(file, path.c_str(), &info, H5P_DEFAULT) < 0)
    return std::nullopt;
  return info;
}

// What a soft or an external link stores.
std::vector<char> value_of(hid_t file, const std::string& path, const H5L_info_t& info) {
  std::vector<char> value(info.u.val_size + 1, 0);
  if (H5Lget_val(file, path.c_str(), value.data(), info.u.val_size, H5P_DEFAULT) < 0) value.assign(1, 0);
  return value;
}

std::string target_of(hid_t file, const std::string& path, const H5L_info_t& info) {
  const std::vector<char> value = value_of(file, path, info);
  const char *other_file = nullptr, *object = nullptr;
  if (info.type == H5L_TYPE_SOFT) return value.data();
  if (info.type == H5L_TYPE_EXTERNAL &&
      H5Lunpack_elink_val(value.data(), info.u.val_size, nullptr, &other_file, &object) >= 0)
    return fmt::format("{} in {}", object, other_file);
  return "another file";
}

// The same for every path to one object.
std::string identity(hid_t object) {
#if H5_VERSION_GE(1, 12, 0)
  H5O_info2_t info;
  if (H5Oget_info3(object, &info, H5O_INFO_BASIC) < 0) return "";
  return {reinterpret_cast<const char*>(&info.token), sizeof info.token};
#else
  H5O_info_t info;
  if (H5Oget_info2(object, &info, H5O_INFO_BASIC) < 0) return "";
  return std::to_string(info.addr);
#endif
}

std::vector<std::string> names_in(hid_t group) {
  std::vector<std::string> names;
  const auto visit = [](hid_t, const char* name, const H5L_info_t*, void* out) -> herr_t {
    static_cast<std::vector<std::string>*>(out)->emplace_back(name);
    return 0;
  };
  H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, nullptr, visit, &names);
  return names;
}

}  // namespace

bool H5Library::has(const std::string& name) const {
  std::string path = name;
  std::size_t rest = name.size();  // how much of `name` stands at the end of `path`, behind all links so far
  // Every part of the path must exist, or H5Lexists complains about the first that does not. External links
  // could point anywhere.
  int links = 0;
  for (std::size_t at = 1; at < path.size();) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    const std::string part = path.substr(0, end), last = path.substr(at, end - at);
    if (!last.empty() && last != ".") {  // as the library, which ignores those
      const auto info = link_at(file_, part);
      if (!info && part.size() <= path.size() - rest)
        throw_error<UsageError>("{}: {} is a link to {}, which is not there; write it, or remove the link",
                                path_, name, shown(part));
      if (!info) return false;
      if (info->type == H5L_TYPE_SOFT) {
        if (++links > max_links)
          throw_error<UsageError>("{}: {} is a link that leads to itself; remove it", path_, name);
        const std::string to = target_of(file_, part, *info);
        rest = std::min(rest, path.size() - end);
        path = fmt::format("{}{}{}", to.starts_with('/') ? "" : part.substr(0, at), to, path.substr(end));
        at = 1;
        continue;
      }
      if (info->type != H5L_TYPE_HARD)
        throw_error<UsageError>("{}: {} lies in another file, copy it into this one", path_, name);
    }
    at = end + 1;
  }
  return true;
}

bool H5Library::is_group(const std::string& name) const {
  if (!has(name)) return false;
  const Handle group(H5Gopen2(file_, name.c_str(), H5P_DEFAULT), H5Gclose);
  return group >= 0;
}

std::vector<std::string> H5Library::list(const std::string& group) const {
  const Handle g(H5Gopen2(file_, group.c_str(), H5P_DEFAULT), H5Gclose);
  if (g < 0) fail(group + " cannot be read");
  return names_in(g);
}

bool H5Library::holds_files(const std::string& name) const {
  try {
    return is_group(name) ? has(name + "/bytes") && has(name + "/offsets") : layout(name).files;
  } catch (const Error&) {  // no dataset, in another file, a shape beyond ours, damage
    return false;
  }
}

std::vector<H5Entry> H5Library::contents(std::uint64_t most) const {
  struct Level {
    Handle group;
    std::size_t path_bytes;          // of its path
    std::vector<std::string> names;  // in reverse, what is still to be looked at
  };
  std::vector<H5Entry> entries;
  std::set<std::string> seen;  // groups: a hard link may lead back to one above
  std::vector<Level> levels;
  std::string path = "/";
  const auto enter = [&](Handle group) {
    if (!seen.insert(identity(group)).second) return;
    std::vector<std::string> names = names_in(group);
    std::reverse(names.begin(), names.end());
    levels.push_back({std::move(group), path.size(), std::move(names)});
  };
  Handle root(H5Gopen2(file_, "/", H5P_DEFAULT), H5Gclose);
  if (root < 0) fail("/ cannot be read");
  enter(std::move(root));
  // From group to group: the library would walk each path from the root again.
  while (!levels.empty() && entries.size() < most) {
    Level& level = levels.back();
    if (level.names.empty()) {
      levels.pop_back();
      continue;
    }
    const std::string name = std::move(level.names.back());
    level.names.pop_back();
    path.resize(level.path_bytes);
    path += name;
    const auto info = link_at(level.group, name);
    if (info && info->type != H5L_TYPE_HARD) {
      entries.push_back({path, "link", "-> " + target_of(level.group, name, *info)});
      continue;
    }
    Handle object(H5Oopen(level.group, name.c_str(), H5P_DEFAULT), H5Oclose);
    const H5I_type_t type = object < 0 ? H5I_BADID : H5Iget_type(object);
    if (type == H5I_GROUP) {
      path += "/";
      enter(std::move(object));
    } else {
      entries.push_back(type == H5I_DATASET ? describe(object, path) : H5Entry{path, "other", ""});
    }
  }
  return entries;
}

}  // namespace vitral::data
