// Location: where an S3 store is, read from
// "s3://BUCKET/PREFIX?endpoint=URL&region=R&path_style=B".
//
// It knows no network and no keys: these never stand in the URL.
#pragma once

#include <string>
#include <string_view>

namespace millrace::s3 {

constexpr size_t kKeyBytesMax = 1024;  // of S3, prefix included

struct Location {
  std::string bucket;
  std::string prefix;        // without slashes at its ends; may be empty
  std::string scheme, host;  // of the endpoint; the host with its port
  std::string region;
  // Whether the bucket stands in the path of a URL and not in its host.
  bool path_style = false;

  std::string shown() const;                          // "s3://bucket/prefix"
  std::string url() const;                            // all of it, as parse_location reads it
  std::string key(std::string_view of) const;         // prefix + "/" + of
  std::string request_host() const;                   // what the Host header says
  std::string path(std::string_view full_key) const;  // of a URL, encoded, from its "/"
};

// Reads `url`. Empty and *location set, or what is wrong with it, as a sentence that may be shown:
// it quotes nothing that could be a secret. Without `endpoint` it is Amazon's of the region;
// without `region` that is us-east-1; path_style is true for an endpoint that is given, and false
// for Amazon's unless the bucket has dots. [any]
[[nodiscard]] std::string parse_location(std::string_view url, Location* location);

// Every byte percent-encoded but unreserved ones (RFC 3986), and slashes unless `encode_slash`.
// [any]
[[nodiscard]] std::string uri_encode(std::string_view text, bool encode_slash = false);

}  // namespace millrace::s3
