#include "data/weights/torch_write.h"

#include <bit>
#include <cstdint>
#include <unordered_set>
#include <vector>

#include <nlohmann/json.hpp>
#include <zlib.h>

#include "base/bytes.h"
#include "base/text.h"

namespace vitral::data {
namespace {

static_assert(std::endian::native == std::endian::little, "elements are written as they lie");

// A zip archive (PKWARE's APPNOTE.TXT) of stored entries whose bytes begin at multiples of 64.
class ZipWriter {
 public:
  explicit ZipWriter(const std::string& path) : path_(path), file_(path) {}

  void add(const std::string& name, const void* data, std::uint64_t bytes) {
    constexpr std::uint64_t alignment = 64, header_bytes = 30, extra_header = 4;
    const std::uint64_t begin = at_ + header_bytes + name.size() + extra_header;
    // Sizes and places are 32-bit numbers. What comes after the entries is far smaller than the reserve.
    constexpr std::uint64_t largest = 0xFFFFFFFF - (std::uint64_t{64} << 20);
    VITRAL_CHECK(bytes < largest && begin + bytes < largest,
                 "{}: more than the 4 GB that a .pt file may have here; write .safetensors", path_);
    const std::uint64_t padding = (alignment - begin % alignment) % alignment;
    const std::string common = common_fields(name, crc(data, bytes), bytes);
    // PyTorch's own extra field for this has the same name.
    const std::string extra = std::string("FB") + le16(padding) + std::string(padding, 'Z');
    directory_ += std::string("PK\1\2") + le16(0) + common + le16(0) + le16(0) + le16(0) + le16(0) + le32(0) +
                  le32(at_) + name;
    put(std::string("PK\3\4") + common + le16(extra.size()) + name + extra);
    file_.write(data, bytes);
    at_ += bytes;
    ++entries_;
  }
  void add(const std::string& name, const std::string& text) { add(name, text.data(), text.size()); }

  FileDigest finish() {
    VITRAL_CHECK(entries_ <= 0xFFFF, "{}: more than 65,535 tensors; write .safetensors", path_);
    const std::uint64_t begin = at_;
    put(directory_);
    put(std::string("PK\5\6") + le32(0) + le16(entries_) + le16(entries_) + le32(directory_.size()) +
        le32(begin) + le16(0));
    return file_.commit();
  }

 private:
  // What the header of an entry and the directory have in common, up to the length of the name.
  static std::string common_fields(const std::string& name, std::uint32_t checksum, std::uint64_t bytes) {
    constexpr std::uint64_t version = 20, stored = 0, midnight = 0, first_of_1980 = 0x21;
    return le16(version) + le16(0) + le16(stored) + le16(midnight) + le16(first_of_1980) + le32(checksum) +
           le32(bytes) + le32(bytes) + le16(name.size());
  }
  static std::uint32_t crc(const void* data, std::uint64_t bytes) {
    return static_cast<std::uint32_t>(crc32_z(0, static_cast<const unsigned char*>(data), bytes));
  }
  void put(const std::string& bytes) {
    file_.write(bytes);
    at_ += bytes.size();
  }

  std::string path_;
  AtomicFile file_;
  std::string directory_;
  std::uint64_t at_ = 0, entries_ = 0;
};

const char* storage_name(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return "FloatStorage";
    case DType::float64:
      return "DoubleStorage";
    case DType::float16:
      return "HalfStorage";
    case DType::bfloat16:
      return "BFloat16Storage";
    case DType::uint8:
      return "ByteStorage";
    case DType::int64:
    case DType::int8:  // refused by write_torch_file()
      break;
  }
  return "LongStorage";
}

// The opcodes that are needed here (CPython's Lib/pickletools.py).
std::string text(const std::string& value) { return fmt::format("X{}{}", le32(value.size()), value); }
std::string integer(std::int64_t value) {
  const auto bits = static_cast<std::uint64_t>(value);
  if (value >= 0 && value <= 0xFF) return fmt::format("K{}", little_endian(bits, 1));
  if (value >= 0 && value <= 0x7FFFFFFF) return fmt::format("J{}", le32(bits));
  return fmt::format("\x8a\x08{}", le64(bits));
}
std::string global(const char* module, const char* name) { return fmt::format("c{}\n{}\n", module, name); }
const std::string empty_dict = global("collections", "OrderedDict") + ")R";

template <class Numbers>
std::string tuple(const Numbers& numbers) {
  std::string out = "(";
  for (const std::int64_t n : numbers) out += integer(n);
  return out + "t";
}

// torch._utils._rebuild_tensor_v2(storage, 0, size, stride, requires_grad = False, hooks = {})
std::string tensor(const Tensor& t, std::size_t key) {
  const Shape& shape = t.shape();
  std::vector<std::int64_t> strides(static_cast<std::size_t>(shape.rank()));
  std::int64_t stride = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    strides[static_cast<std::size_t>(axis)] = stride;
    stride *= std::max<std::int64_t>(shape[axis], 1);
  }
  const std::string storage =
      fmt::format("({}{}{}{}{}tQ", text("storage"), global("torch", storage_name(t.dtype())),
                  text(std::to_string(key)), text("cpu"), integer(t.numel()));
  return fmt::format("{}({}{}{}{}\x89{}tR", global("torch._utils", "_rebuild_tensor_v2"), storage, integer(0),
                     tuple(shape), tuple(strides), empty_dict);
}

void check_text(const std::string& path, const std::string& value) {
  try {
    static_cast<void>(nlohmann::json(value).dump());
  } catch (const nlohmann::json::exception&) {
    throw_error<UsageError>("{}: '{}' is not valid UTF-8; names and metadata must be", path, shown(value));
  }
}

}  // namespace

FileDigest write_torch_file(const std::string& path, const NamedTensors& tensors,
                            const std::map<std::string, std::string>& metadata) {
  std::string pickle = std::string("\x80\x02") + empty_dict + "(";
  std::unordered_set<std::string_view> names;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const auto& [name, value] = tensors[i];
    VITRAL_CHECK(value.defined(), "{}: tensor '{}' is undefined", path, shown(name));
    VITRAL_CHECK(value.dtype() != DType::int8, "{}: tensor '{}' is int8; write it as .safetensors", path,
                 shown(name));
    VITRAL_CHECK(names.insert(name).second, "{}: the name '{}' is there twice", path, shown(name));
    check_text(path, name);
    pickle += text(name) + tensor(value, i);
  }
  pickle += "u.";
  for (const auto& [key, value] : metadata) {
    check_text(path, key);
    check_text(path, value);
  }
  ZipWriter zip(path);
  zip.add("archive/data.pkl", pickle);
  zip.add("archive/byteorder", "little");
  if (!metadata.empty())
    zip.add(std::string("archive/") + torch_metadata_entry, nlohmann::json(metadata).dump(1) + "\n");
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const Tensor host = tensors[i].second.to(cpu);
    zip.add("archive/data/" + std::to_string(i), host.raw(), host.bytes());
  }
  zip.add("archive/version", "3\n");
  return zip.finish();
}

}  // namespace vitral::data
