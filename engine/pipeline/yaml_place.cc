#include "engine/pipeline/yaml_place.h"

namespace millrace {
namespace {

class Walker {
 public:
  Walker(std::string_view source, size_t start, YamlNode::Style style, std::string_view text)
      : source_(source), at_(start), style_(style), text_(text) {}

  ScalarPlaces walk() {
    using Style = YamlNode::Style;
    places_.offsets.reserve(text_.size() + 1);
    if (style_ == Style::kLiteral || style_ == Style::kFolded) {
      found_ = walk_block();
    } else {
      if (style_ != Style::kPlain) at_++;
      found_ = walk_flow();
      if (style_ != Style::kPlain) {
        skip_blank_lines();
        const char quote = style_ == Style::kSingleQuoted ? '\'' : '"';
        places_.closed = at_ < source_.size() && source_[at_] == quote;
      }
    }
    places_.offsets.push_back(at_);
    places_.end = at_ + (style_ == Style::kPlain || !places_.closed ? 0 : 1);
    if (!found_) places_.offsets.clear();
    return std::move(places_);
  }

 private:
  bool done() const { return places_.offsets.size() == text_.size(); }
  char wanted() const { return text_[places_.offsets.size()]; }
  bool at_end() const { return at_ >= source_.size(); }
  void place() { places_.offsets.push_back(at_); }

  // Plain and quoted text: bytes stand for themselves, but for line folds, '' and escapes.
  bool walk_flow() {
    while (!done()) {
      if (at_end()) return false;
      if (starts_fold()) {
        if (!take_fold()) return false;
      } else if (style_ == YamlNode::Style::kSingleQuoted && source_[at_] == '\'') {
        if (wanted() != '\'' || source_.substr(at_, 2) != "''") return false;
        place();
        at_ += 2;
      } else if (style_ == YamlNode::Style::kDoubleQuoted && source_[at_] == '\\') {
        if (!take_escape()) return false;
      } else {
        if (source_[at_] != wanted()) return false;
        place();
        at_++;
      }
    }
    return true;
  }

  // Blanks up to and including a line break.
  bool starts_fold() const {
    size_t i = at_;
    while (i < source_.size() && (source_[i] == ' ' || source_[i] == '\t' || source_[i] == '\r'))
      i++;
    return i < source_.size() && source_[i] == '\n';
  }

  bool take_fold() {
    const size_t first = at_;
    size_t breaks = 0;
    while (!at_end() && is_blank(source_[at_])) breaks += source_[at_++] == '\n' ? 1 : 0;
    const size_t next = at_;
    at_ = first;
    const char folded = breaks == 1 ? ' ' : '\n';
    for (size_t i = 0; i < (breaks == 1 ? 1 : breaks - 1) && !done(); i++) {
      if (wanted() != folded) return false;
      place();
    }
    at_ = next;
    return true;
  }

  bool take_escape() {
    if (at_ + 1 >= source_.size()) return false;
    const char code = source_[at_ + 1];
    if (code == '\n' || code == '\r') {  // an escaped line break joins the lines
      at_ += 1;
      while (!at_end() && is_blank(source_[at_])) at_++;
      return true;
    }
    const size_t digits = code == 'x' ? 2 : code == 'u' ? 4 : code == 'U' ? 8 : 0;
    const bool wide = digits != 0 || code == 'N' || code == '_' || code == 'L' || code == 'P';
    place();  // an escape makes at least one byte, and all of them stand at its backslash
    while (wide && !done() && (static_cast<uint8_t>(wanted()) & 0xc0) == 0x80) place();
    at_ += 2 + digits;
    return true;
  }

  void skip_blank_lines() {
    while (!at_end() && is_blank(source_[at_])) at_++;
  }

  bool walk_block() {
    while (!at_end() && source_[at_] != '\n') at_++;
    if (at_end()) return text_.empty();
    at_++;
    const size_t indent = block_indent();
    skip_indent(indent);
    while (!done()) {
      if (at_end())
        return text_.find_first_not_of('\n', places_.offsets.size()) == text_.npos && fill();
      if (source_[at_] != '\n' && source_.substr(at_, 2) != "\r\n") {
        if (source_[at_] != wanted()) return false;
        place();
        at_++;
        continue;
      }
      take_breaks(indent);
    }
    return true;
  }

  bool fill() {
    while (!done()) place();
    return true;
  }

  // One line break in the source is one or none in the text, or a blank where lines fold.
  void take_breaks(size_t indent) {
    if (wanted() == '\n' || wanted() == ' ') place();
    if (source_[at_] == '\r') at_++;
    at_++;
    skip_indent(indent);
  }

  // Blanks before the first line that holds anything.
  size_t block_indent() const {
    size_t i = at_, column = 0;
    while (i < source_.size()) {
      if (source_[i] == ' ') {
        column++;
      } else if (source_[i] == '\n' || source_[i] == '\r') {
        column = 0;
      } else {
        return column;
      }
      i++;
    }
    return column;
  }

  void skip_indent(size_t indent) {
    for (size_t i = 0; i < indent && !at_end() && source_[at_] == ' '; i++) at_++;
  }

  static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

  const std::string_view source_;
  size_t at_;
  const YamlNode::Style style_;
  const std::string_view text_;
  ScalarPlaces places_;
  bool found_ = false;
};

}  // namespace

ScalarPlaces find_places(std::string_view source, size_t start, YamlNode::Style style,
                         std::string_view text) {
  return Walker(source, start, style, text).walk();
}

}  // namespace millrace
