#include "train/run/checkpoint.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/files/atomic.h"
#include "base/files/input_file.h"
#include "data/weights/checkpoint_files.h"

namespace vitral::train {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

bool all_finite(const json& value) {
  if (value.is_number_float()) return std::isfinite(value.get<double>());
  return !value.is_structured() || std::all_of(value.begin(), value.end(), all_finite);
}

// Steps of the checkpoints in a folder, newest first.
std::vector<std::int64_t> steps_in(const std::string& folder) {
  std::vector<std::int64_t> steps;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
    if (const auto step = data::checkpoint_step(entry->path().filename().string())) steps.push_back(*step);
  std::sort(steps.rbegin(), steps.rend());
  return steps;
}

// True when the folder is a valid checkpoint with exactly this state.json, and so with exactly these tensors.
bool holds_same(const std::string& folder, const std::string& state_text) {
  try {
    data::verify_checkpoint(folder);
    const std::string path = folder + "/" + data::state_file;
    return read_text_file(path, state_text.size()) == state_text;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

CheckpointStore::CheckpointStore(std::string run_folder, int keep)
    : run_folder_(std::move(run_folder)), keep_(keep) {
  VITRAL_CHECK(keep >= 1, "train.keep: {} must be at least 1", keep);
  const std::string folder = data::checkpoints_folder(run_folder_);
  create_folders(folder);
  lock_ = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock_ < 0)
    throw_error("{}: cannot open the folder: {}; check its permissions", folder, std::strerror(errno));
  // Some network file systems have no locks; training there is still right, only not protected.
  if (::flock(lock_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    ::close(lock_);
    throw_error<UsageError>(
        "{}: another process trains in this folder; wait for it or choose another train.output", run_folder_);
  }
  remove_temporaries(folder);
  remove_temporaries(run_folder_);  // of config.yaml
}

CheckpointStore::~CheckpointStore() { ::close(lock_); }

void CheckpointStore::save(const Checkpoint& checkpoint, bool best) {
  VITRAL_CHECK(checkpoint.step >= 0, "checkpoint: step {} must not be negative", checkpoint.step);
  VITRAL_CHECK(all_finite(checkpoint.state),
               "checkpoint: the state of step {} holds a number that is not finite", checkpoint.step);
  const std::string folder = data::checkpoints_folder(run_folder_);
  const std::string name = data::checkpoint_name(checkpoint.step), path = folder + "/" + name;
  {
    AtomicDirectory directory(path);
    std::map<std::string, FileDigest> files;
    files[data::model_file] = data::write_safetensors(directory.file(data::model_file), checkpoint.model,
                                                      checkpoint.model_metadata);
    files[data::optimizer_file] =
        data::write_safetensors(directory.file(data::optimizer_file), checkpoint.optimizer);
    const std::string text = data::format_checkpoint_state(checkpoint.step, files, checkpoint.state);
    write_file_atomic(directory.file(data::state_file), text);
    if (!holds_same(path, text)) directory.commit();
  }
  // `latest` comes last: a run that is killed before it goes on from the checkpoint before, and comes here
  // again.
  if (best) write_file_atomic(folder + "/best", name + "\n");
  write_file_atomic(folder + "/latest", name + "\n");
  remove_old(checkpoint.step);
}

bool CheckpointStore::set_best(std::int64_t step) {
  const std::string folder = data::checkpoints_folder(run_folder_), name = data::checkpoint_name(step);
  std::error_code ignored;
  if (step < 0 || !fs::is_directory(folder + "/" + name, ignored)) {
    if (fs::remove(folder + "/best", ignored)) sync_folder(folder);
    return false;
  }
  write_file_atomic(folder + "/best", name + "\n");
  return true;
}

void CheckpointStore::remove_old(std::int64_t newest) const {
  const std::string folder = data::checkpoints_folder(run_folder_);
  std::optional<std::string> best, latest;
  try {
    best = data::named_checkpoint(run_folder_, "best");
    latest = data::named_checkpoint(run_folder_, "latest");
  } catch (const Error&) {
    return;  // without knowing which one is the best, none may go; the new one is safe already
  }
  int kept = 0;
  for (const std::int64_t step : steps_in(folder)) {
    const std::string path = folder + "/" + data::checkpoint_name(step);
    if (step > newest || ++kept <= keep_ || path == best || path == latest) continue;
    // One that cannot be removed now is tried again at the next save or resume; the training does not depend
    // on it.
    static_cast<void>(remove_folder_atomic(path));
  }
}

bool holds_run(const std::string& folder) {
  std::error_code ignored;
  return fs::exists(folder + "/metrics.jsonl", ignored) ||
         fs::exists(data::checkpoints_folder(folder), ignored);
}

bool lies_in(const std::string& path, const std::string& folder) {
  std::error_code problem, other;
  const fs::path inner = fs::weakly_canonical(path, problem), outer = fs::weakly_canonical(folder, other);
  return !problem && !other &&
         std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

std::optional<std::string> latest_checkpoint(const std::string& run_folder,
                                             std::vector<std::string>& warnings) {
  const std::string folder = data::checkpoints_folder(run_folder);
  std::vector<std::string> candidates;
  const std::string pointer = folder + "/latest";
  std::error_code ignored;
  const auto named = data::named_checkpoint(run_folder, "latest");
  const bool there = named && fs::is_directory(*named, ignored);
  std::optional<std::int64_t> newest;
  if (there) {
    candidates.push_back(*named);
    newest = data::checkpoint_step(fs::path(*named).filename().string());
  } else if (fs::exists(pointer, ignored)) {
    warnings.push_back(
        fmt::format("{}: does not name a checkpoint that is there; taking the newest", pointer));
  }
  // Those up to `latest` come before those of later steps, which a resume at an earlier one has left behind.
  std::vector<std::int64_t> steps = steps_in(folder);
  if (newest)
    std::stable_partition(steps.begin(), steps.end(), [&](std::int64_t step) { return step < *newest; });
  for (const std::int64_t step : steps)
    if (step != newest) candidates.push_back(folder + "/" + data::checkpoint_name(step));
  for (const auto& path : candidates) {
    try {
      data::verify_checkpoint(path);
      return path;
    } catch (const Error& e) {
      warnings.push_back(fmt::format("{} (passed over)", e.what()));
    }
  }
  if (candidates.empty()) return {};
  throw_error("{}: none of its {} checkpoints is valid ({}); start anew in another folder", folder,
              candidates.size(), warnings.back());
}

Checkpoint load_checkpoint(const std::string& path, std::vector<std::string>& warnings) {
  std::error_code ignored;
  if (!fs::exists(path, ignored))
    throw_error<UsageError>("{}: no such checkpoint; give a run folder or a checkpoint folder", path);
  std::string folder = path;
  if (fs::is_directory(data::checkpoints_folder(path), ignored)) {
    const auto latest = latest_checkpoint(path, warnings);
    if (!latest) throw_error<UsageError>("{}: no checkpoint in this run folder yet", path);
    folder = *latest;
  } else if (!fs::is_regular_file(path + "/" + data::model_file, ignored) &&
             !fs::is_regular_file(path + "/" + data::state_file, ignored)) {
    throw_error<UsageError>("{}: not a checkpoint (no {} in it); give a run folder or a checkpoint folder",
                            path, data::state_file);
  }
  json state = data::verify_checkpoint(folder);
  Checkpoint checkpoint;
  data::WeightsFile model = data::read_safetensors(folder + "/" + data::model_file);
  checkpoint.step = state["step"].get<std::int64_t>();
  checkpoint.model = std::move(model.tensors);
  checkpoint.model_metadata = std::move(model.metadata);
  checkpoint.optimizer = data::read_safetensors(folder + "/" + data::optimizer_file).tensors;
  checkpoint.state = std::move(state["state"]);
  return checkpoint;
}

}  // namespace vitral::train
