// The files of a checkpoint and of the run folder around it (docs/checkpoints.md). What they mean for
// training is in train/run/checkpoint.h; this much of it is here so that everything that takes weights can
// read them.
//
//   RUN/checkpoints/step-000001234/{model.safetensors, optimizer.safetensors, state.json}
//   RUN/checkpoints/{latest,best}         one line: the name of a complete checkpoint
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/files/atomic.h"

namespace vitral::data {

inline constexpr const char* model_file = "model.safetensors";
inline constexpr const char* optimizer_file = "optimizer.safetensors";
inline constexpr const char* state_file = "state.json";

/// step-000001234; the number grows beyond nine digits where it must.
std::string checkpoint_name(std::int64_t step);
/// The step of such a name, or nothing for any other name.
std::optional<std::int64_t> checkpoint_step(std::string_view name);

std::string checkpoints_folder(const std::string& run_folder);
/// RUN of RUN/checkpoints/step-000001234; nothing for a folder that does not lie so.
std::optional<std::string> run_folder_of(const std::string& checkpoint);
/// What RUN/checkpoints/WHICH ("latest", "best") names: the folder's path, which may not exist; nothing where
/// there is no such file or it does not hold the name of a checkpoint.
std::optional<std::string> named_checkpoint(const std::string& run_folder, const char* which);

/// The bytes of state.json: the object {"files", "format", "state", "step"} and, as the last entry, the
/// XXH3-64 checksum of every byte before it, so that no bit of it can change unseen.
std::string format_checkpoint_state(std::int64_t step, const std::map<std::string, FileDigest>& files,
                                    const nlohmann::json& state);

/// Checks state.json against its checksum, the sizes of the files that it lists, and the checksums of those
/// among them that the caller is going to read, and returns it. Throws Error for what is missing, truncated
/// or damaged.
nlohmann::json verify_checkpoint(const std::string& folder,
                                 const std::vector<std::string>& to_read = {model_file, optimizer_file});

}  // namespace vitral::data
