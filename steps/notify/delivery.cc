#include "steps/notify/delivery.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <mutex>

#include "s3/without_sigpipe.h"

namespace millrace::notify_step {
namespace {

constexpr size_t kUrlBytesMax = 8192;
constexpr size_t kBodyBytesMax = 65'536;
constexpr size_t kHeaderBytesMax = 65'536;
constexpr size_t kPhraseBytesMax = 80;
constexpr int64_t kBodyWaitMs = 2'000;
constexpr int64_t kConnectTimeoutMs = 10'000;
constexpr int64_t kRetryAfterMaxSeconds = 3'600;

int64_t monotonic_ms() {
  struct timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

// A thread's handle with its open connections. They are given up when the policy changes.
class Session {
 public:
  ~Session() {
    if (easy_ != nullptr) curl_easy_cleanup(easy_);
  }
  CURL* handle(const std::string& policy_text) {
    static std::once_flag once;
    std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
    if (easy_ != nullptr && policy_text != policy_text_) {
      curl_easy_cleanup(easy_);
      easy_ = nullptr;
    }
    if (easy_ == nullptr) {
      easy_ = curl_easy_init();
      policy_text_ = policy_text;
    } else {
      curl_easy_reset(easy_);
    }
    return easy_;
  }

 private:
  CURL* easy_ = nullptr;
  std::string policy_text_;
};

// What the callbacks of one transfer note down.
struct Transfer {
  const Delivery* delivery = nullptr;
  Answer answer;
  bool final = false;  // a final status and its headers have arrived
  int64_t final_at_ms = 0;
  size_t header_bytes = 0;
  size_t body_bytes = 0;
  int addresses_forbidden = 0;
  int addresses_allowed = 0;
  bool cancelled = false;
};

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           return (x >= 'A' && x <= 'Z' ? x + 32 : x) == (y >= 'A' && y <= 'Z' ? y + 32 : y);
         });
}

// "HTTP/1.1 503 Service Unavailable"
void read_status_line(std::string_view line, Answer* answer) {
  *answer = Answer();
  const size_t space = line.find(' ');
  if (space == std::string_view::npos) return;
  line = trimmed(line.substr(space));
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), answer->status);
  if (error != std::errc()) return;
  line.remove_prefix(static_cast<size_t>(end - line.data()));
  for (const char c : trimmed(line).substr(0, kPhraseBytesMax)) {
    answer->phrase += c >= 0x20 && c < 0x7f ? c : '?';
  }
}

size_t on_header(char* data, size_t size, size_t count, void* context) {
  auto* transfer = static_cast<Transfer*>(context);
  const std::string_view line(data, size * count);
  transfer->header_bytes += line.size();
  if (transfer->final) return line.size();  // trailers say nothing about the answer
  if (transfer->header_bytes > kHeaderBytesMax) return 0;
  if (line.starts_with("HTTP/")) {
    read_status_line(trimmed(line), &transfer->answer);
  } else if (trimmed(line).empty()) {
    transfer->final = transfer->answer.status >= 200;
    transfer->final_at_ms = monotonic_ms();
  } else if (const size_t colon = line.find(':'); colon != std::string_view::npos) {
    if (equal_ignoring_case(line.substr(0, colon), "retry-after")) {
      transfer->answer.retry_after = trimmed(line.substr(colon + 1)).substr(0, 64);
    }
  }
  return line.size();
}

size_t on_body(char* /*data*/, size_t size, size_t count, void* context) {
  auto* transfer = static_cast<Transfer*>(context);
  transfer->body_bytes += size * count;
  return transfer->body_bytes > kBodyBytesMax ? 0 : size * count;
}

int on_progress(void* context, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  auto* transfer = static_cast<Transfer*>(context);
  if (transfer->final) return monotonic_ms() - transfer->final_at_ms > kBodyWaitMs ? 1 : 0;
  if (transfer->delivery->go_on()) return 0;
  transfer->cancelled = true;
  return 1;
}

