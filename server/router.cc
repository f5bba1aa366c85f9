#include "server/router.h"

#include "engine/base/check.h"
#include "engine/base/utf8.h"
#include "server/http/text.h"

namespace millrace {
namespace {

constexpr size_t kSegmentsMax = 64;

bool split_path(std::string_view path, std::vector<std::string_view>* out) {
  if (path.empty() || path[0] != '/') return false;
  path.remove_prefix(1);
  for (;;) {
    const size_t slash = path.find('/');
    if (out->size() == kSegmentsMax) return false;
    if (slash == std::string_view::npos) {
      out->push_back(path);
      return true;
    }
    out->push_back(path.substr(0, slash));
    path.remove_prefix(slash + 1);
  }
}

bool decode_param(std::string_view segment, std::string* out) {
  if (segment.find('%') == std::string_view::npos) {
    *out = segment;
  } else {
    auto decoded = percent_decode(segment);
    if (!decoded) return false;
    *out = std::move(*decoded);
  }
  return is_utf8(*out) && out->find('\0') == std::string::npos;
}

}  // namespace

Router::Router(std::vector<Route> routes) : routes_(std::move(routes)) {
  std::vector<std::string> seen;
  for (size_t i = 0; i < routes_.size(); i++) {
    const std::string text = routes_[i].pattern;
    size_t at = 0;
    while (at < seen.size() && seen[at] != text) at++;
    if (at == seen.size()) {
      seen.push_back(text);
      Pattern pattern;
      for (int& route : pattern.by_method) route = -1;
      std::vector<std::string_view> segments;
      CHECK(split_path(text, &segments));
      for (const std::string_view segment : segments) {
        const bool param = !segment.empty() && segment.front() == '{';
        pattern.segments.emplace_back(param ? std::string_view() : segment);
        if (param && segment.ends_with("*}")) pattern.tail = true;
      }
      patterns_.push_back(std::move(pattern));
    }
    Pattern& pattern = patterns_[at];
    const Method method = routes_[i].method;
    pattern.by_method[static_cast<int>(method)] = static_cast<int>(i);
    if (!pattern.allow.empty()) pattern.allow += ", ";
    pattern.allow += method_name(method);
    if (method == Method::kGet) {
      pattern.by_method[static_cast<int>(Method::kHead)] = static_cast<int>(i);
      pattern.allow += ", HEAD";
    }
  }
}

bool Router::fits(const Pattern& pattern, const std::vector<std::string_view>& segments) const {
  if (pattern.tail ? segments.size() < pattern.segments.size()
                   : segments.size() != pattern.segments.size()) {
    return false;
  }
  for (size_t i = 0; i < pattern.segments.size(); i++) {
    if (!pattern.segments[i].empty() && pattern.segments[i] != segments[i]) return false;
    if (pattern.segments[i].empty() && segments[i].empty()) return false;
  }
  return true;
}

Match Router::match(Request* request) const {
  thread_local std::vector<std::string_view> segments;
  segments.clear();
  Match match;
  if (!split_path(request->path, &segments)) return match;
  // A literal segment wins over a parameter: routes.cc lists /v1/pipelines/validate first.
  for (const Pattern& pattern : patterns_) {
    if (!fits(pattern, segments)) continue;
    const int route = pattern.by_method[static_cast<int>(request->method)];
    if (match.path_known && route < 0) continue;
    match.path_known = true;
    if (route < 0) {
      match.allow = pattern.allow;
      continue;
    }
    match.route = route;
    size_t param = 0;
    for (size_t i = 0; i < pattern.segments.size(); i++) {
      if (!pattern.segments[i].empty()) continue;
      CHECK(param < Request::kParamsMax);
      std::string_view segment = segments[i];
      if (pattern.tail && i + 1 == pattern.segments.size()) {
        const char* end = request->path.data() + request->path.size();
        segment = {segment.data(), static_cast<size_t>(end - segment.data())};
      }
      if (!decode_param(segment, &request->params[param++])) return Match();
    }
    return match;
  }
  return match;
}

}  // namespace millrace
