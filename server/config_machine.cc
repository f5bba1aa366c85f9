// What the configuration takes from the machine: memory, secrets, and what plugins are told.
#include <fmt/core.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>

#include "engine/base/errors.h"
#include "engine/base/value.h"
#include "server/config_parts.h"

namespace millrace {
namespace {

constexpr size_t kSecretBytesMax = 64 * 1024;

uint64_t limit_in(const std::string& path) {
  const auto text = read_small_file(path, 256);
  if (!text.ok()) return UINT64_MAX;
  uint64_t number = 0;
  const auto result = std::from_chars(text->data(), text->data() + text->size(), number);
  return result.ec == std::errc() && number > 0 ? number : UINT64_MAX;  // "max": no limit
}

// The smallest limit of this process's group and of the groups around it.
uint64_t cgroup_limit() {
  uint64_t least = std::min(limit_in("/sys/fs/cgroup/memory.max"),
                            limit_in("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
  const auto groups = read_small_file("/proc/self/cgroup", 64 * 1024);
  if (!groups.ok()) return least;
  std::string_view rest = *groups;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);  // 0::/path or 5:memory:/path
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const size_t path_at = line.find(":/");
    if (path_at == std::string_view::npos) continue;
    const bool v2 = line.starts_with("0::");
    if (!v2 && line.find("memory") == std::string_view::npos) continue;
    for (std::string path(line.substr(path_at + 1)); path.size() > 1;
         path.resize(path.rfind('/'))) {
      least =
          std::min(least, v2 ? limit_in("/sys/fs/cgroup" + path + "/memory.max")
                             : limit_in("/sys/fs/cgroup/memory" + path + "/memory.limit_in_bytes"));
    }
  }
  return least;
}

uint64_t memory_there_is() {
  const auto machine =
      static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return std::min(machine, cgroup_limit());
}

}  // namespace

// An eighth is left: for the server itself, and for what idle workers keep.
uint64_t default_memory_bytes() {
  return memory_there_is() / 2;
}
uint64_t default_workers_memory_bytes() {
  return memory_there_is() / 8 * 3;
}

s3::Credentials s3_credentials() {
  const auto text = [](const char* name) -> std::string {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  };
  return {text("AWS_ACCESS_KEY_ID"), text("AWS_SECRET_ACCESS_KEY"), text("AWS_SESSION_TOKEN")};
}

Result<std::string> resolve_secret(std::string_view reference) {
  std::string value;
  if (reference.starts_with("env:")) {
    const char* found = std::getenv(std::string(reference.substr(4)).c_str());
    if (found != nullptr) value = found;
  } else if (reference.starts_with("file:")) {
    auto text = read_small_file(std::string(reference.substr(5)), kSecretBytesMax);
    if (!text.ok()) {
      return Status::invalid(errors::kSecretUnreadable,
                             fmt::format("the secret {}: {}", reference, text.status().message()));
    }
    value = std::move(*text);
    while (!value.empty() && (value.back() == '\n' || value.back() == '\r')) value.pop_back();
  } else {
    // Very likely the secret itself: it must not be shown.
    return Status::invalid(errors::kSecretUnreadable,
                           "a secret is given as env:NAME or file:PATH, never as its own text");
  }
  if (value.empty()) {
    return Status::invalid(errors::kSecretUnreadable,
                           fmt::format("the secret {} is not set or empty", reference));
  }
  return value;
}

Result<std::vector<std::pair<std::string, std::string>>> plugin_settings(const Config& config) {
  Value::Map stores;
  bool any_s3 = false;
  for (const NamedStore& store : config.stores) {
    const Value public_url = store.public_url.empty() ? Value() : Value(store.public_url);
    const std::string url = store.s3 ? store.s3->url() : "file:" + store.directory;
    stores[store.name] = Value::Map{{"url", url}, {"public_url", public_url}};
    any_s3 = any_s3 || store.s3.has_value();
  }
  Value::List secrets;
  for (const std::string& reference : config.webhook_secrets) {
    auto secret = resolve_secret(reference);
    if (!secret.ok()) return secret.status();
    secrets.emplace_back(std::move(*secret));
  }
  std::vector<std::pair<std::string, std::string>> out;
  out.emplace_back("stores", canonical_json(stores));
  out.emplace_back("server.public_url",
                   config.public_url.empty() ? "null" : canonical_json(config.public_url));
  out.emplace_back("limits.pixels", canonical_json(config.pixels_max));
  if (any_s3) {
    const s3::Credentials keys = s3_credentials();
    out.emplace_back("s3.keys",
                     canonical_json(Value::Map{{"access_key_id", keys.access_key_id},
                                               {"secret_access_key", keys.secret_access_key},
                                               {"session_token", keys.session_token}}));
  }
  if (!secrets.empty()) out.emplace_back("webhook.secret", canonical_json(secrets));
  if (config.webhook_allow_set) {
    Value::List ranges;
    for (const std::string& range : config.webhook_allow) ranges.emplace_back(range);
    out.emplace_back("webhook.allow", canonical_json(ranges));
  }
  return out;
}

}  // namespace millrace
