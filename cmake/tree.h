// Where the source tree and its build are: for tests, benchmarks and the demo, which run from them.
// What is installed does not link this.
#pragma once

#include <string>

namespace millrace {

// Absolute; `path` begins with '/' or is empty. [any thread]
std::string in_source(const std::string& path);
std::string in_build(const std::string& path);

}  // namespace millrace
