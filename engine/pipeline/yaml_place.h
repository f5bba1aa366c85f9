// Where the decoded bytes of a YAML scalar stand in the source. Internal to the folder.
#pragma once

#include <string_view>
#include <vector>

#include "engine/pipeline/yaml.h"

namespace millrace {

struct ScalarPlaces {
  std::vector<size_t>
      offsets;         // of each decoded byte, and of the end; empty when they could not be found
  bool closed = true;  // a quoted scalar has its closing quote
  size_t end = 0;      // one past the scalar's last source byte
};

// Walks `source` from `start` (the first byte of the value: its quote, `|` or first letter) beside
// its decoded `text`.
ScalarPlaces find_places(std::string_view source, size_t start, YamlNode::Style style,
                         std::string_view text);

}  // namespace millrace
