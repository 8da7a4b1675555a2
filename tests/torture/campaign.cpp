#include "tests/torture/campaign.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <set>

#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/files/atomic.h"
#include "base/files/digest.h"
#include "base/files/input_file.h"

namespace vitral::torture {

using nlohmann::json;

struct Campaign::Progress {
  std::string name;
  double share;
  std::unique_ptr<Kind> kind;
  std::int64_t next = 0;                   // all cases before are done
  std::int64_t given = 0;                  // the next to hand out
  std::map<std::int64_t, json> waiting{};  // done before one with a smaller number
  bool ended = false;                      // there are no more cases
  double seconds = 0;
  struct Row {
    std::int64_t tried = 0, failed = 0;
  };
  std::map<std::string, Row> rows{};  // by command
};

// A process that takes one case after the other: what kills it leaves the others alone.
struct Campaign::Worker {
  pid_t id = -1;
  Descriptor socket;
  bool busy = false;
};

namespace {

volatile std::sig_atomic_t stopped = 0;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void send(int socket, const json& message) {
  const std::string text = message.dump(-1, ' ', false, json::error_handler_t::replace);
  if (::send(socket, text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size()))
    throw_error("a worker of the campaign is gone: {}", std::strerror(errno));
}

std::optional<json> receive_from(int socket) {
  std::string text(std::size_t{1} << 17, '\0');
  const ssize_t n = ::recv(socket, text.data(), text.size(), 0);
  if (n <= 0) return std::nullopt;
  return json::parse(text.substr(0, static_cast<std::size_t>(n)));
}

std::string digest_text(const std::string& path) {
  const FileDigest digest = digest_of(path);
  return fmt::format("{} {:016x}", digest.bytes, digest.xxh3);
}

}  // namespace

Campaign::Campaign(const CampaignOptions& options, const Workshop& shop) : options_(options), shop_(shop) {
  auto all = registrations();
  std::ranges::sort(all, {}, &Registration::name);
  std::set<std::string> wanted(options.kinds.begin(), options.kinds.end());
  for (const auto& registration : all)
    if (options.kinds.empty() || wanted.erase(registration.name) > 0)
      kinds_.push_back({registration.name, registration.share, registration.make()});
  std::string names;
  for (const auto& registration : all) names += " " + registration.name;
  if (!wanted.empty()) throw_error<UsageError>("there is no kind '{}', only:{}", *wanted.begin(), names);
  if (!options.restart) load();
  for (const auto& k : kinds_) k.kind->prepare(shop);
}

Campaign::~Campaign() {
  for (auto& worker : workers_) {
    worker.socket.close();  // it ends then
    ::waitpid(worker.id, nullptr, 0);
  }
}

void Campaign::load() {
  if (!std::filesystem::exists(options_.state)) return;
  const json state = json::parse(read_text_file(options_.state, 1 << 24));
  if (state["seed"] != options_.seed || state["program"] != digest_text(shop_.tools.vitral)) return;
  for (auto& k : kinds_) {
    const auto found = state["kinds"].find(k.name);
    if (found == state["kinds"].end()) continue;
    k.next = k.given = found->at("next");
    k.ended = found->at("ended");
    k.seconds = found->at("seconds");
    for (const auto& [command, row] : found->at("rows").items()) k.rows[command] = {row[0], row[1]};
  }
}

void Campaign::save() const {
  json state = json::object();
  if (std::filesystem::exists(options_.state)) state = json::parse(read_text_file(options_.state, 1 << 24));
  const std::string program = digest_text(shop_.tools.vitral);
  if (state.value("program", "") != program || state.value("seed", std::uint64_t{0}) != options_.seed)
    state = {{"seed", options_.seed}, {"program", program}, {"kinds", json::object()}};
  for (const auto& k : kinds_) {
    json rows = json::object();
    for (const auto& [command, row] : k.rows) rows[command] = {row.tried, row.failed};
    state["kinds"][k.name] = {{"next", k.next}, {"ended", k.ended}, {"seconds", k.seconds}, {"rows", rows}};
  }
  write_file_atomic(options_.state, state.dump(1));
}

// In a worker: runs a case, and keeps it where something is wrong.
std::optional<json> Campaign::work(std::size_t kind, std::int64_t number) const {
  const Progress& k = kinds_[kind];
  const double begin = now();
  Case c(shop_, k.name, options_.seed, number, fmt::format("{}/cases/{}-{}", shop_.folder, k.name, number));
  json result{{"kind", kind}, {"number", number}, {"kept", ""}};
  try {
    if (!k.kind->run(c)) return std::nullopt;
  } catch (const std::exception& e) {
    c.expect(false, "the case can be made", e.what());
  }
  result["failures"] = c.failures();
  if (!c.failures().empty()) {
    const std::string folder = fmt::format("{}/{}-{}-{}", options_.findings, k.name, options_.seed, number);
    c.keep(folder);
    result["kept"] = folder;
  }
  result["command"] = c.command;
  result["tried"] = c.tried;
  result["seconds"] = now() - begin;
  return result;
}

void Campaign::serve(int socket) const {
  while (const auto message = receive_from(socket)) {
    const std::size_t kind = message->at("kind");
    const std::int64_t number = message->at("number");
    const auto result = work(kind, number);
    send(socket, result ? *result : json{{"kind", kind}, {"number", number}, {"ended", true}});
  }
}

// The one that has had least of its share.
Campaign::Progress* Campaign::next_kind() {
  Progress* out = nullptr;
  for (auto& k : kinds_)
    if (!k.ended && (!out || k.seconds / k.share < out->seconds / out->share)) out = &k;
  return out;
}

void Campaign::hand_out(Worker& worker) {
  Progress* k = next_kind();
  if (!k) return;
  send(worker.socket, {{"kind", k - kinds_.data()}, {"number", k->given++}});
  k->seconds += 1e-3;  // so that the other workers take other kinds
  worker.busy = true;
}

void Campaign::receive(Worker& worker) {
  const auto message = receive_from(worker.socket);
  if (!message) throw_error("a worker of the campaign has died");
  worker.busy = false;
  Progress& k = kinds_[message->at("kind").get<std::size_t>()];
  if (message->contains("ended")) {
    k.ended = true;
    return;
  }
  k.seconds += message->at("seconds").get<double>();
  for (const auto& failure : message->at("failures"))
    fmt::print("finding {}:{} ({})\n{}\n  again: {}/run.sh\n", k.name,
               message->at("number").get<std::int64_t>(), message->at("command").get<std::string>(),
               failure.get<std::string>(), message->at("kept").get<std::string>());
  std::fflush(stdout);
  k.waiting[message->at("number")] = *message;
  for (auto first = k.waiting.find(k.next); first != k.waiting.end(); first = k.waiting.find(++k.next)) {
    note(k, first->second);
    k.waiting.erase(first);
  }
}

void Campaign::note(Progress& k, const json& result) {
  auto& row = k.rows[result.at("command").get<std::string>()];
  row.tried += result.at("tried").get<std::int64_t>();
  row.failed += !result.at("failures").empty();
}

void Campaign::print_progress(double minutes) const {
  std::string line;
  std::int64_t failed = 0;
  for (const auto& k : kinds_) {
    std::int64_t tried = 0;
    for (const auto& [command, row] : k.rows) {
      tried += row.tried;
      failed += row.failed;
    }
    line += fmt::format(", {} {}{}", k.name, tried, k.ended ? " (all)" : "");
  }
  fmt::print("{:5.1f} of {:g} min{}; findings: {}\n", minutes, options_.minutes, line, failed);
  std::fflush(stdout);
}

void Campaign::run() {
  for (int i = 0; i < options_.workers; ++i) {
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
      throw_error("socketpair: {}", std::strerror(errno));
    Worker worker;
    worker.id = ::fork();
    if (worker.id < 0) throw_error("fork: {}", std::strerror(errno));
    if (worker.id == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::setpgid(0, 0);  // Ctrl-C is for the campaign, not for a case
      for (auto& other : workers_) other.socket.close();
      ::close(pair[0]);
      serve(pair[1]);
      std::_Exit(0);
    }
    ::close(pair[1]);
    worker.socket = Descriptor(pair[0]);
    workers_.push_back(std::move(worker));
  }
  struct sigaction stop {};
  stop.sa_handler = [](int) { stopped = 1; };
  ::sigaction(SIGINT, &stop, nullptr);
  ::sigaction(SIGTERM, &stop, nullptr);

  const double begin = now(), end = begin + 60 * options_.minutes;
  double shown = begin;
  for (;;) {
    if (!stopped && now() < end)
      for (auto& worker : workers_)
        if (!worker.busy) hand_out(worker);
    std::vector<pollfd> sockets;
    for (const auto& worker : workers_) sockets.push_back({worker.busy ? worker.socket : -1, POLLIN, 0});
    if (std::ranges::none_of(workers_, &Worker::busy)) break;
    ::poll(sockets.data(), sockets.size(), 1000);
    for (std::size_t i = 0; i < workers_.size(); ++i)
      if (sockets[i].revents) receive(workers_[i]);
    if (now() - shown >= 10) {
      shown = now();
      print_progress((shown - begin) / 60);
      save();
    }
  }
  save();
}

bool Campaign::run_case(const std::string& kind, std::int64_t number) {
  const auto found = std::ranges::find(kinds_, kind, &Progress::name);
  const auto result = work(static_cast<std::size_t>(found - kinds_.begin()), number);
  if (!result) throw_error<UsageError>("{}: there is no case {}", kind, number);
  for (const auto& failure : result->at("failures")) fmt::print("{}\n", failure.get<std::string>());
  if (result->at("failures").empty())
    fmt::print("{}:{} ({}): as it must be\n", kind, number, result->at("command").get<std::string>());
  else
    fmt::print("kept in {}\n", result->at("kept").get<std::string>());
  return result->at("failures").empty();
}

std::int64_t Campaign::print_table() const {
  std::int64_t all = 0;
  fmt::print("\n{:<10} {:<20} {:>8} {:>8}\n", "kind", "command", "tried", "failed");
  for (const auto& k : kinds_)
    for (const auto& [command, row] : k.rows) {
      fmt::print("{:<10} {:<20} {:>8} {:>8}\n", k.name, command, row.tried, row.failed);
      all += row.failed;
    }
  return all;
}

}  // namespace vitral::torture
