// Little of what a machine has: descriptors, memory, threads, file sizes, processors, space on the disk, the
// right to write. A command does its work, or says in one line what it lacks, and loses nothing.
#include <cmath>
#include <filesystem>
#include <map>

#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/error.h"
#include "tests/torture/kind.h"
#include "tests/torture/outcome.h"

namespace vitral::torture {
namespace {

namespace fs = std::filesystem;

struct Work {
  std::string name;
  std::vector<std::string> takes, arguments;
  std::string output;  // under out/; "": it writes nothing
};

std::vector<Work> all_work() {
  const std::string student = "student.safetensors";
  return {
      {"train",
       {"train.h5", "val.h5", "config.yaml"},
       {"train", "config.yaml", "--resume", "auto", "train.output=out/run"},
       "run"},
      {"eval", {student, "val.h5"}, {"eval", student, "val.h5", "--json"}, ""},
      {"info", {"val.h5"}, {"info", "val.h5", "--json"}, ""},
      {"pack", {"photos"}, {"pack", "photos", "-o", "out/a.h5", "--size", "64", "--force"}, "a.h5"},
      {"pack --encoded", {"photos"}, {"pack", "photos", "-o", "out/a.h5", "--encoded", "--force"}, "a.h5"},
      {"teach", {"plain.h5", "teacher"}, {"teach", "out/plain.h5", "--teacher", "teacher"}, "plain.h5"},
      {"embed", {student, "photos"}, {"embed", student, "photos", "-o", "out/e.h5"}, "e.h5"},
      {"shapes", {}, {"shapes", "-o", "out", "--train", "12", "--val", "3"}, "train.h5"},
      {"convert", {student}, {"convert", student, "out/s.onnx", "--force"}, "s.onnx"},
      {"report", {student, "photos"}, {"report", student, "photos", "-o", "out/r.html"}, "r.html"},
      {"search",
       {student, "photos"},
       {"search", student, "photos", "--query-image", "photos/1.png", "--json"},
       ""}};
}

// Everybody may pass and write: as another user the program must reach its files.
void open_to_all(const std::string& folder) {
  fs::permissions(folder, fs::perms::all);
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    fs::permissions(entry.path(), entry.is_directory() ? fs::perms::all : fs::perms(0666));
}

const std::vector<std::string> as_nobody{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"};

class Limits : public Kind {
 public:
  void prepare(const Workshop& shop) override {
    for (const auto& work : work_) {
      const std::string folder = shop / ("limits/" + work.name);
      fs::create_directories(folder + "/out");
      take(work, [&](const std::string& name, const std::string& as) {
        fs::copy(shop / name, folder + "/" + as, fs::copy_options::recursive);
      });
      const Result r = Program(shop.tools, folder, {.arguments = work.arguments}).wait();
      if (r.status != 0) throw_error("undisturbed, {} ends with {}: {}", work.name, r.status, r.err);
      expected_[work.name] = result_of(work, folder, r);
    }
    // The libraries of a build with CUDA want 810 MB and crash with less, and where exactly changes by pages.
    const auto starts = [&] {
      const Command version{.arguments = {"--version"}, .limits = {{RLIMIT_AS, least_memory_}}};
      return Program(shop.tools, shop.folder, version).wait().status == 0;
    };
    while (static_cast<double>(least_memory_) < most_memory && !starts()) least_memory_ += rlim_t{10} << 20;
    least_memory_ += rlim_t{10} << 20;
    if (::geteuid() != 0) {
      fmt::print("limits: not root: threads, rights and full disks are left out\n");
      return;
    }
    fs::permissions(fs::path(shop.folder).parent_path(), fs::perms(0755));
    fs::permissions(shop.folder, fs::perms(0755));
    try {
      other_user_ = Program(shop.tools, shop.folder, {.arguments = {"--version"}, .wrapper = as_nobody})
                        .wait()
                        .status == 0;
    } catch (const Error&) {  // the program lies where others may not go
    }
    if (!other_user_)
      fmt::print("limits: another user cannot start {}: threads and rights are left out\n",
                 shop.tools.vitral);
    // A disk of its own, seen by the campaign alone.
    mounts_ = ::unshare(CLONE_NEWNS) == 0 && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
    if (!mounts_) fmt::print("limits: nothing can be mounted: full disks are left out\n");
  }

  bool run(Case& c) override {
    const Work& work = work_[c.random.below(work_.size())];
    constexpr std::array names{"descriptors",     "memory",  "file sizes", "one processor",
                               "OMP_NUM_THREADS", "threads", "rights",     "full disk"};
    const std::size_t usable = !other_user_ ? 5 : mounts_ ? 8 : 7;
    const std::size_t which = c.random.below(usable);
    c.command = names[which];
    fs::create_directory(c / "out");
    take(work, [&](const std::string& name, const std::string& as) { c.take(name, as); });
    Command limited{.arguments = work.arguments};
    const auto logarithmic = [&](double low, double high) {
      return static_cast<rlim_t>(low * std::pow(high / low, c.random.uniform()));
    };
    switch (which) {
      case 0:
        limited.limits = {{RLIMIT_NOFILE, 6 + c.random.below(25)}};
        break;
      case 1:
        limited.limits = {
            {RLIMIT_AS, logarithmic(static_cast<double>(least_memory_), most_memory) / 4096 * 4096}};
        break;
      case 2:
        limited.limits = {{RLIMIT_FSIZE, logarithmic(512, 1e6) / 512 * 512}};
        break;
      case 3:
        limited.wrapper = {"taskset", "-c", "0"};
        break;
      case 4: {
        constexpr std::array values{"100000",    "4097", "4096", "0", "-1", "x", "", "99999999999999999999",
                                    "1,1000000", "64"};
        limited.environment = {fmt::format("OMP_NUM_THREADS={}", values[c.random.below(values.size())])};
        break;
      }
      case 5:
        open_to_all(c.folder());
        limited.wrapper = as_nobody;
        limited.environment = {fmt::format("OMP_NUM_THREADS={}", 1 + c.random.below(6))};
        limited.limits = {{RLIMIT_NPROC, 1 + c.random.below(8)}};
        break;
      case 6:
        open_to_all(c.folder());
        limited.wrapper = as_nobody;
        fs::permissions(c / "out", fs::perms(0555));
        break;
      default: {
        const auto size = fmt::format("size={}k", logarithmic(4, 600));
        if (::mount("tmpfs", (c / "out").c_str(), "tmpfs", 0, size.c_str()) != 0) throw_error("cannot mount");
        take(work, [&](const std::string& name, const std::string& as) {
          std::error_code full;
          if (as.starts_with("out/"))
            fs::copy(c.shop / name, c / as, fs::copy_options::overwrite_existing, full);
        });
      }
    }
    const Result r = c.run(limited);
    check(c, work, r, limited);
    if (which == 7) ::umount2((c / "out").c_str(), MNT_DETACH);
    if (which == 6) fs::permissions(c / "out", fs::perms(0755));
    if (which == 7 || !c.failures().empty()) return true;
    const Result again = c.run({.arguments = work.arguments});
    const bool done = work.name == "teach" && again.err.find("has /embeddings already") != std::string::npos;
    if (done || c.expect(again.status == 0, "without limits the command goes on", again.err))
      c.expect(same(work, c, again), "without limits the result of an undisturbed command");
    return true;
  }

 private:
  // What is changed in place lies under out/.
  static void take(const Work& work,
                   const std::function<void(const std::string&, const std::string&)>& copy) {
    for (const auto& name : work.takes) copy(name, name == "plain.h5" ? "out/" + name : name);
  }

  static Outcome result_of(const Work& work, const std::string& folder, const Result& r) {
    const std::string path = folder + "/out/" + work.output;
    if (work.output.empty()) return {{"stdout", r.out.substr(0, r.out.find("\"seconds\""))}};
    if (!fs::is_directory(path)) return {{"", contents_of(path)}};
    Outcome out = outcome_of(path);
    std::erase_if(out,
                  [](const auto& entry) { return entry.first.find("config.yaml") != std::string::npos; });
    return out;
  }

  bool same(const Work& work, const Case& c, const Result& r) const {
    return difference(expected_.at(work.name), result_of(work, c.folder(), r)).empty();
  }

  void check(Case& c, const Work& work, const Result& r, const Command& limited) {
    if (r.status == 127) return;  // the loader of programs had too little
    if (!c.expect_alive(r)) return;
    if (r.status != 0) {
      c.expect_one_line(r);
      return;
    }
    // Another number of threads adds up in another order.
    if (limited.environment.empty())
      c.expect(same(work, c, r), "the result of an undisturbed command, where it ends with 0",
               fmt::format("another, and on stderr: {}", r.err));
  }

  std::vector<Work> work_ = all_work();
  std::map<std::string, Outcome> expected_;
  static constexpr double most_memory = 3e9;
  rlim_t least_memory_ = rlim_t{200} << 20;  // with which the program starts
  bool other_user_ = false, mounts_ = false;
};

const Registered<Limits> registered{"limits",
                                    "little memory, few descriptors, threads and rights, full disks"};

}  // namespace
}  // namespace vitral::torture
