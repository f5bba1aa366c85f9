// The steps that tests of the core and the simulator run: one per effect, each with the same ports,
// and pipelines made of them.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "engine/pipeline/parse.h"

namespace millrace::testing {

// pure, idempotent, keyed, once: `with` data (blob?), more (blob?), text (json?); outputs data
// (blob?), text (json). The lane is cpu for pure, io for the others. Port numbers below.
std::shared_ptr<const Catalogue> work_catalogue();
constexpr int kDataPort = 0, kTextPort = 1;  // of outputs

// A chain such as "image -> gray[pure] -> notify[keyed]": a blob input, then steps each of which
// reads the data of the one before (and comes after it). `extra` is appended to every step's YAML.
std::string chain_yaml(std::string_view chain, std::string_view extra = "");

// Parses YAML over work_catalogue(); ends the process with the diagnostics when it is wrong.
std::shared_ptr<const Graph> graph_of(const std::string& yaml);

}  // namespace millrace::testing
