// sim: the core in a fake world. See --help.
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "engine/base/cover.h"
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
    "sim --broken-gate N      a gate that lets effects start too early is caught within N seeds\n"
    "sim --record FILE        writes the trace of the canonical job with one crash, for --replay\n"
    "--out FILE               where the trace of a failure goes (default: sim.trace)\n";

std::set<std::string>* covered = nullptr;

struct Arguments {
  uint64_t seed = 1, count = 0, first = 1;
  std::string mode, file, out = "sim.trace";
  bool steps = false;
};

void write_file(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

// Runs one seed; on a violation says how to see it again. True when all is well.
bool run_seed(uint64_t seed, const Arguments& arguments, bool print) {
  World world({seed, false});
  bool well = true;
  try {
    world.run();
  } catch (const Violation& violation) {
    well = false;
    write_file(arguments.out, world.trace());
    std::fprintf(stderr, "seed %llu: %s\n  reproduce: sim --seed %llu --steps\n  trace: %s\n",
                 static_cast<unsigned long long>(seed), violation.what.c_str(),
                 static_cast<unsigned long long>(seed), arguments.out.c_str());
  }
  if (print) std::fputs(world.trace().c_str(), stdout);
  return well;
}

int run_seeds(const Arguments& arguments) {
  int failures = 0;
  for (uint64_t seed = arguments.first; seed < arguments.first + arguments.count; seed++) {
    if (!run_seed(seed, arguments, false) && ++failures >= 5) break;
  }
  std::printf("%llu seeds from %llu: %d failures\n",
              static_cast<unsigned long long>(arguments.count),
              static_cast<unsigned long long>(arguments.first), failures);
  return failures == 0 ? 0 : 1;
}

bool run_crashes(const std::vector<int>& crashes, bool disk_first, bool apply, int* events,
                 const Arguments& arguments) {
  World world({7, false});
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

// The marks that stand in the core's sources.
std::set<std::string> marks() {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(MILLRACE_SOURCE "/engine/core")) {
    std::ifstream file(entry.path());
    std::stringstream text;
    text << file.rdbuf();
    const std::string source = text.str();
    constexpr std::string_view kMark = "COVER(\"";
    for (size_t at = source.find(kMark); at != std::string::npos; at = source.find(kMark, at + 1)) {
      const size_t begin = at + kMark.size();
      names.insert(source.substr(begin, source.find('"', begin) - begin));
    }
  }
  return names;
}

int run_coverage(const Arguments& arguments) {
  std::set<std::string> missing = marks(), seen;
  const size_t all = missing.size();
  covered = &seen;
  cover_sink = [](const char* name) { covered->insert(name); };
  uint64_t seed = arguments.first;
  for (; seed < arguments.first + arguments.count && !missing.empty(); seed++) {
    if (!run_seed(seed, arguments, false)) return 1;
    for (const std::string& name : seen) missing.erase(name);
  }
  cover_sink = nullptr;
  for (const std::string& name : missing) std::fprintf(stderr, "never reached: %s\n", name.c_str());
  std::printf("%zu of %zu marks reached in %llu seeds\n", all - missing.size(), all,
              static_cast<unsigned long long>(seed - arguments.first));
  return missing.empty() && all > 0 ? 0 : 1;
}

int run_broken_gate(const Arguments& arguments) {
  for (uint64_t seed = 1; seed <= arguments.count; seed++) {
    World world({seed, true});
    try {
      world.run();
    } catch (const Violation& violation) {
      const bool right = violation.what.starts_with("I3") || violation.what.starts_with("I4");
      std::printf("caught at seed %llu: %s\n", static_cast<unsigned long long>(seed),
                  violation.what.c_str());
      return right ? 0 : 1;
    }
  }
  std::fprintf(stderr, "a broken gate was not noticed in %llu seeds\n",
               static_cast<unsigned long long>(arguments.count));
  return 1;
}

bool read_arguments(int argc, char** argv, Arguments* arguments) {
  for (int i = 1; i < argc; i++) {
    const std::string name = argv[i];
    if (name == "--steps") {
      arguments->steps = true;
    } else if (name == "--exhaustive") {
      arguments->mode = name;
    } else if (i + 1 >= argc) {
      return false;
    } else if (name == "--out") {
      arguments->out = argv[++i];
    } else if (name == "--first") {
      arguments->first = std::strtoull(argv[++i], nullptr, 10);
    } else if (name == "--replay" || name == "--record") {
      arguments->mode = name;
      arguments->file = argv[++i];
    } else if (name == "--seed" || name == "--seeds" || name == "--coverage" ||
               name == "--broken-gate") {
      arguments->mode = name;
      arguments->seed = arguments->count = std::strtoull(argv[++i], nullptr, 10);
    } else {
      return false;
    }
  }
  return !arguments->mode.empty();
}

int run(const Arguments& arguments) {
  if (arguments.mode == "--seed")
    return run_seed(arguments.seed, arguments, arguments.steps) ? 0 : 1;
  if (arguments.mode == "--seeds") return run_seeds(arguments);
  if (arguments.mode == "--exhaustive") return run_exhaustive(arguments);
  if (arguments.mode == "--replay") return run_replay(arguments);
  if (arguments.mode == "--record") {
    World world({7, false});
    world.run_scripted({12}, true, true);
    write_file(arguments.file, world.trace());
    return 0;
  }
  if (arguments.mode == "--coverage") return run_coverage(arguments);
  return run_broken_gate(arguments);
}

}  // namespace
}  // namespace millrace::sim

int main(int argc, char** argv) {
  millrace::sim::Arguments arguments;
  if (!millrace::sim::read_arguments(argc, argv, &arguments)) {
    std::fputs(millrace::sim::kHelp, stderr);
    return 2;
  }
  return millrace::sim::run(arguments);
}
