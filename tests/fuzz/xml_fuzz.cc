// Fuzzes what an S3 server may answer: any bytes end in elements that lie within the document, one
// after the other, and their texts are no longer than what they were read from.
#include <cstdint>
#include <string>
#include <string_view>

#include "engine/base/check.h"
#include "s3/xml.h"

namespace millrace::s3 {
namespace {

constexpr std::string_view kNames[] = {"Key", "Size", "LastModified"};

void walk(std::string_view document, std::string_view name) {
  XmlReader reader(document);
  std::string_view inside;
  const char* at = document.data();
  size_t elements = 0;
  while (reader.next(name, &inside)) {
    CHECK(++elements <= document.size());
    if (inside.empty()) continue;
    CHECK(inside.data() >= at && inside.size() <= document.size());
    CHECK(inside.data() + inside.size() <= document.data() + document.size());
    at = inside.data() + inside.size();
    for (const std::string_view below : kNames) {
      CHECK(XmlReader::text_of(inside, below).size() <= inside.size());
    }
  }
}

}  // namespace
}  // namespace millrace::s3

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace millrace::s3;
  const std::string_view document(reinterpret_cast<const char*>(data), size);
  walk(document, "Contents");
  walk(document, "Key");
  for (const std::string_view name : {"Code", "Message", "UploadId", "IsTruncated"}) {
    CHECK(XmlReader::text_of(document, name).size() <= document.size());
  }
  return 0;
}
