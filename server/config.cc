#include "server/config.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "engine/base/errors.h"
#include "engine/base/value.h"
#include "engine/pipeline/text.h"
#include "engine/pipeline/yaml.h"
#include "server/config_parts.h"

extern char** environ;

namespace millrace {
namespace {

// One setting as given: text, a list of texts, or a map of maps of texts.
struct Given {
  Value value;
  std::string where;  // "FILE:3:9", "--set limits.body", "environment MILLRACE_LIMITS_BODY"
};

Value value_of_node(const YamlDocument& document, const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kEmpty:
      return "";
    case YamlNode::Kind::kScalar:
      return node.text;
    case YamlNode::Kind::kList: {
      Value::List list;
      for (uint32_t i : node.content) list.push_back(value_of_node(document, document.at(i)));
      return list;
    }
    case YamlNode::Kind::kMap: {
      Value::Map map;
      for (size_t i = 0; i + 1 < node.content.size(); i += 2) {
        map[document.at(node.content[i]).text] =
            value_of_node(document, document.at(node.content[i + 1]));
      }
      return map;
    }
  }
  return {};
}

class Loader {
 public:
  explicit Loader(LoadedConfig* out) : out_(out) {}

  void read_file(const std::string& path);
  void read_environment(const std::vector<std::pair<std::string, std::string>>& variables);
  void read_flags(const std::vector<std::pair<std::string, std::string>>& flags);
  void apply();

 private:
  void error(const std::string& where, int number, const std::string& message) {
    out_->errors.push_back(fmt::format("{}: error {}: {}", where, error_code(number), message));
  }
  void walk(const YamlDocument& document, const YamlNode& map, const std::string& prefix,
            Problems* problems);
  void set_text(const ConfigKey& key, std::string_view text, const std::string& where);
  void unknown(const std::string& where, const std::string& name);
  std::string place(Span span) const;

