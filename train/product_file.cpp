#include "train/product_file.h"

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <set>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/file.h>

#include "base/error.h"
#include "base/files/atomic.h"
#include "base/files/descriptor.h"
#include "base/files/input_file.h"
#include "base/files/text_file.h"
#include "base/hash.h"
#include "base/json_text.h"

namespace vitral::train {
namespace {

using json = nlohmann::ordered_json;

constexpr std::uint64_t longest_file = 1 << 26;
constexpr DType dtypes[]{DType::float32, DType::float64, DType::bfloat16};
constexpr std::pair<Epilogue, const char*> epilogues[]{
    {Epilogue::none, "none"},
    {Epilogue::bias, "bias"},
    {Epilogue::sum_of_a, "sum_of_a"},
    {Epilogue::quick_gelu, "quick_gelu"},
    {Epilogue::quick_gelu_gradient, "quick_gelu_gradient"}};

/// One line.
struct Line {
  std::string multiplier;
  ProductChoice choice;
  std::string means;
};

/// A member that is not what it must be.
struct Wrong {
  std::string text;
};

/// Writes the members of a line.
class Writer {
 public:
  void member(const char* name, const std::string& value) { out_[name] = value; }
  void member(const char* name, bool value) { out_[name] = value; }
  void member(const char* name, double value) { out_[name] = value; }
  void number(const char* name, std::int64_t value, std::int64_t) { out_[name] = value; }
  void member(const char* name, DType value) { out_[name] = vitral::name(value); }
  void member(const char* name, Epilogue value) {
    for (const auto& [epilogue, text] : epilogues)
      if (epilogue == value) out_[name] = text;
  }
  void member(const char* name, const std::array<std::int64_t, 4>& value) { out_[name] = value; }
  const json& out() const { return out_; }

 private:
  json out_;
};

/// Reads them, all and nothing else.
class Reader {
 public:
  explicit Reader(const json& from) : from_(from) {}

  void member(const char* name, std::string& value) { value = string(name); }
  void member(const char* name, bool& value) {
    if (!at(name).is_boolean()) throw Wrong{fmt::format("\"{}\" must be true or false", name)};
    value = at(name);
  }
  void member(const char* name, double& value) {
    if (!at(name).is_number() || at(name) < 0.0)
      throw Wrong{fmt::format("\"{}\" must be a number >= 0", name)};
    value = at(name);
  }
  void number(const char* name, std::int64_t& value, std::int64_t least) {
    value = number(at(name), name, least);
  }
  void member(const char* name, DType& value) {
    const std::string text = string(name);
    for (const DType dtype : dtypes)
      if (text == vitral::name(dtype)) {
        value = dtype;
        return;
      }
    throw Wrong{fmt::format("\"{}\" must be float32, float64 or bfloat16", name)};
  }
  void member(const char* name, Epilogue& value) {
    const std::string text = string(name);
    for (const auto& [epilogue, known] : epilogues)
      if (text == known) {
        value = epilogue;
        return;
      }
    throw Wrong{fmt::format("\"{}\" must be none, bias, sum_of_a, quick_gelu or quick_gelu_gradient", name)};
  }
  void member(const char* name, std::array<std::int64_t, 4>& value) {
    const json& list = at(name);
    if (!list.is_array() || list.size() != value.size())
      throw Wrong{fmt::format("\"{}\" must be a list of {} numbers", name, value.size())};
    for (std::size_t i = 0; i < value.size(); ++i) value[i] = number(list[i], name, 0);
  }
  void finish() const {
    for (const auto& [name, value] : from_.items())
      if (!known_.contains(name)) throw Wrong{fmt::format("\"{}\" is no member of a product", name)};
  }

 private:
  const json& at(const char* name) {
    known_.insert(name);
    const auto it = from_.find(name);
    if (it == from_.end()) throw Wrong{fmt::format("\"{}\" is missing", name)};
    return *it;
  }
  std::string string(const char* name) {
    if (!at(name).is_string()) throw Wrong{fmt::format("\"{}\" must be a text", name)};
    return at(name);
  }
  static std::int64_t number(const json& value, const char* name, std::int64_t least) {
    if (!value.is_number_integer() || value < least || value > std::int64_t{1} << 40)
      throw Wrong{fmt::format("\"{}\" must be an integer >= {}", name, least)};
    return value;
  }

