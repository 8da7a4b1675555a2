#include "tests/torture/jobs.h"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace vitral::torture {
namespace {

namespace fs = std::filesystem;

// What is printed, without the time that it took.
std::string printed(const std::string& out) {
  auto json = nlohmann::json::parse(out, nullptr, false);
  if (!json.is_object()) return out;
  json.erase("seconds");
  return json.dump();
}

Outcome outcome(const std::string& folder, const Job& job, const Result& r) {
  Outcome out = outcome_of(folder);
  if (job.prints) out["(printed)"] = printed(r.out);
  return out;
}

}  // namespace

const std::vector<Job>& jobs() {
  static const std::vector<Job> all{
      {.name = "train",
       .arguments = {"train", "short.yaml", "--resume", "auto"},
       .inputs = {"short.yaml", "val.h5"}},
      {.name = "resume",
       .arguments = {"train", "short.yaml", "--resume", "auto", "train.output=half"},
       .inputs = {"short.yaml", "val.h5", "half"}},
      {.name = "pack",
       .arguments = {"pack", "photos", "-o", "out.h5", "--size", "64", "--val", "0.25", "--val-out",
                     "out_val.h5", "--force"},
       .inputs = {"photos"},
       .old = {{"out.h5", "val.h5"}, {"out_val.h5", "val.h5"}}},
      {.name = "pack --encoded",
       .arguments = {"pack", "photos", "-o", "out.h5", "--encoded", "--force"},
       .inputs = {"photos"},
       .old = {{"out.h5", "val.h5"}}},
      {.name = "teach",
       .arguments = {"teach", "plain.h5", "--teacher", "teacher", "--batch", "2", "--device", "cpu"},
       .inputs = {"teacher"},
       .old = {{"plain.h5", "plain.h5"}},
       .complete = "has /embeddings already"},
      {.name = "teach --in-place",
       .arguments = {"teach", "plain.h5", "--teacher", "teacher", "--batch", "2", "--device", "cpu",
                     "--in-place"},
       .inputs = {"plain.h5", "teacher"},
       .complete = "has /embeddings already",
       .whole = false},
      {.name = "embed",
       .arguments = {"embed", "student.safetensors", "photos", "-o", "out.h5", "--batch", "2", "--device",
                     "cpu"},
       .inputs = {"student.safetensors", "photos"},
       .old = {{"out.h5", "val.h5"}}},
      {.name = "shapes",
       .arguments = {"shapes", "-o", "out", "--train", "12", "--val", "4"},
       .inputs = {},
       .old = {{"out/train.h5", "val.h5"}, {"out/val.h5", "val.h5"}}},
      {.name = "convert",
       .arguments = {"convert", "run", "out.pt", "--force"},
       .inputs = {"run"},
       .old = {{"out.pt", "student.safetensors"}}},
      {.name = "report",
       .arguments = {"report", "run", "val.h5", "-o", "out.html", "--count", "2", "--device", "cpu"},
       .inputs = {"run", "val.h5"},
       .old = {{"out.html", "config.yaml"}}},
      {.name = "eval",
       .arguments = {"eval", "run", "val.h5", "--json", "--device", "cpu"},
       .inputs = {"run", "val.h5"},
       .prints = true},
  };
  return all;
}

void take(Case& c, const Job& job) {
  for (const auto& name : job.inputs) c.take(name);
  for (const auto& [name, from] : job.old) c.take(from, name);
}

std::vector<Undisturbed> run_undisturbed(const Workshop& shop) {
  std::vector<Undisturbed> out;
  for (const Job& job : jobs()) {
    Case c(shop, "undisturbed", 0, 0, shop / "undisturbed");
    take(c, job);
    Undisturbed u{.job = &job, .before = outcome_of(c.folder()), .after = {}};
    const std::string trace = shop / "trace";
    const Result r = c.run({.arguments = job.arguments, .trace = trace});
    if (r.status != 0) throw_error("the undisturbed '{}' fails: {}", job.name, r.err);
    u.seconds = r.seconds;
    u.after = outcome(c.folder(), job, r);
    u.calls = read_trace(trace);
    for (auto& call : u.calls)
      for (std::string* path : {&call.path, &call.to})
        if (!path->empty()) *path = fs::path(*path).lexically_relative(c.folder());
    fs::remove(trace);
    out.push_back(std::move(u));
  }
  return out;
}

void expect_old_or_new(Case& c, const Undisturbed& u) {
  for (const auto& [name, from] : u.job->old) {
    const std::string there = contents_of(c / name);
    c.expect(there == u.before.at(name) || there == u.after.at(name),
             name + " is the old file or the whole new one", there);
  }
}

bool expect_done(Case& c, const Undisturbed& u, const Result& r, const std::string& when) {
  return expect_done_or_more(c, u, r, when) &&
         c.expect(!leaves_more(c, u), when + ": no other files than after an undisturbed run",
                  difference(u.after, outcome(c.folder(), *u.job, r)));
}

bool expect_done_or_more(Case& c, const Undisturbed& u, const Result& r, const std::string& when) {
  if (!c.expect(r.status == 0, when + ": exit status 0", fmt::format("{}\n{}", r.status, r.err)))
    return false;
  Outcome there = outcome(c.folder(), *u.job, r);
  std::erase_if(there, [&](const auto& file) { return !u.after.contains(file.first); });
  const std::string what = difference(u.after, there);
  return c.expect(what.empty(), when + ": the result of an undisturbed run", what);
}

bool leaves_more(const Case& c, const Undisturbed& u) {
  return std::ranges::any_of(outcome_of(c.folder()),
                             [&](const auto& file) { return !u.after.contains(file.first); });
}

void expect_again(Case& c, const Undisturbed& u) {
  Result r = c.run({.arguments = u.job->arguments});
  if (r.status == 2 && !u.job->complete.empty() && r.err.find(u.job->complete) != std::string::npos)
    r.status = 0;
  expect_done(c, u, r, "the command again");
}

}  // namespace vitral::torture
