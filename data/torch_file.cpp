#include "data/torch_file.h"

#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include <zip.h>

#include "data/input_file.h"
#include "data/pickle.h"

namespace vitral::data {
namespace {

using Kind = PickleValue::Kind;

constexpr std::uint64_t max_pickle_bytes = 64 << 20;
constexpr const char* advice = "copy it again, or save it again with torch.save";

// The archive: entries are stored without compression, so none is larger than the file.
class Archive {
 public:
  explicit Archive(const std::string& path) : path_(path), file_bytes_(InputFile(path).size()) {
    int code = 0;
    zip_.reset(zip_open(path.c_str(), ZIP_RDONLY, &code));
    if (!zip_) {
      zip_error_t error;
      zip_error_init_with_code(&error, code);
      const std::string reason = zip_error_strerror(&error);
      zip_error_fini(&error);
      throw_error("{}: cannot be read as a zip archive: {}; it is truncated or damaged, {}", path_, reason,
                  advice);
    }
    find_root();
  }

  std::uint64_t file_bytes() const { return file_bytes_; }
  std::optional<zip_uint64_t> find(const std::string& name) const {
    const auto index = zip_name_locate(zip_.get(), (root_ + name).c_str(), ZIP_FL_ENC_RAW);
    if (index < 0) return {};
    return static_cast<zip_uint64_t>(index);
  }
  std::uint64_t size(zip_uint64_t index) const {
    zip_stat_t status;
    const zip_uint64_t needed = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_METHOD;
    if (zip_stat_index(zip_.get(), index, 0, &status) != 0 || (status.valid & needed) != needed)
      throw_error("{}: entry {} cannot be read; {}", path_, index, advice);
    if (status.comp_method != ZIP_CM_STORE)
      throw_error("{}: entry {} is compressed, which torch.save never does; save it again with torch.save",
                  path_, shown(status.name));
    if (status.size > file_bytes_)
      throw_error("{}: entry {} claims {} bytes in a file of {}; it is damaged, {}", path_,
                  shown(status.name), status.size, file_bytes_, advice);
    return status.size;
  }
  // Fills `to` with the whole entry; its checksum is checked.
  void read(zip_uint64_t index, void* to, std::uint64_t bytes) const {
    const std::unique_ptr<zip_file_t, decltype(&zip_fclose)> entry(zip_fopen_index(zip_.get(), index, 0),
                                                                   zip_fclose);
    auto* next = static_cast<char*>(to);
    bool good = entry != nullptr;
    while (good && bytes > 0) {
      const auto n = zip_fread(entry.get(), next, bytes);
      good = n > 0;
      if (!good) break;
      next += n;
      bytes -= static_cast<std::uint64_t>(n);
    }
    char end = 0;
    // libzip compares the checksum where the entry ends.
    if (good && zip_fread(entry.get(), &end, 1) == 0) return;
    const char* name = zip_get_name(zip_.get(), index, ZIP_FL_ENC_RAW);
    throw_error("{}: entry {} is truncated or damaged ({}); {}", path_, shown(name ? name : "without a name"),
                entry ? zip_error_strerror(zip_file_get_error(entry.get())) : zip_strerror(zip_.get()),
                advice);
  }
  std::string text(zip_uint64_t index) const {
    const std::uint64_t size_in_file = size(index);
    if (size_in_file > max_pickle_bytes)
      throw_error("{}: a pickle of {} bytes, at most {} are read; save only the state dict", path_,
                  size_in_file, max_pickle_bytes);
    std::string bytes(size_in_file, '\0');
    read(index, bytes.data(), bytes.size());
    return bytes;
  }

 private:
  // Everything lies in one folder, named after the file when it was saved.
  void find_root() {
    for (zip_int64_t i = 0; i < zip_get_num_entries(zip_.get(), 0); ++i) {
      const char* raw = zip_get_name(zip_.get(), static_cast<zip_uint64_t>(i), ZIP_FL_ENC_RAW);
      const std::string_view name = raw ? raw : "";
      if (name.ends_with("/data.pkl") && name.find('/') == name.size() - 9) {
        root_ = name.substr(0, name.size() - 8);
        return;
      }
    }
    throw_error("{}: a zip archive without data.pkl, so not a file of torch.save; give a .pt file", path_);
  }

