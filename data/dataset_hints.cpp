#include "data/dataset_hints.h"

#include <algorithm>
#include <map>
#include <vector>

#include "base/error.h"
#include "base/text.h"

namespace vitral::data {
namespace {

constexpr std::size_t most_entries = 4096;  // that are looked at

struct Entry {
  std::string name, type;
  Shape shape;
};

std::vector<Entry> entries_of(const H5File& file) {
  std::vector<Entry> entries;
  for (const auto& e : file.contents(most_entries)) {
    if (e.dtype == "link" || e.shape.empty()) continue;
    entries.push_back({e.name, file.type_text(e.name), file.shape(e.name)});
  }
  return entries;
}

bool is_float(const std::string& type) {
  return type == name(DType::float16) || type == name(DType::float32) || type == name(DType::float64);
}
bool is_uint8(const std::string& type) { return type == name(DType::uint8); }

// `standard`: /images or /embeddings, which are also what option and key are called.
std::string would_do(const H5File& file, const std::vector<std::string>& found, const std::string& standard) {
  std::string names;
  for (const auto& name : found) names += (names.empty() ? "" : ", ") + shown(name);
  const std::string option = standard.substr(1), first = shown(found.front());
  std::string text = fmt::format(", but {} would do; name {} with --{} {} (data.{} in a configuration)",
                                 names, found.size() == 1 ? "it" : "one of them", option, first, option);
  if (!file.has(standard)) text += fmt::format(", or in h5py: f['{}'] = h5py.SoftLink('{}')", option, first);
  return text;
}

// What was written in a loop, one dataset each: of the group that has most of it, the first.
template <class Fits>
const Entry* first_of_many(const std::vector<Entry>& entries, Fits&& fits) {
  std::map<std::string, std::size_t> counts;  // of groups
  const auto group_of = [](const Entry& e) { return e.name.substr(0, e.name.rfind('/')); };
  for (const Entry& e : entries)
    if (fits(e)) ++counts[group_of(e)];
  if (counts.empty()) return nullptr;
  const auto most = std::max_element(counts.begin(), counts.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  const auto first = std::find_if(entries.begin(), entries.end(),
                                  [&](const Entry& e) { return fits(e) && group_of(e) == most->first; });
  return &*first;
}

std::string stack_hint(const Entry& first, const std::string& what, const std::string& option,
                       const std::string& order) {
  return fmt::format(
      ", but a dataset for each {}, as {}; stack them{}, in h5py: f['stacked'] = numpy.stack([f[k][:] for k "
      "in "
      "names]), and name that with --{} stacked",
      what, shown(first.name), order, option);
}

}  // namespace

std::string absolute(const std::string& name) { return name.starts_with('/') ? name : "/" + name; }

std::string axes_hint(const Shape& shape) {
  if (shape.rank() != 4 || shape[3] == 3) return "";
  if (shape[1] == 3) return ", transpose it by (0, 2, 3, 1)";
  if (shape[0] == 3) return ", transpose it by (3, 2, 1, 0): MATLAB turns axes round";
  return "";
}

std::string images_hint(const H5File& file) {
  const auto entries = entries_of(file);
  std::vector<std::string> found;
  for (const Entry& e : entries)
    if ((is_uint8(e.type) && e.shape.rank() == 4 && e.shape[3] == 3) || file.holds_files(e.name))
      found.push_back(e.name);
  if (!found.empty()) return would_do(file, found, "/images");
  for (const Entry& e : entries)
    if (const std::string hint = axes_hint(e.shape); is_uint8(e.type) && !hint.empty())
      return fmt::format(", but {} is {}{}, and name it with --images", shown(e.name), e.shape, hint);
  const auto* const image = first_of_many(
      entries, [](const Entry& e) { return is_uint8(e.type) && e.shape.rank() == 3 && e.shape[2] == 3; });
  if (image) return stack_hint(*image, "image", "images", "");
  const auto* const bytes = first_of_many(entries, [](const Entry& e) {
    return (is_uint8(e.type) && e.shape.rank() == 1) ||
           (e.type.starts_with("opaque") && e.shape.rank() <= 1 && e.shape.numel() == 1);
  });
  if (bytes)
    return fmt::format(
        ", but a dataset for each file, as {}; write them out as files, in h5py: open(k + '.jpg', "
        "'wb').write(bytes(f[k][()])), and give their folder to vitral pack",
        shown(bytes->name));
  return "";
}

std::string embeddings_hint(const H5File& file, std::int64_t count) {
  const auto entries = entries_of(file);
  std::vector<std::string> found;
  for (const Entry& e : entries)
    if (is_float(e.type) && (e.shape.rank() == 2 || (e.shape.rank() == 3 && e.shape[1] == 1)) &&
        (count < 0 || e.shape[0] == count))
      found.push_back(e.name);
  if (!found.empty()) return would_do(file, found, "/embeddings");
  for (const Entry& e : entries)
    if (e.type == "a table" && e.shape.rank() == 1)
      return fmt::format(
          ", but {} is a table (pandas, PyTables); store its numbers as float32 [N,D], in h5py: "
          "f['features'] "
          "= frame.to_numpy('float32'), and name them with --embeddings features",
          shown(e.name));
  const auto* const row =
      first_of_many(entries, [](const Entry& e) { return is_float(e.type) && e.shape.rank() == 1; });
  if (row) return stack_hint(*row, "embedding", "embeddings", " in the order of the images");
  return "";
}

}  // namespace vitral::data
