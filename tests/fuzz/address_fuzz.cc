// Fuzzes the guard of notify: no text makes a URL that shows its secrets, and no spelling of an
// address inside passes the default policy.
#include <arpa/inet.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/base/check.h"
#include "steps/notify/address_policy.h"
#include "steps/notify/delivery.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace millrace::notify_step;
  if (size < 1) return 0;
  const std::string text(reinterpret_cast<const char*>(data + 1), size - 1);

  std::string problem;
  const std::string shown = describe_url(text, &problem);
  CHECK_MSG(shown.empty() != problem.empty(), text.c_str());
  if (!shown.empty()) {
    CHECK_MSG(shown.starts_with("http://") || shown.starts_with("https://"), shown.c_str());
    CHECK_MSG(shown.find('@') == std::string::npos || shown.find('@') > shown.find('/', 8),
              shown.c_str());
    CHECK_MSG(shown.find('?') == std::string::npos, shown.c_str());
    for (const char c : shown) CHECK_MSG(static_cast<unsigned char>(c) >= 0x20, shown.c_str());
  }

  const auto policy = AddressPolicy::parse("null", &problem);
  CHECK(policy.has_value());
  if (const auto address = IpAddress::parse(text)) {
    CHECK(policy->forbids(*address).empty() == special_kind(*address).empty());
    const auto again = IpAddress::parse(address->text());
    CHECK_MSG(again && again->bytes == address->bytes && again->is_v4 == address->is_v4,
              text.c_str());
    in_addr v4{};
    if (inet_pton(AF_INET, text.c_str(), &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127) {
      CHECK_MSG(!policy->forbids(*address).empty(), text.c_str());
    }
  }
  if (const auto range = IpRange::parse(text)) CHECK(range->contains(range->address));
  const auto stated = AddressPolicy::parse(text, &problem);
  CHECK(stated.has_value() || !problem.empty());
  return 0;
}
