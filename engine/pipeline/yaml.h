// YamlDocument: the text of one file as a tree whose every byte knows where it stands in the
// source.
//
// The only user of yaml-cpp. It knows nothing of pipelines: values are text, never guessed at. Tags
// are refused, anchors and aliases allowed within kYamlNodesMax and kYamlDepthMax, aliases counted
// as often as they are used. Internal to the folder.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/pipeline/problems.h"

namespace millrace {

struct YamlNode {
  enum class Kind : uint8_t { kEmpty, kScalar, kList, kMap };
  enum class Style : uint8_t { kPlain, kSingleQuoted, kDoubleQuoted, kLiteral, kFolded };
  Kind kind = Kind::kEmpty;
  Style style = Style::kPlain;
  std::string text;               // of a scalar, decoded
  Span span;                      // of the value in the source, its quotes included
  std::vector<uint32_t> content;  // kList: the elements; kMap: key, value, key, value …
};

class YamlDocument {
 public:
  // Reads one document. Nothing, and one problem (E030, E057 or E061), when it cannot be read.
  // `source` must outlive it.
  static std::optional<YamlDocument> read(std::string_view source, Problems* problems);

  const YamlNode& root() const { return nodes_[root_]; }
  const YamlNode& at(uint32_t index) const { return nodes_[index]; }
  // The source bytes behind bytes [from, from + length) of a scalar's decoded text.
  Span inside(const YamlNode& scalar, size_t from, size_t length) const;

 private:
  friend class YamlBuilder;
  // The places of the scalar that was asked about last: a text with many expressions asks often.
  mutable const YamlNode* placed_ = nullptr;
  mutable std::vector<size_t> places_;
  std::string_view source_;
  std::vector<YamlNode> nodes_;
  uint32_t root_ = 0;
};

}  // namespace millrace
