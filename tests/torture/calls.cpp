// Every call into the system of every command fails in turn, with every error it can have. The command does
// its work all the same, or says in one line what it could not do, leaves what was there, and can be
// repeated.
#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "base/hash.h"
#include "tests/torture/jobs.h"

namespace vitral::torture {
namespace {

// What can become of a call.
std::vector<std::string> faults_of(const std::string& call) {
  const std::string full = ":ENOSPC:", broken = ":EIO:", interrupted = ":EINTR:", part = ":0:";
  if (call == "read" || call == "pread") return {broken, interrupted, part};
  if (call == "write" || call == "pwrite" || call == "copy") return {full, broken, interrupted, part};
  if (call == "open") return {full, broken, interrupted, ":EMFILE:"};
  if (call == "mmap") return {":ENOMEM:"};
  if (call == "unlink") return {broken};
  return {full, broken};
}

class Calls : public Kind {
 public:
  void prepare(const Workshop& shop) override {
    undisturbed_ = run_undisturbed(shop);
    for (const auto& u : undisturbed_) {
      std::map<std::string, int> counts;
      for (const auto& call : u.calls) ++counts[call.call];
      for (const auto& [call, count] : counts)
        for (int k = 0; k < count; ++k)
          for (const auto& fault : faults_of(call))
            all_.push_back({&u, fmt::format("{}{}{}{}", call, fault, k, fault == ":0:" ? ":short" : "")});
    }
    // A short campaign takes the first of this order: some of everything.
    std::ranges::sort(all_, {}, [](const Single& s) { return hash_of(s.of->job->name + s.fault); });
  }

  bool run(Case& c) override {
    if (c.number >= static_cast<std::int64_t>(all_.size())) return false;
    const Single& s = all_[static_cast<std::size_t>(c.number)];
    const Undisturbed& u = *s.of;
    c.command = u.job->name;
    take(c, *u.job);
    const Result r = c.run({.arguments = u.job->arguments, .fault = s.fault});
    if (r.status == 0) {
      // What could not be removed goes when the command runs again.
      if (expect_done_or_more(c, u, r, "with status 0") && leaves_more(c, u)) expect_again(c, u);
    } else if (c.expect_one_line(r)) {
      const auto named = [&](const std::string& word) { return r.err.find(word) != std::string::npos; };
      bool names_a_file = named("/") || std::ranges::any_of(u.job->arguments, named);
      for (const auto& entry : std::filesystem::directory_iterator(c.folder()))
        names_a_file = names_a_file || named(entry.path().filename());
      c.expect(names_a_file, "the line names a file", r.err);
      expect_old_or_new(c, u);
      expect_again(c, u);
    }
    return true;
  }

 private:
  struct Single {
    const Undisturbed* of;
    std::string fault;
  };
  std::vector<Undisturbed> undisturbed_;
  std::vector<Single> all_;
};

const Registered<Calls> registered{"calls", "each call into the system fails", 3};

}  // namespace
}  // namespace vitral::torture
