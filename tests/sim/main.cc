// sim: the core in a fake world. See --help.
#include <fmt/ranges.h>

#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "cmake/tree.h"
#include "engine/base/cover.h"
#include "tests/sim/cluster_runs.h"
#include "tests/sim/world.h"

namespace millrace::sim {
namespace {

constexpr const char* kHelp =
    "sim --seed N             one seed; --steps prints its trace\n"
    "sim --seeds N [--first M] many seeds\n"
    "sim --exhaustive         the canonical job with a crash after each event, and after each "
    "pair\n"
    "sim --replay FILE        the events of a recorded trace must give the recorded actions\n"
    "sim --coverage N         every COVER mark of the core is reached within N seeds\n"
    "sim --broken WHAT N      what is broken on purpose (gate, eviction, grace, tombstone, race) "
    "is "
    "caught "
    "within N seeds,\n"
    "                         and the printed command fails in the same way again\n"
    "sim --record FILE        writes the trace of the canonical job with one crash, for --replay\n"
    "sim --cluster N [--first M]     many clusters of nodes over one store\n"
    "sim --cluster-seed N     one of them; --steps prints what happened; --without-rule WHAT\n"
    "sim --without WHAT N     a rule of ownership that is left out is caught within N clusters\n"
    "--out FILE               where the trace of a failure goes (default: sim.trace)\n";

std::set<std::string>* covered = nullptr;

struct Arguments {
  uint64_t seed = 1, count = 0, first = 1;
  std::string mode, file, out = "sim.trace";
  bool steps = false;
  Broken broken = Broken::kNothing;
  BrokenRule rule = BrokenRule::kNothing;
};

struct BrokenPart {
  Broken broken;
  const char* name;
  std::vector<std::string> caught_as;  // how the violation begins
};
const BrokenPart kBrokenParts[] = {
    {Broken::kGate, "gate", {"I3", "I4"}},
    {Broken::kEviction, "eviction", {"I8", "an answer", "a cancellation", "I1"}},
    {Broken::kGrace, "grace", {"I11"}},
    {Broken::kTombstone, "tombstone", {"a key was used again", "I1"}},
    {Broken::kRace, "race", {"I11", "I6"}},
};

const BrokenPart* part_of(const std::string& name) {
  for (const BrokenPart& part : kBrokenParts) {
    if (part.name == name) return &part;
  }
  return nullptr;
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

uint64_t lives = 0;  // of all worlds so far

// Runs one seed. Nothing: all is well. The trace of a failure is given back, and any with `keep`.
std::optional<Violation> run_world(const WorldOptions& options, std::string* trace,
                                   bool keep = false) {
  World world(options);
  std::optional<Violation> caught;
  try {
    world.run();
  } catch (const Violation& violation) {
    caught = violation;
  }
  lives += world.lives();
  if (caught || keep) *trace = world.trace();
  return caught;
}

std::vector<std::string> command(const WorldOptions& options) {
  std::vector<std::string> words = {"sim", "--seed", std::to_string(options.seed)};
  for (const BrokenPart& part : kBrokenParts) {
    if (part.broken != options.broken) continue;
    words.insert(words.end(), {"--with-broken", part.name});
  }
  return words;
}

// On a violation says how to see it again. True when all is well.
bool run_seed(const WorldOptions& options, const Arguments& arguments, bool print) {
  std::string trace;
  const auto violation = run_world(options, &trace, print);
  if (violation) {
    write_file(arguments.out, trace);
    std::fprintf(stderr, "seed %llu: %s\n  reproduce: %s --steps\n  trace: %s\n",
                 static_cast<unsigned long long>(options.seed), violation->what.c_str(),
                 fmt::format("{}", fmt::join(command(options), " ")).c_str(),
                 arguments.out.c_str());
  }
  if (print) std::fputs(trace.c_str(), stdout);
  return !violation;
}

int run_seeds(const Arguments& arguments) {
  int failures = 0;
  const std::clock_t begin = std::clock();
  for (uint64_t seed = arguments.first; seed < arguments.first + arguments.count; seed++) {
    if (!run_seed({seed, Broken::kNothing}, arguments, false) && ++failures >= 5) break;
  }
  // Of one core: what else the machine does counts for little. `./run bench sim` reads this line.
  const double took = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  std::printf(
      "%llu seeds from %llu: %d failures; %llu jobs lived to their end, %.0f a second of CPU\n",
      static_cast<unsigned long long>(arguments.count),
      static_cast<unsigned long long>(arguments.first), failures,
      static_cast<unsigned long long>(lives), static_cast<double>(lives) / took);
  return failures == 0 ? 0 : 1;
}

bool run_crashes(const std::vector<int>& crashes, bool disk_first, bool apply, int* events,
                 const Arguments& arguments) {
  World world({7, Broken::kNothing});
  try {
    *events = world.run_scripted(crashes, disk_first, apply);
    return true;
  } catch (const Violation& violation) {
    std::string where;
    for (const int crash : crashes) where += " " + std::to_string(crash);
    write_file(arguments.out, world.trace());
    std::fprintf(stderr, "crashes after events%s (%s first, in flight %s): %s\n  trace: %s\n",
                 where.c_str(), disk_first ? "disk" : "workers", apply ? "applied" : "lost",
                 violation.what.c_str(), arguments.out.c_str());
    return false;
  }
}

int run_exhaustive(const Arguments& arguments) {
  int runs = 0;
  for (const bool disk_first : {true, false}) {
    for (const bool apply : {true, false}) {
      int events = 0;
      if (!run_crashes({}, disk_first, apply, &events, arguments)) return 1;
      for (int first = 1; first <= events; first++) {
        int after = 0;
        if (!run_crashes({first}, disk_first, apply, &after, arguments)) return 1;
        runs++;
        for (int second = first + 1; second <= after; second++) {
          int unused = 0;
          if (!run_crashes({first, second}, disk_first, apply, &unused, arguments)) return 1;
          runs++;
        }
      }
    }
  }
  std::printf("%d runs with one or two crashes: all well\n", runs);
  return 0;
}

int run_replay(const Arguments& arguments) {
  std::ifstream file(arguments.file, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  const std::string trace = text.str();
  if (trace.empty()) {
    std::fprintf(stderr, "%s is empty or cannot be read\n", arguments.file.c_str());
    return 2;
  }
  Machine machine;
  std::istringstream lines(trace);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("> ")) machine.execute(line.substr(2));
  }
  if (machine.trace() == trace) {
    std::printf("%s: the same actions\n", arguments.file.c_str());
    return 0;
  }
  const auto [ours, theirs] =
      std::mismatch(machine.trace().begin(), machine.trace().end(), trace.begin(), trace.end());
  const auto begin =
      machine.trace().rfind('\n', static_cast<size_t>(ours - machine.trace().begin()));
  std::fprintf(stderr, "%s: other actions from byte %zu on:\n%s\n", arguments.file.c_str(),
               static_cast<size_t>(theirs - trace.begin()),
               machine.trace().substr(begin == std::string::npos ? 0 : begin + 1, 400).c_str());
  return 1;
}

void add_marks(const std::string& folder, std::set<std::string>* marks) {
  std::set<std::string>& names = *marks;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::ifstream file(entry.path());
    std::stringstream text;
    text << file.rdbuf();
    const std::string source = text.str();
    constexpr std::string_view kMark =
        "COVER"
        "(\"";
    for (size_t at = source.find(kMark); at != std::string::npos; at = source.find(kMark, at + 1)) {
      const size_t begin = at + kMark.size();
      names.insert(source.substr(begin, source.find('"', begin) - begin));
    }
  }
}

int run_coverage(const Arguments& arguments) {
  std::set<std::string> missing, seen;
  add_marks(in_source("/engine/core"), &missing);
  add_marks(in_source("/tests/sim"), &missing);
  const size_t all = missing.size();
  covered = &seen;
  cover_sink = [](const char* name) { covered->insert(name); };
  uint64_t seed = arguments.first;
  for (; seed < arguments.first + arguments.count && !missing.empty(); seed++) {
    if (!run_seed({seed, Broken::kNothing}, arguments, false)) return 1;
    if (run_cluster({seed, BrokenRule::kNothing, false}, arguments.out, false)) return 1;
    for (const std::string& name : seen) missing.erase(name);
  }
  cover_sink = nullptr;
  for (const std::string& name : missing) std::fprintf(stderr, "never reached: %s\n", name.c_str());
  std::printf("%zu of %zu marks reached in %llu seeds\n", all - missing.size(), all,
              static_cast<unsigned long long>(seed - arguments.first));
  return missing.empty() && all > 0 ? 0 : 1;
}

bool read_arguments(const std::vector<std::string>& words, Arguments* arguments) {
  for (size_t i = 1; i < words.size(); i++) {
    const std::string& name = words[i];
    if (name == "--steps") {
      arguments->steps = true;
      continue;
    }
    if (name == "--exhaustive") {
      arguments->mode = name;
      continue;
    }
    if (i + 1 >= words.size()) return false;
    const std::string& value = words[++i];
    if (name == "--out") {
      arguments->out = value;
    } else if (name == "--first") {
      arguments->first = std::strtoull(value.c_str(), nullptr, 10);
    } else if (name == "--replay" || name == "--record") {
      arguments->mode = name;
      arguments->file = value;
    } else if (name == "--seed" || name == "--seeds" || name == "--coverage" ||
               name == "--cluster" || name == "--cluster-seed") {
      arguments->mode = name;
      arguments->seed = arguments->count = std::strtoull(value.c_str(), nullptr, 10);
    } else if (name == "--without" || name == "--without-rule") {
      const auto rule = parse_rule(value);
      if (!rule) return false;
      arguments->rule = *rule;
      if (name == "--without-rule") continue;
      if (++i == words.size()) return false;
      arguments->mode = name;
      arguments->count = std::strtoull(words[i].c_str(), nullptr, 10);
    } else if (name == "--broken" || name == "--with-broken") {
      const BrokenPart* part = part_of(value);
      if (part == nullptr) return false;
      arguments->broken = part->broken;
      if (name == "--with-broken") continue;
      if (++i == words.size()) return false;
      arguments->mode = name;
      arguments->count = std::strtoull(words[i].c_str(), nullptr, 10);
    } else {
      return false;
    }
  }
  return !arguments->mode.empty();
}

// Each deliberate defect is caught as what it is, and the printed command shows it again, event by
// event.
int run_broken(const Arguments& arguments) {
  for (uint64_t seed = 1; seed <= arguments.count; seed++) {
    const WorldOptions options{seed, arguments.broken};
    std::string trace, again;
    const auto violation = run_world(options, &trace);
    if (!violation) continue;
    std::printf("caught at seed %llu: %s\n", static_cast<unsigned long long>(seed),
                violation->what.c_str());
    bool right = false;
    for (const BrokenPart& part : kBrokenParts) {
      if (part.broken != arguments.broken) continue;
      for (const std::string& begin : part.caught_as) right |= violation->what.starts_with(begin);
    }
    Arguments printed;
    CHECK(read_arguments(command(options), &printed) && printed.mode == "--seed");
    const auto repeated = run_world({printed.seed, printed.broken}, &again);
    const bool same = repeated && repeated->what == violation->what && again == trace;
    if (!right) std::fprintf(stderr, "that is not how it should be caught\n");
    if (!same) std::fprintf(stderr, "the printed command does not reproduce it\n");
    return right && same ? 0 : 1;
  }
  std::fprintf(stderr, "what is broken was not noticed in %llu seeds\n",
               static_cast<unsigned long long>(arguments.count));
  return 1;
}

int run(const Arguments& arguments) {
  if (arguments.mode == "--seed") {
    return run_seed({arguments.seed, arguments.broken}, arguments, arguments.steps) ? 0 : 1;
  }
  if (arguments.mode == "--seeds") return run_seeds(arguments);
  if (arguments.mode == "--exhaustive") return run_exhaustive(arguments);
  if (arguments.mode == "--replay") return run_replay(arguments);
  if (arguments.mode == "--record") {
    World world({7, Broken::kNothing});
    world.run_scripted({12}, true, true);
    write_file(arguments.file, world.trace());
    return 0;
  }
  if (arguments.mode == "--coverage") return run_coverage(arguments);
  if (arguments.mode == "--cluster") {
    return run_cluster_seeds(arguments.first, arguments.count, arguments.out);
  }
  if (arguments.mode == "--cluster-seed") {
    const ClusterOptions options{arguments.seed, arguments.rule, arguments.steps};
    return run_cluster(options, arguments.out, arguments.steps) ? 1 : 0;
  }
  if (arguments.mode == "--without") return run_cluster_broken(arguments.rule, arguments.count);
  return run_broken(arguments);
}

}  // namespace
}  // namespace millrace::sim

int main(int argc, char** argv) {
  millrace::sim::Arguments arguments;
  if (!millrace::sim::read_arguments({argv, argv + argc}, &arguments)) {
    std::fputs(millrace::sim::kHelp, stderr);
    return 2;
  }
  return millrace::sim::run(arguments);
}
