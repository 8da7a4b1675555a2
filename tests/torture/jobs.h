// The commands that write, each small enough to be run thousands of times, and what an undisturbed one
// leaves.
#pragma once
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/torture/kind.h"
#include "tests/torture/outcome.h"
#include "tests/torture/trace.h"

namespace vitral::torture {

struct Job {
  std::string name;                    // the row of the table
  std::vector<std::string> arguments;  // the same again go on from, or replace, what is there
  std::vector<std::string> inputs;     // of the workshop
  /// What lies at the outputs before: their names, and the file of the workshop. Each is this one or the new
  /// one at any time.
  std::vector<std::pair<std::string, std::string>> old = {};
  std::string complete = "";  // what it says where all is done already; it ends with 2 then
  bool prints = false;        // the result is what it prints
  bool whole = true;          // no half of an output is ever seen, not even after a kill
};

const std::vector<Job>& jobs();

/// What a job does where nothing disturbs it.
struct Undisturbed {
  const Job* job;
  Outcome before, after;  // the folder
  double seconds = 0;
  std::vector<TracedCall> calls{};  // paths relative to the folder
};
std::vector<Undisturbed> run_undisturbed(const Workshop& shop);

/// The inputs and old files in the folder of a case.
void take(Case& c, const Job& job);
/// Each output is the old one or the new one, whole.
void expect_old_or_new(Case& c, const Undisturbed& u);
/// The folder, and what was printed, are those of an undisturbed run.
bool expect_done(Case& c, const Undisturbed& u, const Result& r, const std::string& when);
/// ... but for files that are there, too.
bool expect_done_or_more(Case& c, const Undisturbed& u, const Result& r, const std::string& when);
bool leaves_more(const Case& c, const Undisturbed& u);
/// The same command again comes to its end, or says that it has.
void expect_again(Case& c, const Undisturbed& u);

}  // namespace vitral::torture
