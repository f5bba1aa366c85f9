// Config: what the operator set, typed and checked.
//
// Each key may stand in one YAML file (nested or with dots), in the environment (MILLRACE_KEY) or
// on the command line (--set key=value); the later of these wins. Everything is strict: an unknown
// key is an error with its place and the nearest spelling, and all errors are found in one pass.
// Secrets are references (env:NAME, file:PATH), resolved when they are needed and never printed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/base/limits.h"
#include "engine/base/log.h"
#include "engine/base/status.h"
#include "engine/base/time.h"
#include "s3/client.h"

namespace millrace {

struct NamedStore {  // one entry of `stores`
  std::string name;
  std::string directory;   // of "file:DIR", absolute; empty: `s3`
  std::string public_url;  // empty: the server's route /v1/files/NAME
  std::optional<s3::Location> s3;
};

enum class AuthMode : uint8_t { kToken, kNone };

struct Config {
  std::string listen;
  std::string public_url;  // without a slash at its end; empty: none
  std::vector<std::string> cors_origins;
  std::string auth_token;  // the reference; empty: none
  AuthMode auth_mode = AuthMode::kNone;
  LogLevel log_level = LogLevel::kInfo;
  LogFormat log_format = LogFormat::kLogfmt;
  std::string data, pipelines, steps, store, blobs;
  std::vector<NamedStore> stores;  // never empty; the first is the default one
  uint32_t workers_cpu = 1, workers_io = kIoWorkersDefault;
  bool thread_isolation = false;
  int64_t body_bytes_max = kBodyBytesDefault, pixels_max = kPixelsDefault;
  uint64_t memory_bytes_max = 0;
  uint64_t workers_memory_bytes = 0;
  uint64_t blob_cache_bytes_max = 0;  // 0: no local copies of blobs in a bucket
  int64_t jobs_max = kJobsResidentDefault, accepted_max = kJobsAcceptedDefault;
  DurationMs retention_ms = 0, lease_ms = 0, drain_ms = 0;
  std::vector<std::string> webhook_secrets;  // references
  std::vector<std::string> webhook_allow;
  bool webhook_allow_set = false;

  // server.public_url + path, or the bare path. [any]
  std::string url_of(std::string_view path) const { return public_url + std::string(path); }
};

struct ConfigSources {
  std::string file;                                              // empty: none
  std::vector<std::pair<std::string, std::string>> flags;        // --set, in order
  std::vector<std::pair<std::string, std::string>> environment;  // MILLRACE_… only
};

struct LoadedConfig {
  Config config;
  std::vector<std::string> errors;    // "FILE:LINE:COL: error E100: …", ready to print
  std::vector<std::string> warnings;  // the same for what is only suspicious
};

// Reads and checks everything. Paths are made absolute. With errors, `config` is not to be used.
// [main]
LoadedConfig load_config(const ConfigSources& sources);
// The MILLRACE_… variables of this process. [main]
std::vector<std::pair<std::string, std::string>> config_environment();

// The value behind env:NAME or file:PATH (without its last line break). E106 when there is none.
// The message names the reference, never the value. [any]
Result<std::string> resolve_secret(std::string_view reference);
// What plugins may ask for: configuration key -> JSON text, secrets resolved. [main]
Result<std::vector<std::pair<std::string, std::string>>> plugin_settings(const Config& config);

// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN; empty where they are not set.
// [main]
s3::Credentials s3_credentials();

// Half of the cgroup's memory limit (v1 or v2), or of the machine's memory. [any]
uint64_t default_memory_bytes();
uint64_t default_workers_memory_bytes();
// The directory of the running program, without a slash at its end. [any]
std::string program_directory();

// JSON Schema (2020-12) of the configuration file, for editors. [any]
std::string config_schema();

// ---- the table of keys
enum class KeyKind : uint8_t {
  kText,
  kWord,
  kBool,
  kInt,
  kSize,
  kDuration,
  kList,
  kSecret,
  kSecrets,
  kStores
};
struct ConfigKey {
  const char* name;
  KeyKind kind;
  const char* default_text;  // as a file would write it; empty: none, or made at start
  const char* doc;
  const char* words = "";  // of kWord, separated by spaces
};
const std::vector<ConfigKey>& config_keys();                // [any]
const ConfigKey* find_config_key(std::string_view name);    // null: none. [any]
std::string config_environment_name(std::string_view key);  // limits.body -> MILLRACE_LIMITS_BODY

}  // namespace millrace
