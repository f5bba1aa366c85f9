// notify: the plugin's declaration, and what an answer means for a notification.
//
// How it is sent is delivery.h, to whom it may be sent address_policy.h, how it is signed
// signature.h.
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "engine/abi/step.h"
#include "steps/notify/address_policy.h"
#include "steps/notify/delivery.h"
#include "steps/notify/signature.h"

namespace millrace::notify_step {
namespace {

enum Param { kUrl, kBody, kParamCount };

std::string_view setting_of(const mr_call* call, const char* key) {
  const char* text = call->host->setting(call, key);
  return text == nullptr ? "null" : text;
}

int32_t fail(const mr_call* call, const char* reason, const std::string& message) {
  return call->host->fail(call, reason, message.c_str());
}

bool asks_to_try_again(int status) {
  return status == 408 || status == 425 || status == 429 || status >= 500;
}

int32_t judge_status(const mr_call* call, const std::string& shown, const Answer& answer) {
  const int status = answer.status;
  const std::string line = answer.phrase.empty() ? fmt::format("{}", status)
                                                 : fmt::format("{} {}", status, answer.phrase);
  (void)call->host->note(call, fmt::format("{} in {} ms", line, answer.elapsed_ms).c_str());
  if (status < 300) return call->host->result_int(call, 0, status) == MR_OK ? MR_OK : MR_CANCELLED;
  const std::string said =
      fmt::format("POST {} answered {} after {} ms", shown, line, answer.elapsed_ms);
  if (asks_to_try_again(status)) {
    const int64_t wait_ms = retry_after_ms(answer.retry_after, ::time(nullptr));
    if (wait_ms > 0) (void)call->host->retry_after(call, wait_ms);
    const char* reason = status == 429 ? "rate_limited" : "receiver_error";
    if (wait_ms == 0) return fail(call, reason, said);
    return fail(call, reason, fmt::format("{} and asks to wait {} s", said, wait_ms / 1000));
  }
  if (status == 410) {
    return fail(call, "gone", said + "; the receiver wants no more notifications at this URL");
  }
  if (status < 400) {
    return fail(call, "redirected",
                said + "; redirects are not followed, give the URL that it leads to");
  }
  return fail(call, "rejected", said);
}

int32_t judge(const mr_call* call, const std::string& shown, const Answer& answer) {
  if (answer.outcome == Outcome::kAnswered) return judge_status(call, shown, answer);
  if (answer.outcome == Outcome::kCancelled) return MR_CANCELLED;
  const std::string said =
      fmt::format("POST {} got no answer after {} ms: {}", shown, answer.elapsed_ms, answer.detail);
  const char* reason = "unreachable";
  switch (answer.outcome) {
    case Outcome::kForbidden:
      (void)call->host->note(call, "forbidden address");
      return fail(call, "forbidden_address",
                  fmt::format("POST {} was not sent: {}; allow it with the setting "
                              "'webhook.allow' if it is meant to be reached",
                              shown, answer.detail));
    case Outcome::kInvalidUrl:
      reason = "invalid_url";
      break;
    case Outcome::kTimedOut:
      reason = "timeout";
      break;
    case Outcome::kUnresolved:
      reason = "dns_failed";
      break;
    case Outcome::kTlsFailed:
      reason = "tls_failed";
      break;
    default:
      break;
  }
  (void)call->host->note(call, fmt::format("{} after {} ms", reason, answer.elapsed_ms).c_str());
  return fail(call, reason, said);
}

// The headers of this attempt: only the time and the signature over it differ between attempts.
std::vector<std::string> headers_of(const mr_call* call, const std::vector<std::string>& keys,
                                    std::string_view body) {
  const std::string_view id = call->effect_key == nullptr ? "" : call->effect_key;
  const int64_t timestamp = ::time(nullptr);
  std::vector<std::string> headers = {
      "Content-Type: application/json",
      fmt::format("User-Agent: millrace/{}", MILLRACE_VERSION),
      fmt::format("Idempotency-Key: {}", id),
      fmt::format("webhook-id: {}", id),
      fmt::format("webhook-timestamp: {}", timestamp),
  };
  if (!keys.empty()) {
    headers.push_back("webhook-signature: " + signature_of(keys, id, timestamp, body));
  }
  return headers;
}

// Enough to report before the host kills the attempt.
int64_t delivery_timeout_ms(int64_t timeout_ms) {
  return std::max<int64_t>(1, timeout_ms - std::min<int64_t>(500, timeout_ms / 10));
}

int32_t notify(const mr_call* call) {
  const std::string_view url(call->params[kUrl].s, static_cast<size_t>(call->params[kUrl].n));
  const std::string_view body(call->params[kBody].s, static_cast<size_t>(call->params[kBody].n));
  std::string problem;
  const std::string shown = describe_url(url, &problem);
  if (shown.empty()) return fail(call, "invalid_url", problem);
  const std::string policy_text(setting_of(call, "webhook.allow"));
  const std::optional<AddressPolicy> policy = AddressPolicy::parse(policy_text, &problem);
  if (!policy) return fail(call, "invalid_setting", problem);
  const std::optional<std::vector<std::string>> keys =
      parse_secrets(setting_of(call, "webhook.secret"), &problem);
  if (!keys) return fail(call, "invalid_setting", problem);
  Delivery delivery;
  delivery.url = url;
  delivery.body = body;
  delivery.headers = headers_of(call, *keys, body);
  delivery.timeout_ms = delivery_timeout_ms(call->timeout_ms);
  delivery.policy_text = policy_text;
  delivery.policy = &*policy;
  delivery.go_on = [call] { return call->host->progress(call, 500) == MR_OK; };
  return judge(call, shown, deliver(delivery));
}

// The libraries may throw (out of memory); nothing may cross the C boundary.
int32_t run(const mr_call* call) {
  try {
    return notify(call);
  } catch (const std::exception& exception) {
    return call->host->fail(call, "unreachable", exception.what());
  }
}

const mr_port kParams[kParamCount] = {
    {.size = sizeof(mr_port), .name = "url", .type = "url", .doc = "Where to POST; http or https."},
    {.size = sizeof(mr_port), .name = "body", .type = "json", .doc = "What to send, as JSON."}};

const mr_port kResults[] = {{.size = sizeof(mr_port),
                             .name = "status",
                             .type = "int",
                             .doc = "The receiver's status, 200 to 299."}};

const mr_reason kReasons[] = {
    {sizeof(mr_reason), "gone",
     "The receiver answered 410: it wants no more notifications at this URL. Use another URL or "
     "none.",
     0},
    {sizeof(mr_reason), "redirected",
     "The receiver answered with a redirect, which is never followed. Give the URL that it leads "
     "to.",
     0},
    {sizeof(mr_reason), "rejected",
     "The receiver refused the notification with a 4xx status. Look at its side: URL, "
     "authentication, and what it expects.",
     0},
    {sizeof(mr_reason), "forbidden_address",
     "The URL leads to an address that must not be notified (by default all that are not public). "
     "Allow it with 'webhook.allow' if it is meant.",
     0},
    {sizeof(mr_reason), "invalid_url",
     "The URL cannot be used. Give an absolute http or https URL with a host.", 0},
    {sizeof(mr_reason), "invalid_setting",
     "The configuration of 'webhook.secret' or 'webhook.allow' cannot be read. Correct it and run "
     "the step again.",
     0},
    {sizeof(mr_reason), "receiver_error",
     "The receiver answered 408, 425 or 5xx. The notification is sent again when the pipeline "
     "allows.",
     MR_TRANSIENT},
    {sizeof(mr_reason), "rate_limited",
     "The receiver answered 429. The notification is sent again when the pipeline allows, not "
     "before the receiver's Retry-After.",
     MR_TRANSIENT},
    {sizeof(mr_reason), "timeout",
     "The receiver did not answer in time. It may have got the notification; the id tells a "
     "repetition.",
     MR_TRANSIENT},
    {sizeof(mr_reason), "unreachable",
     "The connection was refused or broke, or the answer was not HTTP. Look whether the receiver "
     "runs.",
     MR_TRANSIENT},
    {sizeof(mr_reason), "dns_failed",
     "The URL's host name has no address, or the name server does not answer.", MR_TRANSIENT},
    {sizeof(mr_reason), "tls_failed",
     "No TLS connection could be made, or the receiver's certificate is not trusted.",
     MR_TRANSIENT}};

const mr_step kStep = {
    .size = sizeof(mr_step),
    .name = "notify",
    .major = 1,
    .minor = 0,
    .effect = MR_KEYED,
    .lane = MR_LANE_IO,
    .doc =
        "Sends a JSON body to a URL (a webhook). Every attempt carries the same bytes and the "
        "same id (webhook-id, Idempotency-Key), signed as Standard Webhooks specifies when a "
        "secret is configured.",
    .inputs = nullptr,
    .input_count = 0,
    .params = kParams,
    .param_count = kParamCount,
    .outputs = nullptr,
    .output_count = 0,
    .results = kResults,
    .result_count = 1,
    .reasons = kReasons,
    .reason_count = sizeof kReasons / sizeof kReasons[0],
    .settings = "webhook.secret webhook.allow",
    .run = run};

const mr_step* const kSteps[] = {&kStep};

}  // namespace
}  // namespace millrace::notify_step

extern "C" MR_EXPORT const mr_plugin mr_plugin_v1 = {.size = sizeof(mr_plugin),
                                                     .abi_major = MR_ABI_MAJOR,
                                                     .abi_minor = MR_ABI_MINOR,
                                                     .name = "notify",
                                                     .version = "1.0",
                                                     .steps = millrace::notify_step::kSteps,
                                                     .step_count = 1,
                                                     .load = nullptr,
                                                     .start = nullptr};
