// What the program can do with clusters: one seed, many, those with a rule left out.
#pragma once

#include <optional>
#include <string>

#include "tests/sim/cluster.h"

namespace millrace::sim {

std::optional<BrokenRule> parse_rule(const std::string& name);

// Nothing: all is well. The log of a failure goes to `out`; with `print` it is printed as well.
std::optional<Violation> run_cluster(const ClusterOptions& options, const std::string& out,
                                     bool print);
// Exit codes of the program.
int run_cluster_seeds(uint64_t first, uint64_t count, const std::string& out);
// A rule that is left out is caught as what it is within `count` seeds, and the same seed shows it
// again, event by event.
int run_cluster_broken(BrokenRule rule, uint64_t count);

}  // namespace millrace::sim
