#include "server/config_parts.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>

#include "engine/base/errors.h"
#include "server/http/text.h"

namespace millrace {
namespace {

constexpr DurationMs kLeaseMsMin = 1'000;  // else a slow answer of the database ends the replica

Status bad(std::string_view key, std::string_view text, std::string_view want) {
  return Status::invalid(errors::kConfigInvalid,
                         fmt::format("{}: '{}' is not {}", key, text, want));
}

Status later(std::string_view key, std::string_view text) {
  return Status::invalid(errors::kConfigNotInThisVersion,
                         fmt::format("{}: '{}' is not supported by this version", key, text));
}

bool loopback(const std::string& listen) {
  const size_t colon = listen.rfind(':');
  const std::string host = listen.substr(0, colon == std::string::npos ? listen.size() : colon);
  return host.empty() || host == "localhost" || host.starts_with("127.") || host == "[::1]";
}

std::vector<std::string> split_commas(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const size_t end = std::min(text.find(','), text.size());
    const std::string_view element = trim_space(text.substr(0, end));
    if (!element.empty()) out.emplace_back(element);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

bool is_store_name(std::string_view name) {
  for (char c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    if (!plain) return false;
  }
  return !name.empty() && name.size() <= 63;
}

bool is_http_url(std::string_view text) {
  return (text.starts_with("http://") && text.size() > 7) ||
         (text.starts_with("https://") && text.size() > 8);
}

std::string without_last_slash(std::string text) {
  while (!text.empty() && text.back() == '/') text.pop_back();
  return text;
}

bool is_reference(std::string_view text) {
  return (text.starts_with("env:") && text.size() > 4) ||
         (text.starts_with("file:") && text.size() > 5);
}

// Never quotes the URL: somebody may have put keys into it.
Status read_s3(std::string_view key, std::string_view url, s3::Location* location) {
  const std::string problem = s3::parse_location(url, location);
  if (problem.empty()) return {};
  return Status::invalid(errors::kConfigInvalid,
                         fmt::format("{}: this S3 URL cannot be used: {}", key, problem));
}

void check_s3_keys(const Config& config, std::vector<Status>* problems) {
  std::string who = config.blobs.starts_with("s3:") ? "blobs" : "";
  for (const NamedStore& store : config.stores) {
    if (who.empty() && store.s3) who = "stores." + store.name;
  }
  if (who.empty()) return;
  const s3::Credentials keys = s3_credentials();
  for (const auto& [name, value] : {std::pair("AWS_ACCESS_KEY_ID", keys.access_key_id),
                                    std::pair("AWS_SECRET_ACCESS_KEY", keys.secret_access_key)}) {
    if (!value.empty()) continue;
    problems->push_back(Status::invalid(
        errors::kSecretUnreadable,
        fmt::format("{}: a bucket needs keys; the environment variable {} is not set", who, name)));
  }
}

bool is_address_range(const std::string& text) {
  const size_t slash = text.find('/');
  const std::string address = text.substr(0, slash);
  unsigned char bytes[16];
  const int bits = inet_pton(AF_INET, address.c_str(), bytes) == 1    ? 32
                   : inet_pton(AF_INET6, address.c_str(), bytes) == 1 ? 128
                                                                      : 0;
  if (bits == 0) return false;
  if (slash == std::string::npos) return true;
  int length = -1;
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data() + slash + 1, end, length);
  return result.ec == std::errc() && result.ptr == end && length >= 0 && length <= bits;
}

}  // namespace

Result<std::string> read_small_file(const std::string& path, size_t bytes_max) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return Status::invalid(errors::kConfigUnreadable,
                           fmt::format("cannot open '{}': {}", path, strerror(errno)));
  }
  std::string out;
  char buffer[16 * 1024];
  for (;;) {
    const ssize_t size = read(fd, buffer, sizeof buffer);
    if (size == 0) break;
    if (size < 0 && errno == EINTR) continue;
    const int error = errno;
    if (size < 0 || out.size() + static_cast<size_t>(size) > bytes_max) {
      close(fd);
      return Status::invalid(errors::kConfigUnreadable,
                             size < 0
                                 ? fmt::format("cannot read '{}': {}", path, strerror(error))
                                 : fmt::format("'{}' is larger than {} bytes", path, bytes_max));
    }
    out.append(buffer, static_cast<size_t>(size));
  }
  close(fd);
  return out;
}

