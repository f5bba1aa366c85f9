#include "server/app.h"

#include <fmt/core.h>
#include <openssl/crypto.h>

#include "engine/base/digest.h"
#include "engine/base/errors.h"
#include "engine/base/log.h"
#include "engine/base/time.h"
#include "server/http/problem.h"
#include "server/http/text.h"

namespace millrace {
namespace {

constexpr uint64_t kSmallBodyBytes = 16 * 1024;  // of a route that wants none; read and ignored
constexpr uint64_t kJsonBodyBytes = 1 << 20;
constexpr char kCorsExpose[] =
    "Access-Control-Expose-Headers: Location, ETag, X-Request-Id, Idempotency-Replayed, "
    "Preference-Applied, Retry-After, Content-Disposition\r\n";
constexpr char kCorsPreflight[] =
    "Access-Control-Allow-Methods: GET, HEAD, POST, PUT, DELETE\r\n"
    "Access-Control-Allow-Headers: Authorization, Content-Type, Idempotency-Key, Prefer, "
    "If-None-Match, Last-Event-ID, Range, X-Request-Id\r\n"
    "Access-Control-Max-Age: 600\r\n";

std::string_view without_port(std::string_view host) {
  if (!host.empty() && host.front() == '[') {
    return host.substr(0, std::min(host.find(']') + 1, host.size()));
  }
  return host.substr(0, std::min(host.find(':'), host.size()));
}

bool is_loopback(std::string_view host) {
  if (equals_ignoring_case(host, "localhost") || host == "[::1]") return true;
  if (!host.starts_with("127.")) return false;
  return host.find_first_not_of("0123456789.") == std::string_view::npos;  // not 127.evil.example
}

// Routes that probes and scrapers reach under any name.
bool is_probe(std::string_view path) {
  return path == "/livez" || path == "/readyz" || path == "/metrics";
}

bool changes_state(Method method) {
  return method != Method::kGet && method != Method::kHead && method != Method::kOptions;
}

std::string authority_of(std::string_view url) {
  const size_t scheme = url.find("://");
  if (scheme == std::string_view::npos) return "";
  url.remove_prefix(scheme + 3);
  return to_lower(url.substr(0, std::min(url.find('/'), url.size())));
}

}  // namespace

App::App(Runtime* runtime, const Config* config, std::string token)
    : runtime_(runtime),
      config_(config),
      token_(std::move(token)),
      public_host_(authority_of(config->public_url)),
      router_(all_routes()),
      object_digests_(runtime) {
  openapi_ = openapi_document(router_);
  for (const Route& route : router_.routes()) {
    durations_.push_back(&runtime_->metrics().http_duration.with({route.pattern}));
  }
}

bool App::check_host(const Request& request) const {
  if (!token_.empty() || is_probe(request.path) || request.host.empty()) return true;
  const std::string_view name = without_port(request.host);
  return is_loopback(name) ||
         (!public_host_.empty() && equals_ignoring_case(name, without_port(public_host_)));
}

bool App::check_token(const Request& request) const {
  if (token_.empty() || request.path == "/livez" || request.path == "/readyz") return true;
  const std::string_view header = request.header_or_empty("authorization");
  if (header.size() < 7 || !equals_ignoring_case(header.substr(0, 7), "bearer ")) return false;
  // Digests of both: the comparison tells nothing about the token's bytes or its length.
  const Digest given = sha256(trim_space(header.substr(7))), wanted = sha256(token_);
  return CRYPTO_memcmp(given.bytes.data(), wanted.bytes.data(), wanted.bytes.size()) == 0;
}

bool App::origin_allowed(std::string_view origin) const {
  for (const std::string& allowed : config_->cors_origins) {
    if (allowed == "*" || equals_ignoring_case(allowed, origin)) return true;
  }
  return false;
}

bool App::origin_is_ours(const Request& request, std::string_view origin) const {
  const std::string authority = authority_of(origin);
  if (authority.empty()) return false;
  return equals_ignoring_case(authority, request.host) ||
         (!public_host_.empty() && authority == public_host_);
}

// Adds the CORS fields; answers a preflight. True when it answered.
bool App::cors(Exchange& exchange, const Match& match) {
  const Request& request = exchange.request;
  if (!config_->cors_origins.empty()) exchange.extra_head += "Vary: Origin\r\n";
  const auto origin = request.header("origin");
  if (!origin || !origin_allowed(*origin)) return false;
  Response fields;
  fields.header("Access-Control-Allow-Origin", *origin);
  exchange.extra_head += fields.head + kCorsExpose;
  if (request.method != Method::kOptions || !match.path_known ||
      !request.header("access-control-request-method")) {
    return false;
  }
  Response response = Response::empty(204);
  response.head += kCorsPreflight;
  exchange.respond(std::move(response));
  return true;
}

void App::refuse_method(Exchange& exchange, const Match& match) {
  Response response = problem_response(
      Status::invalid(errors::kMethodNotAllowed, fmt::format("this route takes {}", match.allow)));
  response.header("Allow", match.allow);
  exchange.respond(std::move(response));
}

void App::begin(Exchange& exchange) {
  Request& request = exchange.request;
  exchange.body_bytes_max = kSmallBodyBytes;
  if (!check_host(request)) {
    exchange.respond(Status::invalid(
        errors::kHostForbidden,
        fmt::format("Host '{}' is neither loopback nor the host of server.public_url",
                    request.host.substr(0, 255))));
    return;
  }
  const Match match = router_.match(&request);
  exchange.route = match.route;
  if (cors(exchange, match)) return;
  if (!check_token(request)) {
    exchange.respond(Status::invalid(
        errors::kUnauthorized, "send the header 'Authorization: Bearer TOKEN' with a valid token"));
    return;
  }
  const auto origin = request.header("origin");
  if (origin && changes_state(request.method) && !origin_is_ours(request, *origin) &&
      !origin_allowed(*origin)) {
    exchange.respond(Status::invalid(
        errors::kOriginForbidden,
        fmt::format("pages of '{}' may not change anything here; allow it with cors.origins",
                    origin->substr(0, 255))));
    return;
  }
  if (match.route < 0) {
    if (match.path_known) {
      refuse_method(exchange, match);
    } else {
      exchange.respond(Status::not_found(
          errors::kRouteUnknown,
          fmt::format("nothing is served under this path; /openapi.json lists what is")));
    }
    return;
  }
  const Route& route = router_.at(match.route);
  if (route.body == BodyKind::kJson) exchange.body_bytes_max = kJsonBodyBytes;
  if (route.body == BodyKind::kYaml) exchange.body_bytes_max = kPipelineFileBytesMax;
  if (route.body == BodyKind::kRaw || route.body == BodyKind::kSubmission) {
    exchange.body_bytes_max = static_cast<uint64_t>(config_->body_bytes_max);
  }
  if (route.begin != nullptr) route.begin(*this, exchange);
}

void App::complete(Exchange& exchange) {
  CHECK(exchange.route >= 0);
  router_.at(exchange.route).answer(*this, exchange);
}

Counter& App::counter(int route, Method method, int status) {
  const uint32_t key = static_cast<uint32_t>(route + 1) << 16 |
                       static_cast<uint32_t>(method) << 12 | static_cast<uint32_t>(status);
  const auto found = counters_.find(key);
  if (found != counters_.end()) return *found->second;
  Counter& made =
      runtime_->metrics().http_requests.with({route < 0 ? "none" : router_.at(route).pattern,
                                              method_name(method), std::to_string(status)});
  counters_.emplace(key, &made);
  return made;
}

void App::finished(const Exchange& exchange, int status) {
  const Request& request = exchange.request;
  if (exchange.waiter != 0) runtime_->forget(exchange.waiter);
  if (exchange.subscription != 0) runtime_->unsubscribe(exchange.subscription);
  counter(exchange.route, request.method, status).add();
  if (exchange.route >= 0) {
    const int64_t took_us = monotonic_us() - exchange.started_us;
    durations_[static_cast<size_t>(exchange.route)]->observe(static_cast<double>(took_us) / 1e6);
    if (observer) observer(router_.at(exchange.route), request.method, status);
  }
  if (!log_enabled(LogLevel::kDebug) && status < 500) return;
  log_event(status >= 500 ? LogLevel::kWarning : LogLevel::kDebug, "http.request",
            {{"method", method_name(request.method)},
             {"path", request.path},
             {"status", status},
             {"request", request.id}});
}

}  // namespace millrace
