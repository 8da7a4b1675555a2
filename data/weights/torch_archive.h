// The zip archive of torch.save: NAME/data.pkl, a pickle that describes objects, and one entry NAME/data/N
// with the bytes of each storage, all stored without compression.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

struct zip;

namespace vitral::data {

/// The end of an error line about a damaged archive.
inline constexpr const char* torch_advice = "copy it again, or save it again with torch.save";

class TorchArchive {
 public:
  /// Error "PATH: ..." for a file that is no such archive, and for one of a big-endian machine.
  explicit TorchArchive(const std::string& path);
  ~TorchArchive();
  TorchArchive(const TorchArchive&) = delete;
  TorchArchive& operator=(const TorchArchive&) = delete;

  const std::string& path() const { return path_; }
  std::uint64_t file_bytes() const { return file_bytes_; }
  /// The number of the entry NAME/name.
  std::optional<std::uint64_t> find(const std::string& name) const;
  /// Bytes of an entry; Error where it is compressed or claims more than the file has.
  std::uint64_t size(std::uint64_t entry) const;
  /// Fills `to` with the whole entry; its checksum is checked.
  void read(std::uint64_t entry, void* to, std::uint64_t bytes) const;
  /// The bytes of a small entry.
  std::string text(std::uint64_t entry) const;
  /// data.pkl.
  std::string pickle() const;

 private:
  void find_root();

  std::string path_;
  std::uint64_t file_bytes_;
  zip* zip_ = nullptr;
  std::string root_;  // "checkpoint/"
};

}  // namespace vitral::data