// Called with the very address that is connected to next.
curl_socket_t on_open_socket(void* context, curlsocktype purpose, struct curl_sockaddr* address) {
  auto* transfer = static_cast<Transfer*>(context);
  std::string why = "only connections to the receiver are made";
  if (purpose == CURLSOCKTYPE_IPCXN) {
    why = transfer->delivery->policy->forbids(&address->addr, address->addrlen);
  }
  if (!why.empty()) {
    ++transfer->addresses_forbidden;
    transfer->answer.detail = why;
    return CURL_SOCKET_BAD;
  }
  ++transfer->addresses_allowed;
  return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

// A call with a mistake in it fails loudly in every test: it would weaken the guard.
template <typename Value>
void set(CURL* easy, CURLoption option, Value value, bool* all_set) {
  if (curl_easy_setopt(easy, option, value) != CURLE_OK) *all_set = false;
}

bool configure(CURL* easy, const Delivery& delivery, Transfer* transfer, curl_slist* headers,
               char* error) {
  bool all = true;
  set(easy, CURLOPT_URL, delivery.url.c_str(), &all);
  set(easy, CURLOPT_PROTOCOLS_STR, "http,https", &all);
  set(easy, CURLOPT_FOLLOWLOCATION, 0L, &all);
  set(easy, CURLOPT_PROXY, "", &all);
  set(easy, CURLOPT_NOPROXY, "*", &all);
  set(easy, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED), &all);
  set(easy, CURLOPT_SSL_VERIFYPEER, 1L, &all);
  set(easy, CURLOPT_SSL_VERIFYHOST, 2L, &all);
  set(easy, CURLOPT_OPENSOCKETFUNCTION, &on_open_socket, &all);
  set(easy, CURLOPT_OPENSOCKETDATA, transfer, &all);
  set(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1), &all);
  set(easy, CURLOPT_HTTP09_ALLOWED, 0L, &all);
  set(easy, CURLOPT_HTTPHEADER, headers, &all);
  set(easy, CURLOPT_POST, 1L, &all);
  set(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(delivery.body.size()), &all);
  set(easy, CURLOPT_POSTFIELDS, delivery.body.data(), &all);
  set(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(delivery.timeout_ms), &all);
  set(easy, CURLOPT_CONNECTTIMEOUT_MS,
      static_cast<long>(std::min(delivery.timeout_ms, kConnectTimeoutMs)), &all);
  set(easy, CURLOPT_NOSIGNAL, 1L, &all);
  set(easy, CURLOPT_QUICK_EXIT, 1L, &all);  // a name server that does not answer is not waited for
  set(easy, CURLOPT_HEADERFUNCTION, &on_header, &all);
  set(easy, CURLOPT_HEADERDATA, transfer, &all);
  set(easy, CURLOPT_WRITEFUNCTION, &on_body, &all);
  set(easy, CURLOPT_WRITEDATA, transfer, &all);
  set(easy, CURLOPT_NOPROGRESS, 0L, &all);
  set(easy, CURLOPT_XFERINFOFUNCTION, &on_progress, &all);
  set(easy, CURLOPT_XFERINFODATA, transfer, &all);
  set(easy, CURLOPT_ERRORBUFFER, error, &all);
  return all;
}

Outcome outcome_of(CURLcode code, const Transfer& transfer) {
  if (transfer.final) return Outcome::kAnswered;
  if (transfer.cancelled) return Outcome::kCancelled;
  if (transfer.addresses_forbidden > 0 && transfer.addresses_allowed == 0) {
    return Outcome::kForbidden;
  }
  switch (code) {
    case CURLE_URL_MALFORMAT:
      return Outcome::kInvalidUrl;
    case CURLE_OPERATION_TIMEDOUT:
      return Outcome::kTimedOut;
    case CURLE_COULDNT_RESOLVE_HOST:
      return Outcome::kUnresolved;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_ENGINE_INITFAILED:
      return Outcome::kTlsFailed;
    default:
      return Outcome::kUnreachable;
  }
}

