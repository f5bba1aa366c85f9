// AddressPolicy: which addresses a notification may be sent to (the guard against requests that
// somebody outside makes this server send to the network inside).
//
// Knows no names and no URLs: it judges the socket address that is about to be connected to, so
// that neither odd spellings (0x7f000001) nor a name that resolves to something else the second
// time pass it.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::notify_step {

// An IPv4 or IPv6 address. An IPv4 one inside IPv6 (::ffff:a.b.c.d) is the IPv4 one: the kernel
// connects over IPv4.
struct IpAddress {
  bool is_v4 = false;
  std::array<uint8_t, 16> bytes = {};  // the first 4 for IPv4

  static std::optional<IpAddress> from(const sockaddr* address, socklen_t size);
  static std::optional<IpAddress> parse(std::string_view text);
  std::string text() const;
};

// A CIDR range such as 10.0.0.0/8 or fd00::/8; a bare address is a range of one. Bits behind the
// prefix are ignored.
struct IpRange {
  IpAddress address;
  uint32_t prefix_bits = 0;

  static std::optional<IpRange> parse(std::string_view text);
  bool contains(const IpAddress& other) const;
};

class AddressPolicy {
 public:
  // Reads the setting `webhook.allow`: JSON null for the default, else a list of CIDR strings (or
  // one string), which replaces the default; an empty list allows nothing. [any] Without a value
  // when the setting is wrong; `problem` says how.
  static std::optional<AddressPolicy> parse(std::string_view setting_json, std::string* problem);

  // Why a connection to this address is forbidden ("127.0.0.1 is a loopback address"); empty when
  // it may be made. What is neither IPv4 nor IPv6 is forbidden. [any]
  [[nodiscard]] std::string forbids(const sockaddr* address, socklen_t size) const;
  [[nodiscard]] std::string forbids(const IpAddress& address) const;

 private:
  std::optional<std::vector<IpRange>> allowed_;  // absent: public addresses
};

// What kind of address this is, if it is not a public one ("loopback", "private", …); empty for a
// public one. Transition addresses (NAT64, 6to4, ISATAP) are what the IPv4 address inside them
// is; Teredo's are never public. [any]
[[nodiscard]] std::string_view special_kind(const IpAddress& address);

}  // namespace millrace::notify_step