  LoadedConfig* out_;
  std::map<std::string, Given> given_;
  std::string file_, source_;
};

std::string Loader::place(Span span) const {
  size_t line = 1, start = 0;
  for (size_t i = 0; i < std::min(span.offset, source_.size()); i++) {
    if (source_[i] == '\n') {
      line++;
      start = i + 1;
    }
  }
  return fmt::format("{}:{}:{}", file_, line, span.offset - start + 1);
}

void Loader::unknown(const std::string& where, const std::string& name) {
  std::vector<std::string_view> names;
  for (const ConfigKey& key : config_keys()) names.emplace_back(key.name);
  const std::string hint = did_you_mean(name, names);
  error(
      where, errors::kConfigKeyUnknown,
      fmt::format("no configuration key is named '{}'{}{}", name, hint.empty() ? "" : "; ", hint));
}

bool is_prefix(const std::string& name) {
  for (const ConfigKey& key : config_keys()) {
    if (std::string_view(key.name).starts_with(name + ".")) return true;
  }
  return false;
}

void Loader::walk(const YamlDocument& document, const YamlNode& map, const std::string& prefix,
                  Problems* problems) {
  for (size_t i = 0; i + 1 < map.content.size(); i += 2) {
    const YamlNode& key_node = document.at(map.content[i]);
    const YamlNode& node = document.at(map.content[i + 1]);
    const std::string name = prefix + key_node.text;
    const std::string where = place(key_node.span);
    const ConfigKey* key = find_config_key(name);
    const bool is_map = node.kind == YamlNode::Kind::kMap;
    if (is_map && is_prefix(name) && (key == nullptr || key->kind != KeyKind::kStores)) {
      walk(document, node, name + ".", problems);  // as deep as the keys have dots
    } else if (key == nullptr) {
      unknown(where, name);
    } else if (given_.contains(name)) {
      error(where, errors::kConfigInvalid,
            fmt::format("'{}' is set twice, first at {}", name, given_[name].where));
    } else {
      given_[name] = {value_of_node(document, node), place(node.span)};
    }
  }
}

void Loader::read_file(const std::string& path) {
  file_ = path;
  auto text = read_small_file(path, kPipelineFileBytesMax);
  if (!text.ok()) {
    error(path, errors::kConfigUnreadable, text.status().message());
    return;
  }
  source_ = std::move(*text);
  bool blank = true;
  for (size_t at = 0; at < source_.size() && blank;) {
    const size_t end = std::min(source_.find('\n', at), source_.size());
    const size_t first = source_.find_first_not_of(" \t\r", at);
    blank = first == std::string::npos || first >= end || source_[first] == '#';
    at = end + 1;
  }
  if (blank) return;
  Problems problems(source_);
  const auto document = YamlDocument::read(source_, &problems);
  for (const Diagnostic& problem : problems.finish()) {
    out_->errors.push_back(format_diagnostic(file_, source_, problem));
  }
  if (!document) return;
  if (document->root().kind != YamlNode::Kind::kMap) {
    error(place(document->root().span), errors::kConfigInvalid,
          "the configuration is a map of keys, such as 'listen: 127.0.0.1:8080'");
    return;
  }
  walk(*document, document->root(), "", &problems);
}

// A setting given as one text: lists are separated by commas, maps are in YAML's flow style.
void Loader::set_text(const ConfigKey& key, std::string_view text, const std::string& where) {
  const bool flow = !text.empty() && (text.front() == '{' || text.front() == '[');
  const bool structured =
      key.kind == KeyKind::kStores || key.kind == KeyKind::kList || key.kind == KeyKind::kSecrets;
  if (!flow || !structured) {
    given_[key.name] = {Value(text), where};
    return;
  }
  Problems problems(text);
  const auto document = YamlDocument::read(text, &problems);
  if (!document) {
    for (const Diagnostic& problem : problems.finish()) {
      error(where, errors::kConfigInvalid, problem.message);
    }
    return;
  }
  given_[key.name] = {value_of_node(*document, document->root()), where};
}

void Loader::read_environment(const std::vector<std::pair<std::string, std::string>>& variables) {
  for (const auto& [name, text] : variables) {
    const ConfigKey* found = nullptr;
    for (const ConfigKey& key : config_keys()) {
      if (config_environment_name(key.name) == name) found = &key;
    }
    if (name == "MILLRACE_SERVER") continue;  // the client verbs' own
    if (found == nullptr) {
      out_->warnings.push_back(
          fmt::format("the environment variable {} is no configuration key and is not used", name));
      continue;
    }
    set_text(*found, text, "environment " + name);
  }
}

void Loader::read_flags(const std::vector<std::pair<std::string, std::string>>& flags) {
  for (const auto& [name, text] : flags) {
    const ConfigKey* key = find_config_key(name);
    if (key == nullptr) {
      unknown("--set", name);
      continue;
    }
    set_text(*key, text, "--set " + name);
  }
}

void Loader::apply() {
  ConfigBuilder builder(&out_->config);
  for (const ConfigKey& key : config_keys()) {
    const auto found = given_.find(key.name);
    const bool is_given = found != given_.end();
    if (!is_given && *key.default_text == '\0') continue;
    const Value value = is_given ? found->second.value : Value(key.default_text);
    const Status status = builder.set(key, value, is_given);
    if (!status.ok())
      error(is_given ? found->second.where : "default", status.number(), status.message());
  }
  for (const Status& status : builder.finish()) {
    error("configuration", status.number(), status.message());
  }
}

}  // namespace

LoadedConfig load_config(const ConfigSources& sources) {
  LoadedConfig out;
  Loader loader(&out);
  if (!sources.file.empty()) loader.read_file(sources.file);
  loader.read_environment(sources.environment);
  loader.read_flags(sources.flags);
  loader.apply();
  return out;
}

std::vector<std::pair<std::string, std::string>> config_environment() {
  std::vector<std::pair<std::string, std::string>> out;
  for (char** at = environ; at != nullptr && *at != nullptr; at++) {
    const std::string_view variable = *at;
    const size_t equals = variable.find('=');
    if (!variable.starts_with("MILLRACE_") || equals == std::string_view::npos) continue;
    out.emplace_back(variable.substr(0, equals), variable.substr(equals + 1));
  }
  return out;
}

}  // namespace millrace
