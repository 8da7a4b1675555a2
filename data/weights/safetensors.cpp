#include "data/weights/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <optional>
#include <unordered_set>

#include "base/files/input_file.h"
#include "base/text.h"
#include "data/weights/safetensors_header.h"

namespace vitral::data {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian and read as they lie");

struct TypeName {
  const char* text;
  DType dtype;
};
constexpr std::array<TypeName, 7> type_names{{{"F32", DType::float32},
                                              {"F64", DType::float64},
                                              {"F16", DType::float16},
                                              {"BF16", DType::bfloat16},
                                              {"U8", DType::uint8},
                                              {"I64", DType::int64},
                                              {"I8", DType::int8}}};

struct OtherType {
  const char* text;
  std::size_t bytes;
};
constexpr std::array<OtherType, 7> other_integers{
    {{"BOOL", 1}, {"I8", 1}, {"I16", 2}, {"U16", 2}, {"I32", 4}, {"U32", 4}, {"U64", 8}}};

const char* type_name(DType dtype) {
  return std::find_if(type_names.begin(), type_names.end(), [&](auto& t) { return t.dtype == dtype; })->text;
}

// Bytes of a shape, or nothing where they cannot be counted. Zeros do not hide an overflow: Shape multiplies
// the dimensions in any order.
std::optional<std::uint64_t> bytes_of(const std::vector<std::uint64_t>& shape, std::size_t element) {
  std::uint64_t bytes = element;
  bool empty = false;
  for (const std::uint64_t size : shape) {
    if (size == 0)
      empty = true;
    else if (__builtin_mul_overflow(bytes, size, &bytes))
      return {};
  }
  if (bytes > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return {};
  return empty ? 0 : bytes;
}

// Checks one entry against the data's size. Nothing for one that is left out.
std::optional<DType> check_entry(const std::string& path, const TensorEntry& entry, std::uint64_t data_bytes,
                                 OtherTypes other_types) {
  const std::string name = shown(entry.name);
  const auto called = [&](const auto& t) { return t.text == entry.dtype; };
  const auto type = std::find_if(type_names.begin(), type_names.end(), called);
  const auto other = std::find_if(other_integers.begin(), other_integers.end(), called);
  const bool kept =
      other_types == OtherTypes::refuse || other == other_integers.end() || entry.name.ends_with("weight");
  const bool known = type != type_names.end() && kept;
  if (!known && kept)
    throw_error(
        "{}: tensor '{}': dtype '{}' is not supported; convert it to one of F32, F64, F16, BF16, U8, I64, I8",
        path, name, shown(entry.dtype));
  const auto bytes = bytes_of(entry.shape, known ? size_of(type->dtype) : other->bytes);
  const std::string shape = fmt::format("[{}]", fmt::join(entry.shape, ", "));
  if (!bytes) throw_error("{}: tensor '{}': shape {} is too large; the file is damaged", path, name, shape);
  const std::uint64_t begin = entry.offsets[0], end = entry.offsets[1];
  if (begin > end || end > data_bytes)
    throw_error(
        "{}: tensor '{}': data_offsets [{}, {}] are outside of the {} bytes of data; the file is truncated "
        "or damaged, copy it again",
        path, name, begin, end, data_bytes);
  if (end - begin != *bytes)
    throw_error("{}: tensor '{}': {} {} needs {} bytes, data_offsets give {}; the file is damaged", path,
                name, entry.dtype, shape, *bytes, end - begin);
  if (!known) return {};
  return type->dtype;
}

// The tensors must lie end to end: no byte twice, none without a name.
void check_coverage(const std::string& path, const std::vector<TensorEntry>& entries,
                    std::uint64_t data_bytes) {
  std::vector<const TensorEntry*> sorted;
  sorted.reserve(entries.size());
  for (const auto& entry : entries) sorted.push_back(&entry);
  std::sort(sorted.begin(), sorted.end(), [](auto* a, auto* b) { return a->offsets < b->offsets; });
  std::uint64_t covered = 0;
  for (const auto* entry : sorted) {
    if (entry->offsets[0] != covered)
      throw_error("{}: tensor '{}' {} at byte {} of the data, expected {}; the file is damaged", path,
                  shown(entry->name), entry->offsets[0] < covered ? "overlaps another" : "leaves a gap",
                  entry->offsets[0], covered);
    covered = entry->offsets[1];
  }
  if (covered != data_bytes)
    throw_error("{}: the header describes {} bytes of data, the file has {}; it is damaged, copy it again",
                path, covered, data_bytes);
}

std::uint64_t header_length(const InputFile& file) {
  std::array<unsigned char, 8> bytes{};
  file.read(0, bytes.data(), bytes.size());
  return std::bit_cast<std::uint64_t>(bytes);
}

}  // namespace

WeightsFile read_safetensors(const std::string& path, TensorMemory memory, OtherTypes other_types) {
  const InputFile file(path);
  if (file.size() < 8)
    throw_error("{}: {} bytes are too few for a safetensors file; it is truncated or of another kind", path,
                file.size());
  const std::uint64_t length = header_length(file);
  if (length > max_header_bytes)
    throw_error("{}: a header of {} bytes, at most {} are allowed; this is not a safetensors file", path,
                length, max_header_bytes);
  if (length > file.size() - 8)
    throw_error("{}: a header of {} bytes in a file of {}; it is truncated or not a safetensors file", path,
                length, file.size());
  SafetensorsHeader header;
  {
    std::string text(length, '\0');
    file.read(8, text.data(), text.size());
    if (text.empty() || text[0] != '{')
      throw_error("{}: the header does not start with '{{'; this is not a safetensors file", path);
    header = parse_safetensors_header(path, text);
  }
  const std::uint64_t data_begin = 8 + length, data_bytes = file.size() - data_begin;
  // Everything is checked before the first tensor is made: together they are as large as the file's data.
  std::vector<std::optional<DType>> dtypes;
  for (const auto& entry : header.tensors)
    dtypes.push_back(check_entry(path, entry, data_bytes, other_types));
  check_coverage(path, header.tensors, data_bytes);
  WeightsFile weights;
  weights.metadata = std::move(header.metadata);
  std::shared_ptr<char> mapping;
  if (memory == TensorMemory::mapped) mapping = file.map();
  for (std::size_t i = 0; i < dtypes.size(); ++i) {
    if (!dtypes[i]) continue;
    auto& entry = header.tensors[i];
    const std::vector<std::int64_t> sizes(entry.shape.begin(), entry.shape.end());
    const Shape shape{std::span<const std::int64_t>(sizes)};
    const std::uint64_t begin = data_begin + entry.offsets[0];
    Tensor tensor;
    if (mapping && begin % size_of(*dtypes[i]) == 0) {
      tensor = Tensor::over(mapping.get() + begin, shape, *dtypes[i], mapping);
    } else {
      tensor = Tensor(shape, *dtypes[i]);
      file.read(begin, tensor.raw(), tensor.bytes());
    }
    weights.tensors.emplace_back(std::move(entry.name), std::move(tensor));
  }
  return weights;
}

bool looks_like_safetensors(const std::string& path) {
  const InputFile file(path);
  if (file.size() < 10) return false;
  const std::uint64_t length = header_length(file);
  if (length < 2 || length > max_header_bytes) return false;
  char first = 0;
  file.read(8, &first, 1);
  return first == '{';
}

FileDigest write_safetensors(const std::string& path, const NamedTensors& tensors,
                             const std::map<std::string, std::string>& metadata) {
  std::vector<const std::pair<std::string, Tensor>*> order;
  std::unordered_set<std::string_view> names{"__metadata__"};
  for (const auto& item : tensors) {
    VITRAL_CHECK(item.second.defined(), "{}: tensor '{}' is undefined", path, shown(item.first));
    VITRAL_CHECK(names.insert(item.first).second, "{}: the name '{}' is there twice or reserved", path,
                 shown(item.first));
    order.push_back(&item);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](auto* a, auto* b) { return size_of(a->second.dtype()) > size_of(b->second.dtype()); });
  SafetensorsHeader header{{}, metadata};
  std::uint64_t offset = 0;
  for (const auto* item : order) {
    const Shape& shape = item->second.shape();
    const std::uint64_t end = offset + item->second.bytes();
    header.tensors.push_back({item->first,
                              std::string(type_name(item->second.dtype())),
                              {shape.begin(), shape.end()},
                              {offset, end}});
    offset = end;
  }
  const std::string text = format_safetensors_header(path, header);
  VITRAL_CHECK(text.size() <= max_header_bytes,
               "{}: a header of {} bytes, at most {} are allowed; shorten the metadata", path, text.size(),
               max_header_bytes);
  AtomicFile file(path);
  const std::uint64_t length = text.size();
  file.write(&length, sizeof length);
  file.write(text);
  for (const auto* item : order) {
    const Tensor host = item->second.to(cpu);
    file.write(host.raw(), host.bytes());
  }
  return file.commit();
}

}  // namespace vitral::data