  const json& from_;
  std::set<std::string> known_;
};

/// The members of a line, for both: each is named once.
template <class Visitor, class Key, class Algorithm>
void visit(Visitor& v, Key& key, Algorithm& a) {
  auto& p = key.product;
  v.number("m", p.m, 1);
  v.number("n", p.n, 1);
  v.number("k", p.k, 1);
  v.number("batch", p.batch, 1);
  v.member("transpose_a", p.transpose_a);
  v.member("transpose_b", p.transpose_b);
  v.member("shared_b", p.shared_b);
  v.member("accumulate", p.accumulate);
  v.member("epilogue", p.epilogue);
  v.member("inputs", key.inputs);
  v.member("output", key.output);
  v.member("tf32", key.tf32);
  v.member("alignment", key.alignment);
  v.number("id", a.id, ProductAlgorithm::cudnn);
  v.number("tile", a.tile, 0);
  v.number("stages", a.stages, 0);
  v.number("split_k", a.split_k, 1);
  v.number("reduction", a.reduction, 0);
  v.number("swizzle", a.swizzle, 0);
  v.number("custom", a.custom, 0);
  v.number("inner_shape", a.inner_shape, 0);
  v.number("cluster_shape", a.cluster_shape, 0);
}

std::string line_of(const std::string& multiplier, const ProductChoice& choice) {
  Writer writer;
  writer.member("multiplier", multiplier);
  visit(writer, choice.key, choice.algorithm);
  writer.member("means", describe(choice.algorithm));
  const auto rounded = [](double microseconds) { return std::round(100 * microseconds) / 100; };
  writer.member("microseconds", rounded(choice.microseconds));
  writer.member("first_microseconds", rounded(choice.first_microseconds));
  return json_text(writer.out());
}

Line read_line(const std::string& text) {
  const json object = json::parse(text, nullptr, false);
  if (!object.is_object()) throw Wrong{"is no JSON object"};
  Line line;
  Reader reader(object);
  reader.member("multiplier", line.multiplier);
  visit(reader, line.choice.key, line.choice.algorithm);
  reader.member("means", line.means);
  reader.member("microseconds", line.choice.microseconds);
  reader.member("first_microseconds", line.choice.first_microseconds);
  reader.finish();
  return line;
}

/// Of several processes that add to one file each sees what the others have written. A file system without
/// locks goes on without.
class FolderLock {
 public:
  explicit FolderLock(const std::string& path)
      : folder_(::open(folder_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    if (folder_ >= 0) ::flock(folder_, LOCK_EX);
  }

 private:
  static std::string folder_of(const std::string& path) {
    const std::string folder = std::filesystem::path(path).parent_path();
    return folder.empty() ? "." : folder;
  }
  Descriptor folder_;
};

}  // namespace

std::string read_product_file(const std::string& path) {
  return std::filesystem::exists(file_status(path)) ? read_text(path, longest_file) : "";
}

ProductFile::ProductFile(std::string path, const std::string& text, std::string multiplier, Missing missing)
    : path_(std::move(path)), multiplier_(std::move(multiplier)), missing_(missing) {
  read(text);
}

void ProductFile::read(const std::string& text) {
  std::map<ProductKey, Kept> kept;
  std::vector<std::string> own;
  std::set<std::pair<std::string, ProductKey>> all;
  std::int64_t number = 0, others = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string one = text.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    try {
      const Line line = read_line(one);
      const auto& [key, algorithm, time, first_time] = line.choice;
      if (!all.emplace(line.multiplier, key).second) throw Wrong{"is the second line of its product"};
      if (line.multiplier != multiplier_) {
        ++others;
        continue;
      }
      kept[key] = {algorithm, number};
      Writer choice;
      visit(choice, key, algorithm);
      own.push_back(json_text(choice.out()));
    } catch (const Wrong& wrong) {
      throw_error("{}:{}: {}; remove the line, and its product is measured again", path_, number, wrong.text);
    }
  }
  text_ = text;
  if (!text_.empty() && text_.back() != '\n') text_ += '\n';
  kept_ = std::move(kept);
  own_ = std::move(own);
  others_ = others;
}

std::string ProductFile::where(const ProductKey& key) const {
  const std::lock_guard lock(mutex_);
  const auto it = kept_.find(key);
  return it == kept_.end() ? path_ : fmt::format("{}:{}", path_, it->second.line);
}

std::optional<ProductAlgorithm> ProductFile::find(const ProductKey& key) {
  const std::lock_guard lock(mutex_);
  const auto it = kept_.find(key);
  if (it != kept_.end()) return it->second.algorithm;
  if (missing_ == Missing::tell && !told_ && !own_.empty()) {
    std::fprintf(stderr,
                 "vitral: train.products: %s has no line for %s, and several processes measure nothing; "
                 "it is made as without train.products\n",
                 path_.c_str(), describe(key).c_str());
    told_ = true;
  }
  return std::nullopt;
}

ProductAlgorithm ProductFile::add(const ProductChoice& choice) {
  const std::lock_guard lock(mutex_);
  const FolderLock folder(path_);
  read(read_product_file(path_));
  if (const auto it = kept_.find(choice.key); it != kept_.end()) return it->second.algorithm;
  const std::string text = text_ + line_of(multiplier_, choice) + "\n";
  write_file_atomic(path_, text);
  read(text);
  return choice.algorithm;
}

std::int64_t ProductFile::own_lines() const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::int64_t>(own_.size());
}
std::int64_t ProductFile::other_lines() const {
  const std::lock_guard lock(mutex_);
  return others_;
}

std::string ProductFile::fingerprint(std::size_t lines) const {
  std::string all;
  for (std::size_t i = 0; i < lines; ++i) all += own_[i] + "\n";
  return fmt::format("{} {:016x}", lines, hash_of(all));
}

std::string ProductFile::fingerprint() const {
  const std::lock_guard lock(mutex_);
  return fingerprint(own_.size());
}

bool ProductFile::agrees_with(const std::string& then) const {
  const std::lock_guard lock(mutex_);
  std::size_t lines = 0;
  return std::sscanf(then.c_str(), "%zu", &lines) == 1 && lines <= own_.size() && fingerprint(lines) == then;
}

std::string changed_choices(const ProductFile* now, const std::string& then, const std::string& where) {
  if (now ? now->agrees_with(then) : then.empty()) return "";
  return fmt::format("{}: was trained {}: the last bits will differ", where,
                     then.empty() ? "without train.products"
                     : now        ? "with other lines of train.products than there are now"
                                  : "with train.products, and this configuration has none");
}

}  // namespace vitral::train
