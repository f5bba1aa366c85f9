// The keys of the configuration, and their schema.
#include "engine/base/value.h"
#include "server/config.h"

namespace millrace {

const std::vector<ConfigKey>& config_keys() {
  using K = KeyKind;
  static const std::vector<ConfigKey> keys = {
      {"listen", K::kText, "127.0.0.1:8080",
       "Address and port to listen on; port 0 picks a free one."},
      {"server.public_url", K::kText, "", "Absolute base of the URLs that leave the server."},
      {"cors.origins", K::kList, "", "Origins that browsers may call this server from."},
      {"auth.token", K::kSecret, "",
       "Bearer token that requests must carry: env:NAME or file:PATH."},
      {"auth.mode", K::kWord, "", "none lets everybody in; beyond loopback it must be said.",
       "token none"},
      {"log.level", K::kWord, "info", "The least level that is logged.",
       "debug info warning error"},
      {"log.format", K::kWord, "logfmt", "How log lines are written.", "logfmt json"},
      {"data", K::kText, "./millrace-data", "Directory of the embedded store and of local blobs."},
      {"pipelines", K::kText, "./pipelines",
       "Directory of pipeline files, read at start and on SIGHUP."},
      {"pipelines.writable", K::kBool, "false",
       "Whether PUT may change pipelines (not in this version)."},
      {"steps", K::kText, "", "Directory of step plugins; default: steps, next to the program."},
      {"store", K::kText, "sqlite:",
       "Where jobs are durable: sqlite: (in data), sqlite:PATH, or mongodb://…/DATABASE, which "
       "several replicas share."},
      {"blobs", K::kText, "file:",
       "Where bytes are durable: file: (in data), file:DIR or "
       "s3://BUCKET/PREFIX?endpoint=URL&region=R."},
      {"blobs.cache", K::kSize, "1GiB",
       "Local copies of blobs in a bucket, below data; 0B keeps none."},
      {"stores", K::kStores, "",
       "Named places of the step store: {NAME: {url: \"file:DIR\" or \"s3://…\", public_url: "
       "URL}}."},
      {"workers.cpu", K::kInt, "", "Steps of the cpu lane that run at once; default: the cores."},
      {"workers.io", K::kInt, "32", "Steps of the io lane that run at once."},
      {"workers.memory", K::kSize, "",
       "Memory that running steps of the cpu lane may be promised, by the sizes of their images; "
       "default: three eighths of what there is."},
      {"workers.isolation", K::kWord, "process",
       "process: sandboxed children; thread: for debugging a plugin.", "process thread"},
      {"limits.body", K::kSize, "64MiB", "The largest upload."},
      {"limits.pixels", K::kInt, "268000000", "Pixels of one image over all its frames."},
      {"limits.memory", K::kSize, "",
       "Bytes of uploads and results in memory; default: half of what there is."},
      {"limits.jobs", K::kInt, "10000", "Jobs in the core at once; more wait in the store."},
      {"limits.accepted", K::kInt, "1000000",
       "Unfinished jobs in all; beyond it submissions get 429."},
      {"retention", K::kDuration, "7d",
       "How long ended jobs and the blobs only they hold are kept."},
      {"lease", K::kDuration, "10s", "How long a silent replica keeps its jobs (shared stores)."},
      {"drain", K::kDuration, "30s", "How long SIGTERM waits for running steps."},
      {"webhook.secret", K::kSecrets, "",
       "Signing secrets (whsec_ and base64) as references; two may be live."},
      {"webhook.allow", K::kList, "",
       "Address ranges that notify may reach, instead of the public ones."},
  };
  return keys;
}

const ConfigKey* find_config_key(std::string_view name) {
  for (const ConfigKey& key : config_keys()) {
    if (name == key.name) return &key;
  }
  return nullptr;
}

std::string config_environment_name(std::string_view key) {
  std::string out = "MILLRACE_";
  for (char c : key) {
    out += c == '.' ? '_' : c >= 'a' && c <= 'z' ? static_cast<char>(c - ('a' - 'A')) : c;
  }
  return out;
}

namespace {

Value::Map schema_of_kind(const ConfigKey& key) {
  const Value list_of_text =
      Value::Map{{"type", "array"}, {"items", Value::Map{{"type", "string"}}}};
  switch (key.kind) {
    case KeyKind::kText:
      return {{"type", "string"}};
    case KeyKind::kWord: {
      Value::List words;
      std::string_view rest = key.words;
      while (!rest.empty()) {
        const size_t end = std::min(rest.find(' '), rest.size());
        words.emplace_back(rest.substr(0, end));
        rest.remove_prefix(std::min(end + 1, rest.size()));
      }
      return {{"enum", std::move(words)}};
    }
    case KeyKind::kBool:
      return {{"type", "boolean"}};
    case KeyKind::kInt:
      return {{"type", "integer"}, {"minimum", 1}};
    case KeyKind::kSize:
      return {{"type", "string"}, {"pattern", "^[0-9]+([KMGT]i?)?B$"}};
    case KeyKind::kDuration:
      return {{"type", "string"}, {"pattern", "^[0-9]+(ms|s|m|h|d)$"}};
    case KeyKind::kList:
      return {{"anyOf", Value::List{list_of_text, Value::Map{{"type", "string"}}}}};
    case KeyKind::kSecret:
      return {{"type", "string"}, {"pattern", "^(env:|file:).+$"}};
    case KeyKind::kSecrets: {
      const Value one = Value::Map{{"type", "string"}, {"pattern", "^(env:|file:).+$"}};
      return {{"anyOf",
               Value::List{one, Value::Map{{"type", "array"}, {"items", one}, {"maxItems", 2}}}}};
    }
    case KeyKind::kStores: {
      const Value text = Value::Map{{"type", "string"}};
      const Value entry =
          Value::Map{{"type", "object"},
                     {"required", Value::List{"url"}},
                     {"additionalProperties", false},
                     {"properties", Value::Map{{"url", text}, {"public_url", text}}}};
      return {{"type", "object"}, {"additionalProperties", entry}};
    }
  }
  return {};
}

}  // namespace

// Every key is offered with its dots; a nested form is accepted too, so objects are allowed under
// each first part.
std::string config_schema() {
  Value::Map properties;
  for (const ConfigKey& key : config_keys()) {
    Value::Map schema = schema_of_kind(key);
    schema["description"] = key.doc;
    if (*key.default_text != '\0') schema["default"] = key.default_text;
    properties[key.name] = std::move(schema);
  }
  for (const ConfigKey& key : config_keys()) {
    const std::string_view name = key.name;
    const size_t dot = name.find('.');
    if (dot == std::string_view::npos) continue;
    const std::string group(name.substr(0, dot));
    Value nested = properties[std::string(name)];
    Value& place = properties[group];
    if (place.is_null()) {
      place = Value::Map{
          {"type", "object"}, {"additionalProperties", false}, {"properties", Value::Map{}}};
    }
    if (const Value* members = place.find("properties"); members != nullptr) {
      place.as_map()["properties"].as_map()[std::string(name.substr(dot + 1))] = std::move(nested);
    }
  }
  const Value root = Value::Map{{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                                {"title", "millrace configuration"},
                                {"type", "object"},
                                {"additionalProperties", false},
                                {"properties", std::move(properties)}};
  return canonical_json(root);
}

}  // namespace millrace