// libcurl's messages quote what came over the wire.
std::string printable(std::string text) {
  for (char& c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7f) c = '?';
  }
  return text;
}

std::string url_part(CURLU* url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, 0) != CURLUE_OK) return {};
  std::string copy = text;
  curl_free(text);
  return copy;
}

}  // namespace

Answer deliver(const Delivery& delivery) {
  thread_local Session session;
  const s3::WithoutSigpipe without_sigpipe;
  Transfer transfer;
  transfer.delivery = &delivery;
  CURL* easy = session.handle(delivery.policy_text);
  std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(nullptr, curl_slist_free_all);
  // libcurl would wait for "100 Continue" before larger bodies.
  headers.reset(curl_slist_append(nullptr, "Expect:"));
  for (const std::string& header : delivery.headers) {
    (void)curl_slist_append(headers.get(), header.c_str());
  }
  char error[CURL_ERROR_SIZE] = "";
  if (easy == nullptr || !configure(easy, delivery, &transfer, headers.get(), error)) {
    transfer.answer.detail = "libcurl refuses an option that the address check needs";
    return transfer.answer;
  }
  const int64_t begun_ms = monotonic_ms();
  const CURLcode code = curl_easy_perform(easy);
  Answer answer = std::move(transfer.answer);
  answer.elapsed_ms = monotonic_ms() - begun_ms;
  answer.outcome = outcome_of(code, transfer);
  if (answer.outcome == Outcome::kAnswered) return answer;
  if (answer.outcome != Outcome::kForbidden) {
    answer.detail = printable(error[0] != '\0' ? error : curl_easy_strerror(code));
  }
  return answer;
}

std::string describe_url(std::string_view url, std::string* problem) {
  if (url.size() > kUrlBytesMax) {
    *problem =
        fmt::format("the URL is {} bytes long, at most {} are allowed", url.size(), kUrlBytesMax);
    return {};
  }
  const std::string text(url);
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> parsed(curl_url(), curl_url_cleanup);
  const CURLUcode code =
      url.find('\0') != std::string_view::npos
          ? CURLUE_MALFORMED_INPUT
          : curl_url_set(parsed.get(), CURLUPART_URL, text.c_str(), CURLU_NON_SUPPORT_SCHEME);
  if (code != CURLUE_OK) {
    *problem = fmt::format("the URL does not parse ({}); give http://HOST/… or https://HOST/…",
                           curl_url_strerror(code));
    return {};
  }
  const std::string scheme = url_part(parsed.get(), CURLUPART_SCHEME);
  const std::string host = url_part(parsed.get(), CURLUPART_HOST);
  if ((scheme != "http" && scheme != "https") || host.empty()) {
    *problem = fmt::format("the URL's scheme is '{}'; only http and https can be notified",
                           scheme.substr(0, 20));
    return {};
  }
  const std::string port = url_part(parsed.get(), CURLUPART_PORT);
  std::string shown = scheme + "://" + host + (port.empty() ? "" : ":" + port) +
                      url_part(parsed.get(), CURLUPART_PATH);
  constexpr size_t kShownMax = 300;
  if (shown.size() <= kShownMax) return shown;
  size_t end = kShownMax;
  while ((shown[end] & 0xc0) == 0x80) --end;  // not within a character
  return shown.substr(0, end) + "...";
}

int64_t retry_after_ms(std::string_view value, int64_t now) {
  value = trimmed(value);
  int64_t seconds = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), seconds);
  if (end == value.data() + value.size() && error == std::errc::result_out_of_range) {
    seconds = kRetryAfterMaxSeconds;  // a number of more digits than fit
  } else if (error != std::errc() || end != value.data() + value.size()) {
    const time_t date = curl_getdate(std::string(value).c_str(), nullptr);
    if (date < 0) return 0;
    seconds = int64_t{date} - now;
  }
  return std::clamp<int64_t>(seconds, 0, kRetryAfterMaxSeconds) * 1000;
}

}  // namespace millrace::notify_step