  std::string path_;
  std::uint64_t file_bytes_;
  std::unique_ptr<zip_t, decltype(&zip_discard)> zip_{nullptr, zip_discard};
  std::string root_;  // "checkpoint/"
};

std::optional<DType> storage_dtype(const std::string& name) {
  static const std::unordered_map<std::string, DType> types{
      {"torch.FloatStorage", DType::float32}, {"torch.DoubleStorage", DType::float64},
      {"torch.HalfStorage", DType::float16},  {"torch.BFloat16Storage", DType::bfloat16},
      {"torch.ByteStorage", DType::uint8},    {"torch.LongStorage", DType::int64}};
  const auto found = types.find(name);
  if (found == types.end()) return {};
  return found->second;
}

// The description of a tensor, or nullptr. A parameter is its tensor.
const PickleValue* tensor_of(const PickleValue* value) {
  for (int depth = 0; value->is(Kind::object) && depth < 4; ++depth) {
    if (value->text == "torch._utils._rebuild_tensor_v2") return value;
    const bool parameter = value->text == "torch._utils._rebuild_parameter" ||
                           value->text == "torch._utils._rebuild_parameter_with_state";
    if (!parameter || value->items.empty()) return nullptr;
    value = value->items[0];
  }
  return nullptr;
}

std::optional<std::vector<std::int64_t>> integers(const PickleValue& value) {
  if (!value.is(Kind::tuple) && !value.is(Kind::list)) return {};
  std::vector<std::int64_t> numbers;
  for (const auto* item : value.items) {
    if (!item->is(Kind::integer) || item->integer < 0) return {};
    numbers.push_back(item->integer);
  }
  return numbers;
}

class TensorReader {
 public:
  TensorReader(const std::string& path, const Archive& archive) : path_(path), archive_(archive) {}

  /// The tensor that torch._utils._rebuild_tensor_v2(storage, offset, size, stride, ...) would have made.
  Tensor read(const std::string& name, const PickleValue& call) {
    const auto& arguments = call.items;
    const bool complete = arguments.size() >= 4 && arguments[0]->is(Kind::persistent) &&
                          arguments[1]->is(Kind::integer) && arguments[1]->integer >= 0;
    const auto sizes = complete ? integers(*arguments[2]) : std::nullopt;
    const auto strides = complete ? integers(*arguments[3]) : std::nullopt;
    if (!sizes || !strides || sizes->size() != strides->size())
      throw_error("{}: tensor '{}' is not described as torch.save does it; {}", path_, shown(name), advice);
    if (sizes->size() > static_cast<std::size_t>(Shape::max_rank))
      throw_error("{}: tensor '{}' has {} dimensions, at most {} are supported", path_, shown(name),
                  sizes->size(), Shape::max_rank);
    Stored& storage = load(name, *arguments[0]->items[0]);
    return view(name, storage, arguments[1]->integer, *sizes, *strides);
  }

 private:
  struct Stored {
    Tensor elements;     // [n]
    bool given = false;  // a tensor shares this memory already
  };

