#include "engine/pipeline/yaml.h"

#include <yaml-cpp/anchor.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <istream>
#include <streambuf>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/pipeline/text.h"
#include "engine/pipeline/yaml_place.h"

namespace millrace {
namespace {

// What stops the reading; never leaves this file.
struct Refusal {
  int number;
  Span at;
  std::string message;
  std::string hint;
};

class ViewBuffer : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view text) {
    char* first = const_cast<char*>(text.data());  // only read: a streambuf has no const form
    setg(first, first, first + text.size());
  }
};

std::string_view line_around(std::string_view source, size_t offset) {
  const size_t at = std::min(offset, source.size());
  const size_t before = at == 0 ? std::string_view::npos : source.rfind('\n', at - 1);
  const size_t first = before == std::string_view::npos ? 0 : before + 1;
  return source.substr(first, source.find('\n', at) - first);
}

// What people write that YAML does not read as they mean it.
std::string syntax_hint(std::string_view source, size_t offset, std::string_view problem) {
  const std::string_view line = line_around(source, offset);
  const size_t open = line.find("${{");
  if (problem.find("tab") != std::string_view::npos ||
      line.substr(0, line.find_first_not_of(" \t")).find('\t') != std::string_view::npos) {
    return "indent with spaces, YAML takes no tabs there";
  }
  if (open != std::string_view::npos) {
    const std::string_view before = line.substr(0, open);
    if (before.find_first_of("{[") != std::string_view::npos) {
      return "quote an expression inside { } or [ ]: \"${{ … }}\"";
    }
    return "quote an expression that holds ': ' (as a ternary does) or a '#': \"${{ … }}\"";
  }
  const size_t colon = line.find(": ");
  if (colon != std::string_view::npos) {
    const size_t value = line.find_first_not_of(' ', colon + 1);
    if (value != std::string_view::npos && (line[value] == '"' || line[value] == '\'')) {
      return "a value that begins with a quote must end with it; quote the whole in the other kind "
             "of quotes";
    }
    if (value != std::string_view::npos &&
        std::string_view("%@`*&|>{[").find(line[value]) != std::string_view::npos) {
      return fmt::format("quote a value that begins with '{}'", line[value]);
    }
    if (line.find(": ", colon + 1) != std::string_view::npos)
      return "quote a value that holds ': '";
  }
  return {};
}

}  // namespace

class YamlBuilder final : public YAML::EventHandler {
 public:
  explicit YamlBuilder(std::string_view source) { document_.source_ = source; }

