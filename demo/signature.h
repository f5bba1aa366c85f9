// Signature: what somebody who is notified by millrace does first, as Standard Webhooks says it.
#pragma once

#include <string>

namespace millrace::demo {

// A new secret of 32 random bytes: "whsec_" + base64.
std::string make_webhook_secret();
// Whether the request was signed with `secret`. `head`: its first line and headers.
bool signature_valid(const std::string& secret, const std::string& head, const std::string& body);

}  // namespace millrace::demo
