// Fuzzes the multipart reader: any bytes end in parts or in one error, and where the body is cut
// changes neither.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "engine/base/check.h"
#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "server/multipart.h"

namespace millrace {
namespace {

constexpr uint64_t kPartBytesMax = 2000;

std::string read(std::string_view body, size_t piece) {
  MultipartReader reader("b");
  reader.limit_of = [](Part*, uint64_t) { return Result<uint64_t>(kPartBytesMax); };
  reader.too_large = [](const Part& part, uint64_t) {
    return Status::invalid(errors::kBodyTooLarge, part.name);
  };
  Status status;
  for (size_t at = 0; at < body.size() && status.ok(); at += piece) {
    status = reader.feed(body.substr(at, piece));
  }
  if (status.ok()) status = reader.finish();
  CHECK(reader.parts().size() <= static_cast<size_t>(kMultipartPartsMax));
  if (!status.ok()) return "error " + std::to_string(status.number());
  std::string seen;
  uint64_t bytes = 0;
  for (const Part& part : reader.parts()) {
    CHECK(part.data.size() <= kPartBytesMax && !part.name.empty());
    CHECK(part.name.find_first_of("\r\n") == std::string::npos);
    CHECK(part.file_name.value_or("").find_first_of("\r\n") == std::string::npos);
    bytes += part.data.size();
    seen += part.name + '\n' + part.file_name.value_or("-") + '\n' + part.media_type + '\n' +
            part.data + '\n';
  }
  CHECK(bytes <= body.size());
  return seen;
}

}  // namespace
}  // namespace millrace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace millrace;
  if (size < 1) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data + 1), size - 1);
  const std::string whole = read(body, body.size() + 1);
  const std::string cut = read(body, 1 + data[0] % 64);
  CHECK_MSG(whole == cut, (whole + "--- cut:\n" + cut).c_str());
  return 0;
}
