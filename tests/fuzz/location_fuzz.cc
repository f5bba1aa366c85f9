// Fuzzes the URL of a place in S3: any text names one place, which its own URL names again, or is
// refused with a sentence that repeats nothing of it.
#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "engine/base/check.h"
#include "s3/location.h"

namespace millrace::s3 {
namespace {

std::string problem_of(std::string_view url) {
  Location location;
  std::string problem = parse_location(url, &location);
  CHECK(!problem.empty());
  return problem;
}

// A URL may hold keys: all that may be said of one is said of these as well.
bool is_known(const std::string& problem) {
  static const auto* const known = new std::array<std::string, 8>{
      problem_of(""),
      problem_of("s3://key:secret@bucket"),
      problem_of("s3://-"),
      problem_of("s3://bucket/a//b"),
      problem_of("s3://bucket?endpoint=ftp"),
      problem_of("s3://bucket?region="),
      problem_of("s3://bucket?path_style=maybe"),
      problem_of("s3://bucket?secret=secret"),
  };
  return std::find(known->begin(), known->end(), problem) != known->end();
}

bool is_plain(std::string_view text) {
  return std::none_of(text.begin(), text.end(),
                      [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f; });
}

void check_place(const Location& location) {
  CHECK(!location.bucket.empty() && !location.region.empty() && !location.host.empty());
  CHECK(location.scheme == "http" || location.scheme == "https");
  CHECK(location.prefix.size() <= kKeyBytesMax);
  CHECK(is_plain(location.url()) && is_plain(location.request_host()));
  CHECK(location.shown().find_first_of("@?#") == std::string::npos);
  const std::string path = location.path(location.key("a b?c"));
  CHECK(path.starts_with('/') && path.ends_with("a%20b%3Fc") && is_plain(path));
}

}  // namespace
}  // namespace millrace::s3

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace millrace::s3;
  const std::string text(reinterpret_cast<const char*>(data), size);
  Location location, again;
  const std::string problem = parse_location(text, &location);
  if (!problem.empty()) {
    CHECK_MSG(is_known(problem), problem.c_str());
    return 0;
  }
  check_place(location);
  const std::string url = location.url();
  CHECK_MSG(parse_location(url, &again).empty(), url.c_str());
  CHECK_MSG(again.url() == url && again.request_host() == location.request_host(), url.c_str());
  CHECK_MSG(again.key("k") == location.key("k"), url.c_str());
  return 0;
}
