#include "steps/notify/address_policy.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace millrace::notify_step {
namespace {

struct Special {
  const char* range;
  const char* kind;
};

// IANA's special-purpose registries, but for what they call globally reachable. First match counts.
constexpr Special kSpecials[] = {
    {"0.0.0.0/8", "'this network'"},
    {"10.0.0.0/8", "private"},
    {"100.64.0.0/10", "carrier-grade NAT"},
    {"127.0.0.0/8", "loopback"},
    {"169.254.0.0/16", "link-local"},
    {"172.16.0.0/12", "private"},
    {"192.0.0.0/24", "protocol assignment"},
    {"192.0.2.0/24", "documentation"},
    {"192.88.99.0/24", "6to4 relay"},
    {"192.168.0.0/16", "private"},
    {"198.18.0.0/15", "benchmark"},
    {"198.51.100.0/24", "documentation"},
    {"203.0.113.0/24", "documentation"},
    {"224.0.0.0/4", "multicast"},
    {"255.255.255.255/32", "broadcast"},
    {"240.0.0.0/4", "reserved"},
    {"::/128", "unspecified"},
    {"::1/128", "loopback"},
    {"fc00::/7", "unique local"},
    {"fe80::/10", "link-local"},
    {"fec0::/10", "site-local"},
    {"ff00::/8", "multicast"},
    {"64:ff9b:1::/48", "local NAT64"},
    {"100::/64", "discard"},
    {"2001::/32", "Teredo"},
    {"2001:2::/48", "benchmark"},
    {"2001::/23", "protocol assignment"},
    {"2001:db8::/32", "documentation"},
    {"3fff::/20", "documentation"},
};

struct ParsedSpecial {
  IpRange range;
  const char* kind;
};

const std::vector<ParsedSpecial>& specials() {
  static const std::vector<ParsedSpecial> parsed = [] {
    std::vector<ParsedSpecial> all;
    for (const Special& special : kSpecials) {
      all.push_back({IpRange::parse(special.range).value(), special.kind});
    }
    return all;
  }();
  return parsed;
}

IpAddress v4_at(const IpAddress& address, size_t offset) {
  IpAddress inner;
  inner.is_v4 = true;
  std::copy_n(address.bytes.begin() + static_cast<ptrdiff_t>(offset), 4, inner.bytes.begin());
  return inner;
}

bool begins_with(const IpAddress& address, std::initializer_list<uint8_t> bytes) {
  return std::equal(bytes.begin(), bytes.end(), address.bytes.begin());
}

// The well-known prefix of translators, 64:ff9b::/96: how a host with IPv6 only reaches IPv4.
bool is_nat64(const IpAddress& address) {
  return begins_with(address, {0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0});
}

// The IPv4 address that a packet to this IPv6 address ends up at, if it does.
std::optional<IpAddress> embedded_v4(const IpAddress& address) {
  if (is_nat64(address)) return v4_at(address, 12);
  if (begins_with(address, {0x20, 0x02})) return v4_at(address, 2);  // 6to4
  const auto& b = address.bytes;
  const bool isatap = (b[8] & 0xfd) == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe;
  if (isatap) return v4_at(address, 12);
  return std::nullopt;
}

bool bad_setting(std::string* problem, std::string_view detail) {
  *problem = fmt::format(
      "the setting 'webhook.allow' {}; give address ranges such as 10.0.0.0/8,fd00::/8", detail);
  return false;
}

bool add_range(std::string_view text, std::vector<IpRange>* ranges, std::string* problem) {
  constexpr size_t kRangesMax = 1024;
  const std::optional<IpRange> range = IpRange::parse(text);
  if (!range) {
    return bad_setting(problem, fmt::format("has '{}', which is no address range",
                                            text.substr(0, std::min<size_t>(text.size(), 60))));
  }
  if (ranges->size() >= kRangesMax) return bad_setting(problem, "has more than 1024 ranges");
  ranges->push_back(*range);
  return true;
}

}  // namespace

std::optional<IpAddress> IpAddress::from(const sockaddr* address, socklen_t size) {
  IpAddress ip;
  if (address->sa_family == AF_INET && size >= sizeof(sockaddr_in)) {
    sockaddr_in v4;
    std::memcpy(&v4, address, sizeof v4);
    ip.is_v4 = true;
    std::memcpy(ip.bytes.data(), &v4.sin_addr, 4);
    return ip;
  }
  if (address->sa_family != AF_INET6 || size < sizeof(sockaddr_in6)) return std::nullopt;
  sockaddr_in6 v6;
  std::memcpy(&v6, address, sizeof v6);
  std::memcpy(ip.bytes.data(), &v6.sin6_addr, 16);
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) return v4_at(ip, 12);
  return ip;
}

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
  const std::string copy(text);
  sockaddr_in v4 = {};
  v4.sin_family = AF_INET;
  if (::inet_pton(AF_INET, copy.c_str(), &v4.sin_addr) == 1) {
    return from(reinterpret_cast<const sockaddr*>(&v4), sizeof v4);
  }
  sockaddr_in6 v6 = {};
  v6.sin6_family = AF_INET6;
  if (::inet_pton(AF_INET6, copy.c_str(), &v6.sin6_addr) == 1) {
    return from(reinterpret_cast<const sockaddr*>(&v6), sizeof v6);
  }
  return std::nullopt;
}

