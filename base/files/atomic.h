// Crash-safe writing: what is written takes its name whole and durable, or not at all.
//
//   AtomicFile file("runs/a/config.yaml");       // writes runs/a/.tmp-config.yaml
//   file.write(text);
//   file.commit();      // fsync, reading back, rename over the old file, fsync of the folder
//
// Every failed system call throws Error "PATH: cannot write: No space left on device; ...". The destructor
// removes what was not committed, so after an error the old file is there as it was. What a killed process
// leaves is written over by the next writer of the file; of two at once the second takes a name with its PID.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/files/descriptor.h"
#include "base/files/digest.h"
#include "base/hash.h"

namespace vitral {

class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, std::size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  /// The file has its name, was read back, and survives a power cut, when this returns; in an AtomicDirectory
  /// its name does with that of the folder.
  FileDigest commit();

 private:
  std::string path_;
  std::string temporary_;
  Descriptor lock_;  // of the temporary file, until it has its name; the same open file as:
  Descriptor descriptor_;
  std::uint64_t bytes_ = 0;
  Hash hash_;
};

/// One AtomicFile with this text.
FileDigest write_file_atomic(const std::string& path, std::string_view text);

/// What a program was asked to write: write_file_atomic(), but devices such as /dev/null and pipes are
/// written to, not replaced. Error "PATH: cannot write: ...; choose another name".
void write_file(const std::string& path, std::string_view bytes);

/// A folder that appears with all its files or not at all:
///
///   AtomicDirectory folder("checkpoints/step-000000010");
///   write_file_atomic(folder.file("state.json"), text);       // any number of AtomicFiles, no folders
///   folder.commit();
class AtomicDirectory {
 public:
  explicit AtomicDirectory(std::string path);
  ~AtomicDirectory();
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;

  const std::string& temporary() const { return temporary_; }
  std::string file(const std::string& name) const { return temporary_ + "/" + name; }
  /// Syncs the folder, whose files are durable already, then gives it its name. A folder that already has the
  /// name is exchanged for this one in one step, and removed.
  void commit();

 private:
  std::string path_;
  std::string temporary_;
};

/// Creates a folder, and those above it, durably. Throws Error where it cannot.
void create_folders(const std::string& folder);
/// Makes renames and new names in a folder durable.
void sync_folder(const std::string& folder);
/// Makes the name of a file durable; errors name the file.
void sync_name(const std::string& path);
/// Removes a folder so that no half of it is ever seen under its name. Best effort: returns false on failure.
bool remove_folder_atomic(const std::string& path);
/// True for the name of a temporary file or folder of this header, which a killed process may leave behind.
bool is_temporary_name(std::string_view name);
/// Removes the leftovers of killed processes from a folder that no other process writes to.
void remove_temporaries(const std::string& folder);

}  // namespace vitral