  YamlDocument take() { return std::move(document_); }
  bool empty() const { return document_.nodes_.empty(); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const size_t at = value_start(offset(mark));
    const std::string_view rest = source().substr(at);
    std::string_view word;
    for (const std::string_view null : {"null", "Null", "NULL", "~"}) {
      if (rest.starts_with(null)) word = null;
    }
    // The mark of a value that is not there is that of whatever comes next.
    if (word.empty() || next_line_key(at)) {
      add(YamlNode::Kind::kEmpty, anchor, {last_key_.offset, last_key_.length});
      return;
    }
    YamlNode& node = add(YamlNode::Kind::kScalar, anchor, {at, word.size()});
    node.text = word;
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    const size_t at = offset(mark);
    if (found == anchors_.end() || open_anchors_.count(anchor) != 0) {
      throw Refusal{
          errors::kYamlSyntax, {at, 1}, "an alias stands inside the value that it names", {}};
    }
    const Size& size = sizes_[found->second];
    count(size.nodes, at);
    check_depth(stack_.size() + size.depth, at);
    attach(found->second);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    const size_t at = value_start(offset(mark));
    check_tag(tag, at, true);
    YamlNode::Style style = YamlNode::Style::kPlain;
    const char first = at < source().size() ? source()[at] : '\0';
    if (tag == "!") {  // how yaml-cpp says "not plain"
      style = first == '\''  ? YamlNode::Style::kSingleQuoted
              : first == '"' ? YamlNode::Style::kDoubleQuoted
              : first == '>' ? YamlNode::Style::kFolded
                             : YamlNode::Style::kLiteral;
    }
    const ScalarPlaces places = find_places(source(), at, style, value);
    if (!places.closed && !places.offsets.empty()) {
      throw Refusal{errors::kYamlSyntax, {at, 1}, "a quote is opened here and never closed", {}};
    }
    const bool block = style == YamlNode::Style::kLiteral || style == YamlNode::Style::kFolded;
    const size_t end = places.offsets.empty() || block ? at + 1 : places.end;
    if (!is_utf8(value)) {
      throw Refusal{errors::kYamlSyntax, {at, end - at}, "the text is not valid UTF-8", {}};
    }
    YamlNode& node = add(YamlNode::Kind::kScalar, anchor, {at, end - at});
    node.text = value;
    node.style = style;
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::Kind::kList);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::Kind::kMap);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Size {  // of a subtree, aliases expanded
    int64_t nodes = 1;
    size_t depth = 1;
  };
  struct Open {
    uint32_t node;
    YAML::anchor_t anchor;
  };

  std::string_view source() const { return document_.source_; }
  static size_t offset(const YAML::Mark& mark) {
    return mark.pos < 0 ? 0 : static_cast<size_t>(mark.pos);
  }

  // Skips an anchor, which yaml-cpp counts to the value. A tag stays: it is refused where it
  // stands.
  size_t value_start(size_t at) const {
    if (at >= source().size() || source()[at] != '&') return at;
    const size_t name_end = source().find_first_of(" \t\r\n,]}", at);
    const size_t value = name_end == std::string_view::npos
                             ? std::string_view::npos
                             : source().find_first_not_of(" \t\r\n", name_end);
    return value == std::string_view::npos ? at : value;
  }

  void check_tag(const std::string& tag, size_t at, bool scalar) const {
    const bool written = at < source().size() && source()[at] == '!';
    if (!written && (tag.empty() || tag == "?" || tag == "!")) return;
    std::string hint = "remove the tag; values are read by their declared type";
    if (written && scalar && !source().substr(at).starts_with("!!")) {
      const std::string_view rest = source().substr(at, source().find_first_of("\r\n", at) - at);
      hint = fmt::format("'!' begins a tag in YAML; quote the value: \"{}\"", rest);
    }
    const size_t end = written ? source().find_first_of(" \t\r\n", at) : at + 1;
    throw Refusal{errors::kTagForbidden,
                  {at, end == std::string_view::npos ? 1 : end - at},
                  "YAML tags are not allowed",
                  std::move(hint)};
  }

  // Whether `at` begins a later line than the last key, not further in than it: the next key, not
  // its value.
  bool next_line_key(size_t at) const {
    const auto column = [&](size_t i) {
      const size_t before = i == 0 ? std::string_view::npos : source().rfind('\n', i - 1);
      return before == std::string_view::npos ? i : i - before - 1;
    };
    const size_t from = std::min(last_key_.offset, at);
    return source().substr(from, at - from).find('\n') != std::string_view::npos &&
           column(at) <= column(last_key_.offset);
  }

  void count(int64_t nodes, size_t at) {
    total_ = std::min<int64_t>(total_ + nodes, kYamlNodesMax + 1);
    if (total_ > kYamlNodesMax) {
      throw Refusal{
          errors::kPipelineTooLarge,
          {at, 1},
          fmt::format("the file has more than {} values, aliases counted as often as they are used",
                      kYamlNodesMax),
          {}};
    }
  }

  void check_depth(size_t depth, size_t at) const {
    if (depth <= static_cast<size_t>(kYamlDepthMax)) return;
    throw Refusal{errors::kPipelineTooLarge,
                  {at, 1},
                  fmt::format("values are nested more than {} deep", kYamlDepthMax),
                  {}};
  }

  YamlNode& add(YamlNode::Kind kind, YAML::anchor_t anchor, Span span) {
    count(1, span.offset);
    check_depth(stack_.size() + 1, span.offset);
    const auto index = static_cast<uint32_t>(document_.nodes_.size());
    YamlNode& node = document_.nodes_.emplace_back();
    sizes_.emplace_back();
    node.kind = kind;
    node.span = span;
    if (anchor != 0) anchors_[anchor] = index;
    attach(index);
    return document_.nodes_[index];
  }

  void attach(uint32_t index) {
    if (stack_.empty()) {
      document_.root_ = index;
      return;
    }
    YamlNode& parent = document_.nodes_[stack_.back().node];
    if (parent.kind == YamlNode::Kind::kMap && parent.content.size() % 2 == 0) {
      last_key_ = document_.nodes_[index].span;
    }
    parent.content.push_back(index);
    Size& size = sizes_[stack_.back().node];
    if (document_.nodes_[index].kind == YamlNode::Kind::kScalar) {
      size.nodes += 1;
      size.depth = std::max<size_t>(size.depth, 2);
    } else if (!is_open(index)) {
      absorb(&size, sizes_[index]);
    }
  }

  bool is_open(uint32_t index) const {
    return std::any_of(stack_.begin(), stack_.end(),
                       [&](const Open& o) { return o.node == index; });
  }

  static void absorb(Size* size, const Size& child) {
    size->nodes = std::min<int64_t>(size->nodes + child.nodes, kYamlNodesMax + 1);
    size->depth = std::max(size->depth, child.depth + 1);
  }

  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
            YamlNode::Kind kind) {
    const size_t at = value_start(offset(mark));
    check_tag(tag, at, false);
    add(kind, anchor, {at, 1});
    stack_.push_back({static_cast<uint32_t>(document_.nodes_.size() - 1), anchor});
    if (anchor != 0) open_anchors_.emplace(anchor, true);
  }

  void close() {
    const Open top = stack_.back();
    stack_.pop_back();
    open_anchors_.erase(top.anchor);
    if (!stack_.empty()) absorb(&sizes_[stack_.back().node], sizes_[top.node]);
  }

  YamlDocument document_;
  std::vector<Size> sizes_;  // beside document_.nodes_
  std::vector<Open> stack_;
  std::map<YAML::anchor_t, uint32_t> anchors_;
  std::map<YAML::anchor_t, bool> open_anchors_;
  Span last_key_;
  int64_t total_ = 0;
};

