// The version, as CMake's project() names it.
#pragma once

namespace millrace {

#ifndef MILLRACE_VERSION
#define MILLRACE_VERSION "0.0.0"
#endif
constexpr char kVersion[] = MILLRACE_VERSION;

}  // namespace millrace
