#include "s3/location.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>

namespace millrace::s3 {
namespace {

bool is_bucket(std::string_view name) {
  if (name.size() < 3 || name.size() > 63) return false;
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  if (!letter(name.front()) || !letter(name.back())) return false;
  return std::all_of(name.begin(), name.end(),
                     [&](char c) { return letter(c) || c == '.' || c == '-' || c == '_'; });
}

bool is_region(std::string_view name) {
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  });
}

bool is_prefix(std::string_view prefix) {
  if (prefix.size() > kKeyBytesMax / 2) return false;
  while (!prefix.empty()) {
    const size_t end = std::min(prefix.find('/'), prefix.size());
    const std::string_view segment = prefix.substr(0, end);
    if (segment.empty() || segment == "." || segment == "..") return false;
    for (const char c : segment) {
      if (static_cast<unsigned char>(c) <= 0x20 || c == 0x7f || c == '#' || c == '%') return false;
    }
    prefix.remove_prefix(std::min(end + 1, prefix.size()));
  }
  return true;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> percent_decode(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = hex_digit(text[i + 1]), low = hex_digit(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

// "name", "address" or "[address]", each perhaps with ":port".
bool is_host(std::string_view text) {
  if (text.size() > 255) return false;
  size_t end = std::min(text.find(':'), text.size());
  std::string_view marks = ".-_";
  if (text.starts_with('[')) {
    end = text.find(']');
    if (end == std::string_view::npos) return false;
    text.remove_prefix(1);
    marks = ":.";
    end--;
  }
  const std::string_view name = text.substr(0, end);
  const bool plain = std::all_of(name.begin(), name.end(), [marks](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           marks.find(c) != std::string_view::npos;
  });
  if (name.empty() || !plain) return false;
  text.remove_prefix(marks == ":." ? end + 1 : end);
  if (text.empty()) return true;
  const std::string_view port = text.substr(1);
  return text.front() == ':' && !port.empty() && port.size() <= 5 &&
         std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// "https://host:port", with a slash at its end at most.
bool read_endpoint(std::string_view text, Location* location) {
  for (const std::string_view scheme : {"http", "https"}) {
    if (!text.starts_with(scheme) || !text.substr(scheme.size()).starts_with("://")) continue;
    std::string_view host = text.substr(scheme.size() + 3);
    if (host.ends_with('/')) host.remove_suffix(1);
    if (!is_host(host)) return false;
    // A Host header has no default port, and the signature is of that header.
    const std::string_view port = scheme == "http" ? ":80" : ":443";
    if (host.ends_with(port)) host.remove_suffix(port.size());
    location->scheme = scheme;
    location->host = host;
    return true;
  }
  return false;
}

struct Given {
  bool endpoint = false;
  std::optional<bool> path_style;
};

std::string read_query(std::string_view query, Location* location, Given* given) {
  while (!query.empty()) {
    const size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    const size_t equals = std::min(pair.find('='), pair.size());
    const std::string_view name = pair.substr(0, equals);
    const auto value = percent_decode(pair.substr(std::min(equals + 1, pair.size())));
    if (name == "endpoint") {
      given->endpoint = true;
      if (!value || !read_endpoint(*value, location)) {
        return "endpoint is no http or https URL of a host alone, such as https://s3.example:9000";
      }
    } else if (name == "region") {
      if (!value || !is_region(*value)) return "region is no region's name, such as eu-central-1";
      location->region = *value;
    } else if (name == "path_style") {
      if (!value || (*value != "true" && *value != "false")) {
        return "path_style is neither true nor false";
      }
      given->path_style = *value == "true";
    } else {
      return "its query takes endpoint, region and path_style, and nothing else (keys come from "
             "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)";
    }
    query.remove_prefix(std::min(end + 1, query.size()));
  }
  return {};
}

}  // namespace

std::string Location::shown() const {
  return fmt::format("s3://{}{}{}", bucket, prefix.empty() ? "" : "/", prefix);
}

std::string Location::url() const {
  return fmt::format("{}?endpoint={}://{}&region={}&path_style={}", shown(), scheme, host, region,
                     path_style);
}

std::string Location::key(std::string_view of) const {
  return prefix.empty() ? std::string(of) : fmt::format("{}/{}", prefix, of);
}

std::string Location::request_host() const {
  return path_style ? host : bucket + "." + host;
}

std::string Location::path(std::string_view full_key) const {
  const std::string encoded = uri_encode(full_key);
  if (!path_style) return "/" + encoded;
  return encoded.empty() ? "/" + bucket : fmt::format("/{}/{}", bucket, encoded);
}

std::string parse_location(std::string_view url, Location* location) {
  *location = {};
  constexpr std::string_view kForm = "it has the form s3://BUCKET/PREFIX?endpoint=URL&region=R";
  if (!url.starts_with("s3://")) return std::string(kForm);
  url.remove_prefix(5);
  const size_t question = std::min(url.find('?'), url.size());
  const std::string_view query = url.substr(std::min(question + 1, url.size()));
  std::string_view path = url.substr(0, question);
  if (path.find('@') != std::string_view::npos) {
    return "keys do not stand in the URL; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
  }
  while (path.ends_with('/')) path.remove_suffix(1);
  const size_t slash = std::min(path.find('/'), path.size());
  location->bucket = path.substr(0, slash);
  location->prefix = path.substr(std::min(slash + 1, path.size()));
  if (!is_bucket(location->bucket)) {
    return fmt::format("it names no bucket (3 to 63 lower-case letters, digits, - and .); {}",
                       kForm);
  }
  if (!is_prefix(location->prefix)) {
    return "its prefix has segments that are empty, '.' or '..', or spaces, '#', '%' or control "
           "characters, or is longer than 512 bytes";
  }
  location->region = "us-east-1";
  Given given;
  if (std::string problem = read_query(query, location, &given); !problem.empty()) return problem;
  if (!given.endpoint) {
    location->scheme = "https";
    location->host = fmt::format("s3.{}.amazonaws.com{}", location->region,
                                 location->region.starts_with("cn-") ? ".cn" : "");
  }
  // A certificate for *.s3.example covers one label more, and an address or a service name of a
  // cluster has none below it.
  location->path_style =
      given.path_style.value_or(given.endpoint || location->bucket.find('.') != std::string::npos);
  return {};
}

std::string uri_encode(std::string_view text, bool encode_slash) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '_' || c == '.' || c == '~' || (c == '/' && !encode_slash);
    if (plain) {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += '%';
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    }
  }
  return out;
}

}  // namespace millrace::s3
