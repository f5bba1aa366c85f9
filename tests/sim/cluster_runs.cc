#include "tests/sim/cluster_runs.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>

namespace millrace::sim {
namespace {

struct RuleName {
  BrokenRule rule;
  const char* name;
  std::vector<std::string> caught_as;  // how the violation begins
};
const RuleName kRules[] = {
    {BrokenRule::kLease, "lease", {"an effect starts"}},
    {BrokenRule::kFence, "fence", {"I5"}},
    {BrokenRule::kResend, "resend", {"I8", "an answer", "I5", "a refused submission was kept"}},
    {BrokenRule::kVerbs, "verbs", {"a verb is applied twice"}},
    {BrokenRule::kPending, "pending", {"a step starts although a cancellation"}},
    {BrokenRule::kMeeting, "meeting", {"I8"}},
    {BrokenRule::kGiveUp, "give_up", {"an effect starts beside its owner", "I8"}},
    {BrokenRule::kMark, "mark", {"I6", "I11"}},
    {BrokenRule::kWant, "want", {"I6", "I11"}},
    {BrokenRule::kThere, "there", {"I6", "I11"}},
    {BrokenRule::kBegin, "begin", {"I6", "I11"}},
    {BrokenRule::kRecheck, "recheck", {"I11", "I6"}},
    {BrokenRule::kLate, "late", {"I6", "I11"}},
    {BrokenRule::kVerify, "verify", {"I6", "I11"}},
    {BrokenRule::kOrphan, "orphan", {"I8"}},
    {BrokenRule::kTrace, "trace", {"a removed job came back", "a key was used again", "I3"}},
};

// The same seed with its log; what it throws is the same.
std::optional<Violation> run_once(const ClusterOptions& options, std::string* log,
                                  uint64_t* lives) {
  Cluster cluster(options);
  std::optional<Violation> caught;
  try {
    cluster.run();
  } catch (const Violation& violation) {
    caught = violation;
  }
  if (log != nullptr) *log = cluster.log();
  if (lives != nullptr) *lives += cluster.lives();
  return caught;
}

std::string command(const ClusterOptions& options) {
  std::string words = "sim --cluster-seed " + std::to_string(options.seed);
  for (const RuleName& rule : kRules) {
    if (rule.rule == options.broken) words += std::string(" --without-rule ") + rule.name;
  }
  return words;
}

}  // namespace

std::optional<BrokenRule> parse_rule(const std::string& name) {
  for (const RuleName& rule : kRules) {
    if (rule.name == name) return rule.rule;
  }
  return std::nullopt;
}

std::optional<Violation> run_cluster(const ClusterOptions& options, const std::string& out,
                                     bool print) {
  std::string log;
  auto violation = run_once(options, print ? &log : nullptr, nullptr);
  if (violation) {
    ClusterOptions again = options;
    again.keep_log = true;
    run_once(again, &log, nullptr);
    std::ofstream(out, std::ios::binary) << log;
    std::fprintf(stderr, "cluster seed %llu: %s\n  reproduce: %s --steps\n  log: %s\n",
                 static_cast<unsigned long long>(options.seed), violation->what.c_str(),
                 command(options).c_str(), out.c_str());
  }
  if (print) std::fputs(log.c_str(), stdout);
  return violation;
}

int run_cluster_seeds(uint64_t first, uint64_t count, const std::string& out) {
  int failures = 0;
  uint64_t lives = 0;
  const auto begin = std::chrono::steady_clock::now();
  for (uint64_t seed = first; seed < first + count; seed++) {
    ClusterOptions options;
    options.seed = seed;
    if (!run_once(options, nullptr, &lives)) continue;
    run_cluster(options, out, false);
    if (++failures >= 5) break;
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  std::printf("%llu clusters from seed %llu: %d failures; %llu jobs lived to their end; %.1f s\n",
              static_cast<unsigned long long>(count), static_cast<unsigned long long>(first),
              failures, static_cast<unsigned long long>(lives), took.count());
  return failures == 0 ? 0 : 1;
}

int run_cluster_broken(BrokenRule rule, uint64_t count) {
  const RuleName& name = *std::find_if(std::begin(kRules), std::end(kRules),
                                       [&](const RuleName& r) { return r.rule == rule; });
  for (uint64_t seed = 1; seed <= count; seed++) {
    ClusterOptions options;
    options.seed = seed;
    options.broken = rule;
    const auto violation = run_once(options, nullptr, nullptr);
    if (!violation) continue;
    std::printf("caught at seed %llu: %s\n", static_cast<unsigned long long>(seed),
                violation->what.c_str());
    const bool right =
        std::any_of(name.caught_as.begin(), name.caught_as.end(),
                    [&](const std::string& begin) { return violation->what.starts_with(begin); });
    options.keep_log = true;
    std::string once, twice;
    const auto repeated = run_once(options, &once, nullptr);
    run_once(options, &twice, nullptr);
    const bool same = repeated && repeated->what == violation->what && once == twice;
    if (!right) std::fprintf(stderr, "that is not how it should be caught\n");
    if (!same) std::fprintf(stderr, "the same seed does not show it again\n");
    return right && same ? 0 : 1;
  }
  std::fprintf(stderr, "the missing rule '%s' was not noticed in %llu seeds\n", name.name,
               static_cast<unsigned long long>(count));
  return 1;
}

}  // namespace millrace::sim