std::optional<YamlDocument> YamlDocument::read(std::string_view source, Problems* problems) {
  YamlBuilder builder(source);
  try {
    ViewBuffer buffer(source);
    std::istream stream(&buffer);
    YAML::Parser parser(stream);
    const bool found = parser.HandleNextDocument(builder);
    if (!found || builder.empty()) {
      problems->error(errors::kYamlSyntax, {0, 1},
                      "the file is empty; a pipeline begins with 'pipeline: NAME'");
      return std::nullopt;
    }
    YamlBuilder second(source);
    if (parser.HandleNextDocument(second)) {
      const size_t at = second.empty() ? source.size() : second.take().root().span.offset;
      problems->error(errors::kYamlSyntax, {at, 1},
                      "a second document begins here; one file is one pipeline",
                      "remove the '---'");
      return std::nullopt;
    }
    return builder.take();
  } catch (const Refusal& refusal) {
    problems->error(refusal.number, refusal.at, refusal.message, refusal.hint);
  } catch (const YAML::Exception& exception) {
    const size_t at = exception.mark.pos < 0 ? 0 : static_cast<size_t>(exception.mark.pos);
    problems->error(errors::kYamlSyntax, {std::min(at, source.size()), 1},
                    fmt::format("YAML: {}", exception.msg), syntax_hint(source, at, exception.msg));
  } catch (const std::exception& exception) {
    problems->error(errors::kYamlSyntax, {0, 1}, fmt::format("YAML: {}", exception.what()));
  }
  return std::nullopt;
}

Span YamlDocument::inside(const YamlNode& scalar, size_t from, size_t length) const {
  if (scalar.kind != YamlNode::Kind::kScalar) return scalar.span;
  if (placed_ != &scalar) {
    places_ = find_places(source_, scalar.span.offset, scalar.style, scalar.text).offsets;
    placed_ = &scalar;
  }
  if (places_.empty()) return scalar.span;
  const size_t first = std::min(from, scalar.text.size());
  const size_t last = std::min(from + std::max<size_t>(length, 1), scalar.text.size());
  const size_t begin = places_[first];
  const size_t end = last > first ? places_[last - 1] + 1 : begin + 1;
  return {begin, end > begin ? end - begin : 1};
}

}  // namespace millrace