  // A storage's identifier is ("storage", torch.FloatStorage, "0", "cuda:0", number of elements).
  Stored& load(const std::string& name, const PickleValue& identifier) {
    const auto& parts = identifier.items;
    const bool complete = identifier.is(Kind::tuple) && parts.size() >= 5 && parts[0]->text == "storage" &&
                          parts[1]->is(Kind::global) && parts[2]->is(Kind::text) &&
                          parts[4]->is(Kind::integer);
    if (!complete)
      throw_error("{}: tensor '{}': its storage is not described as torch.save does it; {}", path_,
                  shown(name), advice);
    const auto dtype = storage_dtype(parts[1]->text);
    if (!dtype)
      throw_error(
          "{}: tensor '{}': {} is not supported; convert it to float32, float64, float16, bfloat16, uint8 or "
          "int64",
          path_, shown(name), shown(parts[1]->text));
    const std::string& key = parts[2]->text;
    if (const auto found = storages_.find(key); found != storages_.end()) {
      if (found->second.elements.dtype() != *dtype)
        throw_error("{}: tensor '{}': storage {} has two types; {}", path_, shown(name), shown(key), advice);
      return found->second;
    }
    const auto entry = archive_.find("data/" + key);
    if (!entry)
      throw_error("{}: tensor '{}': storage data/{} is missing; {}", path_, shown(name), shown(key), advice);
    const std::uint64_t bytes = archive_.size(*entry);
    if (bytes % size_of(*dtype) != 0 ||
        static_cast<std::int64_t>(bytes / size_of(*dtype)) != parts[4]->integer)
      throw_error("{}: tensor '{}': storage data/{} has {} bytes, expected {} elements of {}; {}", path_,
                  shown(name), shown(key), bytes, parts[4]->integer, *dtype, advice);
    account(name, bytes);
    Tensor elements({parts[4]->integer}, *dtype);
    archive_.read(*entry, elements.raw(), bytes);
    return storages_[key] = Stored{elements};
  }

  Tensor view(const std::string& name, Stored& storage, std::int64_t offset,
              const std::vector<std::int64_t>& sizes, const std::vector<std::int64_t>& strides) {
    std::int64_t last = offset, count = 1, bytes = 0;
    bool overflow = false, empty = false, contiguous = true;
    for (std::size_t i = sizes.size(); i > 0; --i) {
      const std::int64_t size = sizes[i - 1], stride = strides[i - 1];
      if (size == 0) {
        empty = true;
        continue;
      }
      std::int64_t reach = 0;
      contiguous = contiguous && (size == 1 || stride == count);
      overflow = overflow || __builtin_mul_overflow(size - 1, stride, &reach) ||
                 __builtin_add_overflow(last, reach, &last) || __builtin_mul_overflow(count, size, &count);
    }
    const std::size_t element = size_of(storage.elements.dtype());
    overflow = overflow || __builtin_mul_overflow(count, static_cast<std::int64_t>(element), &bytes);
    if (overflow || (!empty && last >= storage.elements.numel()))
      throw_error(
          "{}: tensor '{}': sizes [{}] with strides [{}] from {} reach outside of its storage of {} "
          "elements; {}",
          path_, shown(name), fmt::join(sizes, ", "), fmt::join(strides, ", "), offset,
          storage.elements.numel(), advice);
    const Shape shape{std::span<const std::int64_t>(sizes)};
    if (empty) return Tensor(shape, storage.elements.dtype());
    if (contiguous && count == storage.elements.numel() && !storage.given) {
      storage.given = true;
      return storage.elements.reshape(shape);
    }
    account(name, static_cast<std::uint64_t>(bytes));
    if (contiguous) return storage.elements.rows(offset, offset + count).reshape(shape).clone();
    return gather(storage.elements, shape, offset, strides);
  }

  static Tensor gather(const Tensor& from, const Shape& shape, std::int64_t offset,
                       const std::vector<std::int64_t>& strides) {
    Tensor to(shape, from.dtype());
    const std::size_t element = size_of(from.dtype());
    const auto* source = static_cast<const char*>(from.raw());
    auto* target = static_cast<char*>(to.raw());
    std::array<std::int64_t, Shape::max_rank> index{};
    for (std::int64_t n = shape.numel(); n > 0; --n, target += element) {
      std::memcpy(target, source + static_cast<std::size_t>(offset) * element, element);
      for (int axis = shape.rank() - 1; axis >= 0; --axis) {
        const auto a = static_cast<std::size_t>(axis);
        offset += strides[a];
        if (++index[a] < shape[axis]) break;
        offset -= strides[a] * shape[axis];
        index[a] = 0;
      }
    }
    return to;
  }

  // Tensors may share a storage or repeat its elements (stride 0), so a small file could ask for any amount.
  void account(const std::string& name, std::uint64_t bytes) {
    total_ += bytes;
    if (total_ > 4 * archive_.file_bytes())
      throw_error(
          "{}: tensor '{}': the tensors need more than 4 times the memory of the file; save contiguous "
          "copies "
          "of them",
          path_, shown(name));
  }