std::string absolute_path(const std::string& path) {
  std::error_code error;
  const auto absolute = std::filesystem::absolute(path, error);
  return error ? path : absolute.lexically_normal().string();
}

std::string program_directory() {
  char path[PATH_MAX];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof path);
  if (size <= 0) return ".";
  const std::string_view text(path, static_cast<size_t>(size));
  return std::string(text.substr(0, text.rfind('/')));
}

Status ConfigBuilder::set(const ConfigKey& key, const Value& value, bool is_given) {
  const std::string_view name = key.name;
  if (key.kind == KeyKind::kStores) return set_stores(value);
  if (key.kind == KeyKind::kList || key.kind == KeyKind::kSecrets) {
    return set_list(name, value, key.kind);
  }
  if (value.kind() != Value::Kind::kString) {
    return Status::invalid(errors::kConfigInvalid,
                           fmt::format("{}: one value is wanted here", name));
  }
  const std::string& text = value.as_string();
  switch (key.kind) {
    case KeyKind::kText:
      return set_text(name, text);
    case KeyKind::kWord:
      if (name == "auth.mode") auth_mode_given_ = is_given;
      return set_word(name, key, text);
    case KeyKind::kBool:
      if (text != "true" && text != "false") return bad(name, text, "true or false");
      if (text == "true") return later(name, text);  // pipelines.writable is the only one
      return {};
    case KeyKind::kInt:
      return set_int(name, text);
    case KeyKind::kSize:
      return set_size(name, text);
    case KeyKind::kDuration:
      return set_duration(name, text);
    case KeyKind::kSecret:
      if (!text.empty() && !is_reference(text)) {
        return Status::invalid(
            errors::kConfigInvalid,
            fmt::format("{}: a secret is given as a reference, env:NAME or file:PATH", name));
      }
      config_->auth_token = text;
      return {};
    default:
      return {};
  }
}

Status ConfigBuilder::set_text(std::string_view key, const std::string& text) {
  if (key == "listen") {
    if (text.rfind(':') == std::string::npos) return bad(key, text, "HOST:PORT");
    config_->listen = text;
  } else if (key == "server.public_url") {
    if (!text.empty() && !is_http_url(text)) return bad(key, text, "an absolute http or https URL");
    config_->public_url = without_last_slash(text);
  } else if (key == "store") {
    // It may hold a password: never shown.
    if (text.starts_with("mongodb")) {
      const bool whole = text.starts_with("mongodb://") || text.starts_with("mongodb+srv://");
      if (!whole) return bad(key, "mongodb…", "mongodb://HOST[:PORT]/DATABASE");
      config_->store = text;
      return {};
    }
    if (!text.starts_with("sqlite:"))
      return bad(key, text, "sqlite:, sqlite:PATH or mongodb://…/DATABASE");
    config_->store = text.size() > 7 ? "sqlite:" + absolute_path(text.substr(7)) : text;
  } else if (key == "blobs") {
    if (text.starts_with("s3:")) {
      s3::Location location;
      RETURN_IF_ERROR(read_s3(key, text, &location));
      config_->blobs = location.url();
      return {};
    }
    if (!text.starts_with("file:")) return bad(key, text, "file:, file:DIR or s3://BUCKET/PREFIX");
    config_->blobs = text.size() > 5 ? "file:" + absolute_path(text.substr(5)) : text;
  } else {
    if (text.empty()) return bad(key, text, "a directory");
    const std::string path = absolute_path(text);
    if (key == "data") config_->data = path;
    if (key == "pipelines") config_->pipelines = path;
    if (key == "steps") config_->steps = path;
  }
  return {};
}

