// Signatures of notifications, as Standard Webhooks specifies them (scheme v1: HMAC-SHA256).
//
// Knows no HTTP. Secrets never appear in a message.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::notify_step {

// Reads the setting `webhook.secret`: JSON null for none, a string, or a list of strings; each
// string is "whsec_" + base64, or two such separated by a comma or space. At most two are live at
// once (the old and the new one while receivers change over). Returns the decoded keys. [any]
// Without a value when the setting is wrong; `problem` says how, without the secret.
[[nodiscard]] std::optional<std::vector<std::string>> parse_secrets(std::string_view setting_json,
                                                                    std::string* problem);

// The value of webhook-signature: "v1," + base64(HMAC-SHA256(key, id.timestamp.body)) for each key,
// separated by spaces; empty without keys. [any]
[[nodiscard]] std::string signature_of(const std::vector<std::string>& keys, std::string_view id,
                                       int64_t timestamp, std::string_view body);

}  // namespace millrace::notify_step
