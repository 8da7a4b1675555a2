// A kind of trouble. It is one file, which registers it:
//
//   class Kill : public Kind {
//    public:
//     void prepare(const Workshop& shop) override;       // once, before all cases
//     bool run(Case& c) override;                        // one case, a pure function of its seed and number
//   };
//   const Registered<Kill> kill{"kill", "SIGKILL at any moment"};
//
// A case has a folder of its own, takes files of the workshop into it, runs `vitral` there, and says what
// must be so:
//
//   c.command = "train";                                 // its row of the table
//   c.take("train.h5");
//   const Result r = c.run({.arguments = {"train", "config.yaml"}});
//   c.expect(r.status == 0, "an undisturbed training ends with 0");
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "tests/torture/program.h"
#include "tests/torture/server.h"
#include "tests/torture/workshop.h"

namespace vitral::torture {

class Case {
 public:
  /// folder: must not exist; goes with the case unless it is kept.
  Case(const Workshop& shop, std::string kind, std::uint64_t seed, std::int64_t number, std::string folder);
  ~Case();
  Case(const Case&) = delete;
  Case& operator=(const Case&) = delete;

  const Workshop& shop;
  const std::int64_t number;
  Random random;           // of the seed, the kind and the number
  std::string command;     // its row of the table
  std::int64_t tried = 1;  // what the table counts: kills, failed calls, ...

  /// Where the commands of this case run, and a file there.
  const std::string& folder() const { return files_; }
  std::string operator/(const std::string& name) const { return files_ + "/" + name; }
  /// Copies a file or folder of the workshop, under its name or another.
  void take(const std::string& name, const std::string& as = "");

  Result run(const Command& command);
  /// The same by a server, which is faster.
  Result run(const Command& command, Server& server);
  /// For what run() cannot do: starts the command, which then is a step of the case as those of run() are.
  std::unique_ptr<Program> start(const Command& command);
  /// A finding where it is not so. `must`: what was expected; `came`: what was there instead.
  bool expect(bool so, const std::string& must, const std::string& came = "");
  /// The program failed as it should: status 1 or 2, and one line that begins with "vitral: ".
  bool expect_one_line(const Result& result);
  /// ... and did not end by a signal or a hang, whatever else it did.
  bool expect_alive(const Result& result);

  const std::vector<std::string>& failures() const { return failures_; }
  /// Moves the folder to `to`: input/, left/ (as it is now), finding.txt and run.sh, which makes it again.
  void keep(const std::string& to) const;

 private:
  void begin_step(const Command& command);
  Result end_step(const Result& result);

  std::string id_;  // KIND:NUMBER of which seed
  std::string root_, files_;
  std::vector<std::string> steps_;  // lines of run.sh
  std::vector<std::string> failures_;
};

class Kind {
 public:
  virtual ~Kind() = default;
  virtual void prepare(const Workshop&) {}
  /// False: there is no case of this number, the kind has come to its end. (Cases are numbered from 0.)
  virtual bool run(Case& c) = 0;
};

struct Registration {
  std::string name, what;
  double share;  // of the time, relative to 1
  std::function<std::unique_ptr<Kind>()> make;
};
/// In the order of their names.
std::vector<Registration>& registrations();

template <class K>
struct Registered {
  Registered(const char* name, const char* what, double share = 1) {
    registrations().push_back({name, what, share, [] { return std::make_unique<K>(); }});
  }
};

}  // namespace vitral::torture
