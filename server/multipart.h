// MultipartReader: multipart/form-data (RFC 7578), read as it arrives.
//
// Bounded: kMultipartPartsMax parts, kPartHeadBytesMax of header lines each, and what limit_of()
// says for each part's content. It knows nothing of jobs or sockets.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "server/http/exchange.h"

namespace millrace {

constexpr size_t kPartHeadBytesMax = 8 * 1024;

struct Part {
  std::string name;
  std::optional<std::string> file_name;  // set: a file part
  std::string media_type;                // as declared, lower case; may be empty
  std::string data;
  std::shared_ptr<BodySink> sink;  // takes the content instead of `data`
  uint64_t size = 0;               // of the content
};

class MultipartReader {
 public:
  // `boundary` as the Content-Type names it: 1 to 70 bytes (the caller checks).
  explicit MultipartReader(std::string_view boundary);

  // How many bytes a part may have; asked at its head. May refuse it, or set its sink; `bytes_left`
  // is what the body can still bring, 0 when that is not known. Unset: no limit.
  std::function<Result<uint64_t>(Part* head, uint64_t bytes_left)> limit_of;
  // What a part that exceeds its limit is answered with.
  std::function<Status(const Part& part, uint64_t limit)> too_large;

  uint64_t body_bytes = 0;  // the whole body's length when it is known

  // Takes more of the body. E008 with the byte where it broke, or what the functions above say.
  Status feed(std::string_view data);
  // The body has ended: E008 unless the closing boundary was seen.
  Status finish() const;
  std::vector<Part>& parts() { return parts_; }

 private:
  enum class At : uint8_t { kPreamble, kBoundary, kHead, kData, kEpilogue };
  Status step(bool* moved);
  Status read_head(std::string_view head);
  Status read_field(std::string_view line);
  Status append(std::string_view data);
  void consume(size_t size);
  Status broken(const std::string& what) const;

  const std::string delimiter_;  // CRLF, two hyphens, the boundary
  At at_ = At::kPreamble;
  std::string carry_ = "\r\n";  // so that a boundary at the very start is found like any other
  size_t carry_at_ = 0;
  uint64_t offset_ = 0;  // of carry_[carry_at_] in the body, plus the two bytes above
  uint64_t limit_ = 0;
  bool named_ = false;
  std::vector<Part> parts_;
};

}  // namespace millrace