Status ConfigBuilder::set_word(std::string_view key, const ConfigKey& row,
                               const std::string& text) {
  bool known = false;
  std::string_view rest = row.words;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(' '), rest.size());
    known = known || rest.substr(0, end) == text;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  if (!known) return bad(key, text, fmt::format("one of: {}", row.words));
  if (key == "auth.mode") config_->auth_mode = text == "none" ? AuthMode::kNone : AuthMode::kToken;
  if (key == "log.level") {
    config_->log_level = text == "debug"     ? LogLevel::kDebug
                         : text == "info"    ? LogLevel::kInfo
                         : text == "warning" ? LogLevel::kWarning
                                             : LogLevel::kError;
  }
  if (key == "log.format") {
    config_->log_format = text == "json" ? LogFormat::kJson : LogFormat::kLogfmt;
  }
  if (key == "workers.isolation") config_->thread_isolation = text == "thread";
  return {};
}

Status ConfigBuilder::set_int(std::string_view key, const std::string& text) {
  int64_t number = 0;
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, number);
  if (result.ec != std::errc() || result.ptr != end || number < 1) {
    return bad(key, text, "a whole number of at least 1");
  }
  if (key.starts_with("workers.") && number > 1024) return bad(key, text, "at most 1024");
  if (key == "workers.cpu") {
    config_->workers_cpu = static_cast<uint32_t>(number);
    workers_cpu_given_ = true;
  }
  if (key == "workers.io") config_->workers_io = static_cast<uint32_t>(number);
  if (key == "limits.pixels") config_->pixels_max = number;
  if (key == "limits.jobs") config_->jobs_max = number;
  if (key == "limits.accepted") config_->accepted_max = number;
  return {};
}

Status ConfigBuilder::set_size(std::string_view key, const std::string& text) {
  const auto size = parse_size(text);
  if (key == "blobs.cache") {
    if (!size) return bad(key, text, "a size with its unit, such as 1GiB");
    config_->blob_cache_bytes_max = static_cast<uint64_t>(*size);
    return {};
  }
  if (!size || *size < 1) return bad(key, text, "a size with its unit, such as 64MiB");
  if (key == "limits.body") {
    if (*size > kBlobBytesMax) {
      return bad(key, text, fmt::format("at most {}", format_size(kBlobBytesMax)));
    }
    config_->body_bytes_max = *size;
  }
  if (key == "limits.memory") config_->memory_bytes_max = static_cast<uint64_t>(*size);
  if (key == "workers.memory") config_->workers_memory_bytes = static_cast<uint64_t>(*size);
  return {};
}

Status ConfigBuilder::set_duration(std::string_view key, const std::string& text) {
  const auto duration = parse_duration(text);
  if (!duration) return bad(key, text, "a duration with its unit, such as 30s or 7d");
  if (key == "retention") config_->retention_ms = *duration;
  if (key == "lease") config_->lease_ms = *duration;
  if (key == "drain") config_->drain_ms = *duration;
  return {};
}

Status ConfigBuilder::set_list(std::string_view key, const Value& value, KeyKind kind) {
  std::vector<std::string> list;
  if (value.kind() == Value::Kind::kString) {
    list = split_commas(value.as_string());
  } else if (value.kind() == Value::Kind::kList) {
    for (const Value& element : value.as_list()) {
      if (element.kind() != Value::Kind::kString) return bad(key, "…", "a list of texts");
      list.push_back(element.as_string());
    }
  } else {
    return bad(key, "{…}", "a list");
  }
  if (kind == KeyKind::kSecrets) {
    for (const std::string& reference : list) {
      if (is_reference(reference)) continue;
      return Status::invalid(
          errors::kConfigInvalid,
          fmt::format("{}: a secret is given as a reference, env:NAME or file:PATH", key));
    }
    if (list.size() > 2) return bad(key, fmt::format("{} references", list.size()), "at most two");
    config_->webhook_secrets = std::move(list);
  } else if (key == "cors.origins") {
    for (std::string& origin : list) {
      if (origin != "*" && !is_http_url(origin))
        return bad(key, origin, "an origin such as https://example.org");
      origin = without_last_slash(origin);
    }
    config_->cors_origins = std::move(list);
  } else {
    for (const std::string& range : list) {
      if (!is_address_range(range)) return bad(key, range, "an address range such as 10.0.0.0/8");
    }
    config_->webhook_allow = std::move(list);
    config_->webhook_allow_set = true;
  }
  return {};
}

