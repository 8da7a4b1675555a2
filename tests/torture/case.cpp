#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "base/hash.h"
#include "tests/support.h"
#include "tests/torture/kind.h"

namespace vitral::torture {

namespace fs = std::filesystem;

std::vector<Registration>& registrations() {
  static std::vector<Registration> all;
  return all;
}

Case::Case(const Workshop& workshop, std::string kind, std::uint64_t seed, std::int64_t n, std::string folder)
    : shop(workshop),
      number(n),
      random(seed, hash_of(kind), n),
      id_(fmt::format("--seed {} --case {}:{}", seed, kind, n)),
      root_(std::move(folder)),
      files_(root_ + "/files") {
  fs::create_directories(files_);
}

Case::~Case() {
  std::error_code ignored;
  fs::remove_all(root_, ignored);
}

void Case::take(const std::string& name, const std::string& as) {
  const std::string to = *this / (as.empty() ? name : as);
  fs::create_directories(fs::path(to).parent_path());
  copy_with_times(shop / name, to);
}

void Case::begin_step(const Command& c) {
  // What the commands change is needed once more where a finding is made again.
  if (steps_.empty()) copy_with_times(files_, root_ + "/input");
  steps_.push_back(shell_line(c));
}

Result Case::end_step(const Result& result) {
  steps_.push_back(fmt::format("echo \"exit status $? (in the campaign: {})\"", result.status));
  return result;
}

std::unique_ptr<Program> Case::start(const Command& c) {
  begin_step(c);
  return std::make_unique<Program>(shop.tools, files_, c);
}

Result Case::run(const Command& c) { return end_step(start(c)->wait()); }

Result Case::run(const Command& c, Server& server) {
  begin_step(c);
  return end_step(server.run(files_, c));
}

bool Case::expect(bool so, const std::string& must, const std::string& came) {
  if (!so)
    failures_.push_back(fmt::format("expected: {}{}", must, came.empty() ? "" : "\ncame:     " + came));
  return so;
}

bool Case::expect_alive(const Result& r) {
  return expect(!r.hung && r.status < 128, "the command neither hangs nor dies",
                fmt::format("{} after {:.1f} s, exit status {}\n{}", r.hung ? "hung" : "ended", r.seconds,
                            r.status, r.err));
}

bool Case::expect_one_line(const Result& r) {
  if (!expect_alive(r)) return false;
  // Warnings and progress may come before it; the error is the last line, and the only one of its kind.
  const auto last = r.err.rfind('\n', r.err.empty() ? 0 : r.err.size() - 2);
  const std::string line = r.err.substr(last == std::string::npos ? 0 : last + 1);
  return expect((r.status == 1 || r.status == 2) && line.starts_with("vitral: ") && line.ends_with('\n'),
                "exit status 1 or 2, and one line that says why",
                fmt::format("exit status {}, stderr:\n{}", r.status, r.err));
}

void Case::keep(const std::string& to) const {
  fs::remove_all(to);
  fs::create_directories(to);
  if (fs::exists(root_ + "/input")) copy_with_times(root_ + "/input", to + "/input");
  copy_with_times(files_, to + "/left");
  std::string text = fmt::format("scripts/torture {}\n", id_);
  for (const auto& failure : failures_) text += "\n" + failure + "\n";
  test::put_file(to + "/finding.txt", text);
  std::string script =
      "#!/bin/sh\n"
      "# Makes the finding again: the commands of the case, in a copy of input/; finding.txt says what is "
      "wrong.\n"
      "here=$(cd \"$(dirname \"$0\")\" && pwd)\n";
  script += fmt::format("VITRAL=${{VITRAL:-{}}} SHIM=${{SHIM:-{}}}\n", shop.tools.vitral, shop.tools.shim);
  script +=
      "export LC_ALL=C OMP_NUM_THREADS=1 GOMP_SPINCOUNT=1000\n"
      "folder=$(mktemp -d) && cp -a \"$here/input/.\" \"$folder\" && cd \"$folder\" && echo \"in $folder\"\n";
  for (const auto& step : steps_) script += step + "\n";
  test::put_file(to + "/run.sh", script);
  fs::permissions(to + "/run.sh", fs::perms::owner_exec, fs::perm_options::add);
}

}  // namespace vitral::torture
