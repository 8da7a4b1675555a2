#include "data/hdf5/ledger.h"

#include <algorithm>
#include <cstring>

#include "base/files/digest.h"
#include "base/files/input_file.h"
#include "data/hdf5/heap_rows.h"
#include "data/hdf5/storage_index.h"

namespace vitral::data {
namespace {

constexpr std::size_t block_bytes = 4 << 20;  // read at once

// With the zero behind each, so that two texts are not one; the library stores no more than up to there.
void add_texts(Hash& hash, const std::vector<std::string>& texts) {
  for (const auto& text : texts) hash.add(text.c_str(), std::strlen(text.c_str()) + 1);
}

}  // namespace

void Ledger::add(const std::string& dataset, const void* rows, std::size_t bytes) {
  Dataset& d = datasets_[dataset];
  d.hash.add(rows, bytes);
  d.bytes += bytes;
}

void Ledger::add(const std::string& dataset, const std::vector<std::string>& texts) {
  Dataset& d = datasets_[dataset];
  d.text = true;
  add_texts(d.hash, texts);
}

void Ledger::set_attribute(const std::string& object, const std::string& name, const std::string& value) {
  attributes_[{object, name}] = value.substr(0, value.find('\0'));
}

void Ledger::remove_attribute(const std::string& object, const std::string& name) {
  attributes_.erase({object, name});
}

void Ledger::remove(const std::string& name) {
  const auto within = [&](const std::string& other) {
    return other == name || other.starts_with(name + "/");
  };
  std::erase_if(datasets_, [&](const auto& d) { return within(d.first); });
  std::erase_if(attributes_, [&](const auto& a) { return within(a.first.first); });
}

void Ledger::rename(const std::string& from, const std::string& to) {
  const auto move_in = [&](std::string& name) {
    if (name == from || name.starts_with(from + "/")) name.replace(0, from.size(), to);
  };
  std::map<std::string, Dataset> datasets;
  for (auto& [name, written] : datasets_) {
    std::string now = name;
    move_in(now);
    datasets.emplace(now, std::move(written));
  }
  datasets_ = std::move(datasets);
  auto attributes = std::move(attributes_);
  attributes_.clear();
  for (auto& [key, value] : attributes) {
    auto now = key;
    move_in(now.first);
    attributes_[now] = std::move(value);
  }
}

bool Ledger::holds(const H5File& file, const std::string& name, const Dataset& written) {
  const InputFile bytes(file.path());
  Hash hash;
  if (written.text) {
    add_texts(hash, read_text_rows(file, bytes, name));
    return hash.value() == written.hash.value();
  }
  const H5Layout layout = file.layout(name);
  if (layout.shape.rank() == 0) {
    const Tensor value = file.read(name);
    return hash_of({static_cast<const char*>(value.raw()), static_cast<std::size_t>(value.bytes())}) ==
           written.hash.value();
  }
  const StorageIndex index = index_storage(file, bytes, name, layout);
  if (!index.obstacle.empty() || static_cast<std::uint64_t>(index.rows) * index.row_bytes != written.bytes)
    return false;
  if (written.bytes == 0) return true;
  const auto block =
      std::clamp(static_cast<std::int64_t>(block_bytes / index.row_bytes), std::int64_t{1}, index.rows);
  std::vector<char> rows(static_cast<std::size_t>(block) * index.row_bytes);
  for (std::int64_t i = 0; i < index.rows; i += block) {
    const std::int64_t n = std::min(block, index.rows - i);
    if (!index.read(bytes, i, n, rows.data())) return false;
    hash.add(rows.data(), static_cast<std::size_t>(n) * index.row_bytes);
  }
  return hash.value() == written.hash.value();
}

void Ledger::check(const H5File& file) const {
  const auto require = [&](const std::string& what, auto&& holds_it) {
    bool held = false;
    try {
      held = holds_it();
    } catch (const ReadError&) {
      throw;
    } catch (const Error&) {  // whatever a reader has against it
    }
    if (!held) not_what_was_written(file.path(), what);
  };
  for (const auto& [name, written] : datasets_)
    require(name, [&, &name = name, &written = written] { return holds(file, name, written); });
  for (const auto& [key, value] : attributes_)
    require("attribute " + key.second,
            [&, &key = key, &value = value] { return file.attribute(key.second, key.first) == value; });
}

}  // namespace vitral::data
