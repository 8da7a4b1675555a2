#include "data/weights/torch_tensors.h"

#include <array>
#include <cstring>
#include <optional>

#include "base/text.h"

namespace vitral::data {
namespace {

using Kind = PickleValue::Kind;
using Described = std::vector<std::pair<std::string, const PickleValue*>>;

std::optional<DType> storage_dtype(const std::string& name) {
  static const std::unordered_map<std::string, DType> types{
      {"torch.FloatStorage", DType::float32}, {"torch.DoubleStorage", DType::float64},
      {"torch.HalfStorage", DType::float16},  {"torch.BFloat16Storage", DType::bfloat16},
      {"torch.ByteStorage", DType::uint8},    {"torch.LongStorage", DType::int64}};
  const auto found = types.find(name);
  if (found == types.end()) return {};
  return found->second;
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

Tensor gather(const Tensor& from, const Shape& shape, std::int64_t offset,
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
    const auto* tensor = torch_tensor(&value);
    const bool module = value.is(Kind::object) && value.state && value.state->is(Kind::dict);
    if (!tensor && !module) continue;
    if (prefix.size() + key.text.size() > longest)
      throw_error("{}: the name '{}' is longer than {} bytes; {}", path, shown(key.text), longest,
                  torch_advice);
    if (tensor)
      found.emplace_back(prefix + key.text, tensor);
    else
      collect(path, *value.state, prefix + key.text + ".", depth + 1, budget, found);
  }
}

}  // namespace

const PickleValue* torch_tensor(const PickleValue* value) {
  for (int depth = 0; value->is(Kind::object) && depth < 4; ++depth) {
    if (value->text == "torch._utils._rebuild_tensor_v2") return value;
    const bool parameter = value->text == "torch._utils._rebuild_parameter" ||
                           value->text == "torch._utils._rebuild_parameter_with_state";
    if (!parameter || value->items.empty()) return nullptr;
    value = value->items[0];
  }
  return nullptr;
}

bool has_other_integers(const PickleValue& call) {
  if (call.items.empty() || !call.items[0]->is(Kind::persistent)) return false;
  const auto& parts = call.items[0]->items[0]->items;
  return parts.size() >= 2 &&
         (parts[1]->text == "torch.IntStorage" || parts[1]->text == "torch.ShortStorage" ||
          parts[1]->text == "torch.CharStorage" || parts[1]->text == "torch.BoolStorage");
}

std::vector<std::pair<std::string, const PickleValue*>> find_torch_state(const std::string& path,
                                                                         const PickleValue& root) {
  int budget = 1'000'000;  // modules that contain each other would never end
  Described found;
  for (const char* key : {"model_state_dict", "state_dict", "model", "module", "state_dict_ema", "model_ema",
                          "ema_state_dict", "ema"}) {
    const auto* value = root.find(key);
    if (value && value->is(Kind::dict)) collect(path, *value, "", 0, budget, found);
    if (!found.empty()) return found;
  }
  const PickleValue* top = root.is(Kind::object) && root.state ? root.state : &root;
  if (top->is(Kind::dict)) collect(path, *top, "", 0, budget, found);
  if (found.empty())
    throw_error(
        "{}: holds no weights: no dict of tensors at the top or under model_state_dict, state_dict or model; "
        "save model.state_dict() with torch.save",
        path);
  return found;
}

Tensor TorchTensorReader::read(const std::string& name, const PickleValue& call) {
  const auto& arguments = call.items;
  const bool complete = arguments.size() >= 4 && arguments[0]->is(Kind::persistent) &&
                        arguments[1]->is(Kind::integer) && arguments[1]->integer >= 0;
  const auto sizes = complete ? integers(*arguments[2]) : std::nullopt;
  const auto strides = complete ? integers(*arguments[3]) : std::nullopt;
  if (!sizes || !strides || sizes->size() != strides->size())
    throw_error("{}: tensor '{}' is not described as torch.save does it; {}", archive_.path(), shown(name),
                torch_advice);
  if (sizes->size() > static_cast<std::size_t>(Shape::max_rank))
    throw_error("{}: tensor '{}' has {} dimensions, at most {} are supported", archive_.path(), shown(name),
                sizes->size(), Shape::max_rank);
  const Tensor storage = load(name, *arguments[0]->items[0]);
  return view(name, storage, arguments[1]->integer, *sizes, *strides);
}

// A storage's identifier is ("storage", torch.FloatStorage, "0", "cuda:0", number of elements).
Tensor TorchTensorReader::load(const std::string& name, const PickleValue& identifier) {
  const auto& parts = identifier.items;
  const bool complete = identifier.is(Kind::tuple) && parts.size() >= 5 && parts[0]->text == "storage" &&
                        parts[1]->is(Kind::global) && parts[2]->is(Kind::text) && parts[4]->is(Kind::integer);
  if (!complete)
    throw_error("{}: tensor '{}': its storage is not described as torch.save does it; {}", archive_.path(),
                shown(name), torch_advice);
  const auto dtype = storage_dtype(parts[1]->text);
  if (!dtype)
    throw_error(
        "{}: tensor '{}': {} is not supported; convert it to float32, float64, float16, bfloat16, uint8 or "
        "int64",
        archive_.path(), shown(name), shown(parts[1]->text));
  const std::string& key = parts[2]->text;
  if (const auto found = storages_.find(key); found != storages_.end()) {
    if (found->second.dtype() != *dtype)
      throw_error("{}: tensor '{}': storage {} has two types; {}", archive_.path(), shown(name), shown(key),
                  torch_advice);
    return found->second;
  }
  const auto entry = archive_.find("data/" + key);
  if (!entry)
    throw_error("{}: tensor '{}': storage data/{} is missing; {}", archive_.path(), shown(name), shown(key),
                torch_advice);
  const std::uint64_t bytes = archive_.size(*entry);
  if (bytes % size_of(*dtype) != 0 || static_cast<std::int64_t>(bytes / size_of(*dtype)) != parts[4]->integer)
    throw_error("{}: tensor '{}': storage data/{} has {} bytes, expected {} elements of {}; {}",
                archive_.path(), shown(name), shown(key), bytes, parts[4]->integer, *dtype, torch_advice);
  account(name, bytes);
  Tensor elements({parts[4]->integer}, *dtype);
  archive_.read(*entry, elements.raw(), bytes);
  return storages_[key] = elements;
}

Tensor TorchTensorReader::view(const std::string& name, const Tensor& storage, std::int64_t offset,
                               const std::vector<std::int64_t>& sizes,
                               const std::vector<std::int64_t>& strides) {
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
  const std::size_t element = size_of(storage.dtype());
  overflow = overflow || __builtin_mul_overflow(count, static_cast<std::int64_t>(element), &bytes);
  if (overflow || (!empty && last >= storage.numel()))
    throw_error(
        "{}: tensor '{}': sizes [{}] with strides [{}] from {} reach outside of its storage of {} "
        "elements; {}",
        archive_.path(), shown(name), fmt::join(sizes, ", "), fmt::join(strides, ", "), offset,
        storage.numel(), torch_advice);
  const Shape shape{std::span<const std::int64_t>(sizes)};
  if (empty) return Tensor(shape, storage.dtype());
  if (contiguous) return storage.rows(offset, offset + count).reshape(shape);
  account(name, static_cast<std::uint64_t>(bytes));
  return gather(storage, shape, offset, strides);
}

// Copies may repeat elements (stride 0) and entries of the archive may share bytes, so a small file could ask
// for any amount.
void TorchTensorReader::account(const std::string& name, std::uint64_t bytes) {
  total_ += bytes;
  if (total_ > 2 * archive_.file_bytes())
    throw_error(
        "{}: tensor '{}': the tensors need more than twice the memory of the file; save contiguous copies of "
        "them",
        archive_.path(), shown(name));
}

}  // namespace vitral::data