  std::string path_;
  const Archive& archive_;
  std::unordered_map<std::string, Stored> storages_;
  std::uint64_t total_ = 0;
};

using Described = std::vector<std::pair<std::string, const PickleValue*>>;

// Names and descriptions of the tensors in a dict, and of those in the modules below it: a TorchScript
// archive keeps each module as an object whose attributes are its tensors and modules.
void collect(const std::string& path, const PickleValue& dict, const std::string& prefix, int depth,
             int& budget, Described& found) {
  constexpr int deepest = 64;
  constexpr std::size_t longest = 1000;
  if (depth > deepest) return;
  for (std::size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    const PickleValue &key = *dict.items[i], &value = *dict.items[i + 1];
    if (!key.is(Kind::text) || --budget < 0) continue;
    const auto* tensor = tensor_of(&value);
    const bool module = value.is(Kind::object) && value.state && value.state->is(Kind::dict);
    if (!tensor && !module) continue;
    if (prefix.size() + key.text.size() > longest)
      throw_error("{}: the name '{}' is longer than {} bytes; {}", path, shown(key.text), longest, advice);
    if (tensor)
      found.emplace_back(prefix + key.text, tensor);
    else
      collect(path, *value.state, prefix + key.text + ".", depth + 1, budget, found);
  }
}

Described find_state(const std::string& path, const PickleValue& root) {
  int budget = 1'000'000;  // modules that contain each other would never end
  Described found;
  for (const char* key : {"model_state_dict", "state_dict", "model"}) {
    const auto* value = root.find(key);
    if (value && value->is(Kind::dict)) collect(path, *value, "", 0, budget, found);
    if (!found.empty()) return found;
  }
  const PickleValue* top = root.is(Kind::object) && root.state ? root.state : &root;
  if (top->is(Kind::dict)) collect(path, *top, "", 0, budget, found);
  if (found.empty())
    throw_error(
        "{}: holds no weights: no dict of tensors at the top or under model_state_dict, state_dict or model; "
        "save "
        "model.state_dict() with torch.save",
        path);
  return found;
}

std::optional<std::string> as_text(const PickleValue& value) {
  switch (value.kind) {
    case Kind::boolean:
      return value.integer ? "true" : "false";
    case Kind::integer:
      return std::to_string(value.integer);
    case Kind::real:
      return fmt::format("{}", value.real);
    case Kind::text:
      return value.text;
    default:
      return {};
  }
}

}  // namespace

WeightsFile read_torch_file(const std::string& path) {
  if (!looks_like_torch_file(path))
    throw_error("{}: not a zip archive as torch.save writes it since PyTorch 1.6; {}", path, advice);
  const Archive archive(path);
  if (const auto order = archive.find("byteorder"); order && archive.text(*order) != "little")
    throw_error("{}: saved on a big-endian machine; save it again on a little-endian one", path);
  const Pickle pickle(archive.text(*archive.find("data.pkl")), path);
  const PickleValue& root = pickle.root();

  WeightsFile weights;
  TensorReader reader(path, archive);
  std::unordered_set<std::string> names;
  for (const auto& [name, tensor] : find_state(path, root)) {
    if (!names.insert(name).second)
      throw_error("{}: tensor '{}' is there twice; {}", path, shown(name), advice);
    weights.tensors.emplace_back(name, reader.read(name, *tensor));
  }
  for (std::size_t i = 0; i + 1 < root.items.size() && root.is(Kind::dict); i += 2)
    if (const auto text = as_text(*root.items[i + 1]); text && root.items[i]->is(Kind::text))
      weights.metadata[root.items[i]->text] = *text;
  return weights;
}

bool looks_like_torch_file(const std::string& path) {
  const InputFile file(path);
  std::array<char, 4> start{};
  if (file.size() < start.size()) return false;
  file.read(0, start.data(), start.size());
  return std::string_view(start.data(), start.size()) == "PK\x03\x04";
}

}  // namespace vitral::data