std::string IpAddress::text() const {
  char buffer[INET6_ADDRSTRLEN] = "";
  ::inet_ntop(is_v4 ? AF_INET : AF_INET6, bytes.data(), buffer, sizeof buffer);
  return buffer;
}

std::optional<IpRange> IpRange::parse(std::string_view text) {
  const size_t slash = text.find('/');
  const std::string_view host = text.substr(0, slash);
  const std::optional<IpAddress> address = IpAddress::parse(host);
  if (!address) return std::nullopt;
  const bool written_as_v6 = host.find(':') != std::string_view::npos;
  const uint32_t written_bits_max = written_as_v6 ? 128 : 32;
  uint32_t bits = written_bits_max;
  if (slash != std::string_view::npos) {
    const std::string_view digits = text.substr(slash + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
    if (error != std::errc() || end != digits.data() + digits.size() || digits.size() > 3 ||
        bits > written_bits_max) {
      return std::nullopt;
    }
  }
  if (address->is_v4 && written_as_v6) {  // ::ffff:10.0.0.0/104 is 10.0.0.0/8
    if (bits < 96) return std::nullopt;
    bits -= 96;
  }
  return IpRange{*address, bits};
}

bool IpRange::contains(const IpAddress& other) const {
  if (other.is_v4 != address.is_v4) return false;
  const size_t whole = prefix_bits / 8;
  if (!std::equal(address.bytes.begin(), address.bytes.begin() + static_cast<ptrdiff_t>(whole),
                  other.bytes.begin())) {
    return false;
  }
  const uint32_t rest = prefix_bits % 8;
  if (rest == 0) return true;
  const auto mask = static_cast<uint8_t>(0xff << (8 - rest));
  return ((address.bytes[whole] ^ other.bytes[whole]) & mask) == 0;
}

std::string_view special_kind(const IpAddress& address) {
  for (const ParsedSpecial& special : specials()) {
    if (special.range.contains(address)) return special.kind;
  }
  if (address.is_v4) return {};
  if (const std::optional<IpAddress> inner = embedded_v4(address)) {
    if (const std::string_view kind = special_kind(*inner); !kind.empty()) return kind;
    if (is_nat64(address)) return {};
  }
  // Only 2000::/3 has been given to the public; ::/96 and the like have no business on a wire.
  return (address.bytes[0] & 0xe0) == 0x20 ? std::string_view() : "reserved";
}

std::optional<AddressPolicy> AddressPolicy::parse(std::string_view setting_json,
                                                  std::string* problem) {
  AddressPolicy policy;
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  if (parser.parse(setting_json.data(), setting_json.size()).get(root) != simdjson::SUCCESS) {
    bad_setting(problem, "is no JSON");
    return std::nullopt;
  }
  if (root.is_null()) return policy;
  policy.allowed_.emplace();
  std::string_view text;
  if (root.get_string().get(text) == simdjson::SUCCESS) {
    if (!add_range(text, &*policy.allowed_, problem)) return std::nullopt;
    return policy;
  }
  simdjson::dom::array list;
  if (root.get_array().get(list) != simdjson::SUCCESS) {
    bad_setting(problem, "is not a list");
    return std::nullopt;
  }
  for (const simdjson::dom::element item : list) {
    if (item.get_string().get(text) != simdjson::SUCCESS) {
      bad_setting(problem, "has an entry that is no string");
      return std::nullopt;
    }
    if (!add_range(text, &*policy.allowed_, problem)) return std::nullopt;
  }
  return policy;
}

std::string AddressPolicy::forbids(const sockaddr* address, socklen_t size) const {
  const std::optional<IpAddress> ip = IpAddress::from(address, size);
  if (!ip) return "the address is neither IPv4 nor IPv6";
  return forbids(*ip);
}

std::string AddressPolicy::forbids(const IpAddress& address) const {
  if (allowed_) {
    for (const IpRange& range : *allowed_) {
      if (range.contains(address)) return {};
    }
    return fmt::format("{} is in none of the ranges of 'webhook.allow'", address.text());
  }
  const std::string_view kind = special_kind(address);
  if (kind.empty()) return {};
  return fmt::format("{} is a {} address", address.text(), kind);
}

}  // namespace millrace::notify_step
