// Goal: by default only public addresses may be notified, whatever form they come in; a list
// replaces the default.
// Method: a table of addresses at both edges of every special range.
#include "steps/notify/address_policy.h"

#include <arpa/inet.h>

namespace millrace {
namespace {

using notify_step::AddressPolicy;
using notify_step::IpAddress;
using notify_step::IpRange;
using notify_step::special_kind;

AddressPolicy policy_of(const std::string& setting) {
  std::string problem;
  const std::optional<AddressPolicy> policy = AddressPolicy::parse(setting, &problem);
  EXPECT_TRUE(policy) << problem;
  return policy.value_or(AddressPolicy());
}

bool allowed(const AddressPolicy& policy, const std::string& text) {
  const std::optional<IpAddress> address = IpAddress::parse(text);
  EXPECT_TRUE(address) << text;
  return address && policy.forbids(*address).empty();
}

TEST(AddressPolicy, SpecialRangesAreForbiddenToTheirEdges) {
  const AddressPolicy policy = policy_of("null");
  for (const char* text :
       {"0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255",
        "127.0.0.0", "127.0.0.1", "127.255.255.255", "169.254.0.0", "169.254.169.254",
        "169.254.255.255", "172.16.0.0", "172.31.255.255", "192.0.0.0", "192.0.0.255", "192.0.2.0",
        "192.0.2.255", "192.88.99.0", "192.88.99.255", "192.168.0.0", "192.168.255.255",
        "198.18.0.0", "198.19.255.255", "198.51.100.0", "198.51.100.255", "203.0.113.0",
        "203.0.113.255", "224.0.0.0", "239.255.255.255", "240.0.0.0", "255.255.255.254",
        "255.255.255.255",
        // IPv6
        "::", "::1", "::2", "::7f00:1", "::8.8.8.8", "::ffff:0:8.8.8.8", "100::", "100::1",
        "64:ff9b:1::", "64:ff9b:1::8.8.8.8", "64:ff9b::1:0:0:0", "fc00::", "fdff::1",
        "fe80::", "fe80::1", "febf::1", "fec0::1", "feff::1", "ff00::", "ff02::1",
        "ffff::", "2001::", "2001:0:0808:0808::1", "2001:2::1", "2001:10::1", "2001:1ff:ffff::1",
        "2001:db8::", "2001:db8:ffff::1", "3fff::1", "3fff:fff::1", "4000::", "5f00::1", "1fff::1",
        "8000::1", "64:ff9b::5efe:808:808"}) {
    EXPECT_FALSE(allowed(policy, text)) << text;
  }
}

TEST(AddressPolicy, NeighboursOfSpecialRangesArePublic) {
  const AddressPolicy policy = policy_of("null");
  for (const char* text : {"1.0.0.0",         "1.1.1.1",         "8.8.8.8",
                           "9.255.255.255",   "11.0.0.0",        "100.63.255.255",
                           "100.128.0.0",     "126.255.255.255", "128.0.0.0",
                           "169.253.255.255", "169.255.0.0",     "172.15.255.255",
                           "172.32.0.0",      "191.255.255.255", "192.0.1.0",
                           "192.0.3.0",       "192.88.98.255",   "192.88.100.0",
                           "192.167.255.255", "192.169.0.0",     "198.17.255.255",
                           "198.20.0.0",      "198.51.99.255",   "198.51.101.0",
                           "203.0.112.255",   "203.0.114.0",     "223.255.255.255",
                           "2000::1",         "2001:200::1",     "2001:4860:4860::8888",
                           "2001:db7::1",     "2001:db9::1",     "2606:4700::1111",
                           "3ffe::1",         "3fff:1000::1"}) {
    EXPECT_TRUE(allowed(policy, text)) << text;
  }
}

TEST(AddressPolicy, AnAddressInsideAnAddressIsWhatCounts) {
  const AddressPolicy policy = policy_of("null");
  for (const char* text :
       {"::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
        "64:ff9b::127.0.0.1", "64:ff9b::10.1.2.3", "64:ff9b::192.168.0.1", "2002:7f00:1::1",
        "2002:a00:1::1", "2002:c0a8:101::", "2602:1::5efe:127.0.0.1", "2602:1::5efe:10.0.0.1",
        "2602:1::200:5efe:192.168.1.1", "fe80::5efe:8.8.8.8"}) {
    EXPECT_FALSE(allowed(policy, text)) << text;
  }
  for (const char* text : {"::ffff:8.8.8.8", "::ffff:808:808", "64:ff9b::8.8.8.8",
                           "2002:808:808::1", "2602:1::5efe:8.8.8.8"}) {
    EXPECT_TRUE(allowed(policy, text)) << text;
  }
}

TEST(AddressPolicy, AListReplacesTheDefault) {
  const AddressPolicy policy =
      policy_of(R"(["127.0.0.0/8","10.1.2.3","fd00::/8","::1/128","192.168.5.77/20"])");
  for (const char* text : {"127.0.0.1", "127.255.0.9", "10.1.2.3", "fd12::1", "::1",
                           "::ffff:127.0.0.1", "192.168.0.1", "192.168.15.255"}) {
    EXPECT_TRUE(allowed(policy, text)) << text;
  }
  for (const char* text :
       {"8.8.8.8", "10.1.2.4", "fc00::1", "::2", "::ffff:8.8.8.8", "192.168.16.0", "2606::1"}) {
    EXPECT_FALSE(allowed(policy, text)) << text;
  }
  EXPECT_FALSE(allowed(policy_of("[]"), "8.8.8.8"));
  EXPECT_TRUE(allowed(policy_of(R"("0.0.0.0/0")"), "127.0.0.1"));
  EXPECT_FALSE(allowed(policy_of(R"("0.0.0.0/0")"), "::1"));
  EXPECT_TRUE(allowed(policy_of(R"("::/0")"), "::1"));
  EXPECT_FALSE(allowed(policy_of(R"("::/0")"), "::ffff:127.0.0.1")) << "it is IPv4";
  EXPECT_TRUE(allowed(policy_of(R"("::ffff:127.0.0.0/104")"), "127.0.0.1"));
}

TEST(AddressPolicy, WrongSettingsAreNamed) {
  for (const char* setting :
       {R"(["127.0.0.0/33"])", R"(["127.0.0/8"])", R"(["localhost"])", R"(["::/129"])",
        R"(["10.0.0.0/"])", R"(["10.0.0.0/-1"])", R"(["10.0.0.0/8x"])", R"([""])", R"([8])",
        R"({"a":1})", "7", "[", "", R"(["0x7f.1/8"])", R"(["::ffff:1.2.3.4/95"])"}) {
    std::string problem;
    EXPECT_FALSE(AddressPolicy::parse(setting, &problem)) << setting;
    EXPECT_NE(problem.find("webhook.allow"), std::string::npos) << setting;
  }
}

TEST(AddressPolicy, OtherFamiliesAndShortAddressesAreForbidden) {
  const AddressPolicy policy = policy_of(R"(["0.0.0.0/0","::/0"])");
  sockaddr other = {};
  other.sa_family = AF_UNIX;
  EXPECT_FALSE(policy.forbids(&other, sizeof other).empty());
  sockaddr_in short_address = {};
  short_address.sin_family = AF_INET;
  const auto* raw = reinterpret_cast<const sockaddr*>(&short_address);
  EXPECT_FALSE(policy.forbids(raw, 4).empty());
  EXPECT_TRUE(policy.forbids(raw, sizeof short_address).empty());
}

TEST(AddressPolicy, TheReasonNamesAddressAndKind) {
  EXPECT_EQ(policy_of("null").forbids(*IpAddress::parse("169.254.169.254")),
            "169.254.169.254 is a link-local address");
  EXPECT_EQ(special_kind(*IpAddress::parse("2002:7f00:1::1")), "loopback");
  EXPECT_FALSE(IpRange::parse("1.2.3.4/"));
}

}  // namespace
}  // namespace millrace
