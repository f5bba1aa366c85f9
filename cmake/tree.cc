#include "cmake/tree.h"

namespace millrace {

std::string in_source(const std::string& path) {
  return SOURCE_TREE + path;
}

std::string in_build(const std::string& path) {
  return BUILD_TREE + path;
}

}  // namespace millrace