Status ConfigBuilder::set_stores(const Value& value) {
  if (value.kind() != Value::Kind::kMap) {
    if (value.kind() == Value::Kind::kString && value.as_string().empty()) return {};
    return bad("stores", "…", "a map such as {default: {url: \"file:DIR\"}}");
  }
  for (const auto& [name, entry] : value.as_map()) {
    const std::string key = "stores." + name;
    if (!is_store_name(name))
      return bad("stores", name, "a name of lower-case letters, digits, _ and -");
    if (entry.kind() != Value::Kind::kMap) return bad(key, "…", "a map with url and public_url");
    NamedStore store{name, "", "", std::nullopt};
    for (const auto& [member, text] : entry.as_map()) {
      if (member != "url" && member != "public_url") {
        return Status::invalid(
            errors::kConfigKeyUnknown,
            fmt::format("{} has no key '{}'; it takes url and public_url", key, member));
      }
      if (text.kind() != Value::Kind::kString) return bad(key, "…", "text");
      if (member == "url") {
        if (text.as_string().starts_with("s3:")) {
          RETURN_IF_ERROR(read_s3(key + ".url", text.as_string(), &store.s3.emplace()));
          continue;
        }
        if (!text.as_string().starts_with("file:") || text.as_string().size() == 5) {
          return bad(key, text.as_string(), "file:DIR or s3://BUCKET/PREFIX");
        }
        store.directory = absolute_path(text.as_string().substr(5));
      } else {
        if (!is_http_url(text.as_string()))
          return bad(key, text.as_string(), "an absolute http or https URL");
        store.public_url = without_last_slash(text.as_string());
      }
    }
    if (store.directory.empty() && !store.s3) return bad(key, "", "complete: url is missing");
    config_->stores.push_back(std::move(store));
  }
  return {};
}

std::vector<Status> ConfigBuilder::finish() {
  std::vector<Status> problems;
  Config& c = *config_;
  if (c.steps.empty()) c.steps = program_directory() + "/steps";
  if (c.stores.empty()) c.stores.push_back({"default", c.data + "/store", "", std::nullopt});
  if (c.memory_bytes_max == 0) c.memory_bytes_max = default_memory_bytes();
  if (c.workers_memory_bytes == 0) c.workers_memory_bytes = default_workers_memory_bytes();
  if (!workers_cpu_given_) c.workers_cpu = std::max(1u, std::thread::hardware_concurrency());
  if (!auth_mode_given_) c.auth_mode = c.auth_token.empty() ? AuthMode::kNone : AuthMode::kToken;
  if (auth_mode_given_ && c.auth_mode == AuthMode::kToken && c.auth_token.empty()) {
    problems.push_back(
        Status::invalid(errors::kAuthRequired, "auth.mode is token, but auth.token is not set"));
  }
  check_s3_keys(c, &problems);
  if (!loopback(c.listen) && c.auth_token.empty() && !auth_mode_given_) {
    problems.push_back(Status::invalid(
        errors::kAuthRequired,
        fmt::format("listen: {} is reachable from other machines; set auth.token (env:NAME or "
                    "file:PATH), or auth.mode: none to let everybody in",
                    c.listen)));
  }
  if (c.store.starts_with("mongodb") && c.blobs == "file:") {
    problems.push_back(Status::invalid(
        errors::kConfigInvalid,
        "blobs: replicas that share a store must share their blobs; name a directory that all of "
        "them see (file:DIR)"));
  }
  if (c.store.starts_with("mongodb") && c.lease_ms < kLeaseMsMin) {
    problems.push_back(
        Status::invalid(errors::kConfigInvalid,
                        fmt::format("lease: {} ms is less than {} ms", c.lease_ms, kLeaseMsMin)));
  }
  return problems;
}

}  // namespace millrace
