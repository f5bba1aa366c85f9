#include "s3/transport.h"

#include <fmt/core.h>
#include <time.h>

#include <algorithm>
#include <charconv>
#include <memory>

#include "s3/curl.h"
#include "s3/without_sigpipe.h"

namespace millrace::s3 {
namespace {

constexpr size_t kHeaderBytesMax = 64 << 10;

int64_t monotonic_ms() {
  struct timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

// A thread's handle with its open connections.
class Session {
 public:
  ~Session() {
    if (easy_ != nullptr) curl_->easy_cleanup(easy_);
  }
  CURL* handle(const Curl* curl) {
    curl_ = curl;
    if (easy_ == nullptr) {
      easy_ = curl->easy_init();
    } else {
      curl->easy_reset(easy_);
    }
    return easy_;
  }

 private:
  const Curl* curl_ = nullptr;
  CURL* easy_ = nullptr;
};

struct Transfer {
  const Exchange* exchange = nullptr;
  Answer answer;
  size_t header_bytes = 0;
  bool stopped = false, stalled = false, too_large = false;
  curl_off_t moved = -1;  // bytes in both directions when last looked at
  int64_t moved_at_ms = 0;
};

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

int status_of(std::string_view line) {
  const size_t space = std::min(line.find(' '), line.size());
  line = trimmed(line.substr(space));
  int status = 0;
  std::from_chars(line.data(), line.data() + line.size(), status);
  return status;
}

size_t on_header(char* data, size_t size, size_t count, void* context) {
  auto* transfer = static_cast<Transfer*>(context);
  const std::string_view line(data, size * count);
  transfer->header_bytes += line.size();
  if (transfer->header_bytes > kHeaderBytesMax) return 0;
  if (line.starts_with("HTTP/")) {  // also of a 100 before it
    transfer->answer.status = status_of(line);
    transfer->answer.headers.clear();
  } else if (const size_t colon = line.find(':'); colon != std::string_view::npos) {
    std::string name(line.substr(0, colon));
    for (char& c : name) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
    }
    transfer->answer.headers[name] = trimmed(line.substr(colon + 1));
  }
  return line.size();
}

size_t on_body(char* data, size_t size, size_t count, void* context) {
  auto* transfer = static_cast<Transfer*>(context);
  Answer& answer = transfer->answer;
  const std::string_view piece(data, size * count);
  if (transfer->exchange->sink && (answer.status == 200 || answer.status == 206)) {
    if (!transfer->exchange->sink(piece)) {
      transfer->stopped = true;
      return 0;
    }
    answer.taken += piece.size();
  } else {
    if (answer.body.size() + piece.size() > kAnswerBytesMax) {
      transfer->too_large = true;
      return 0;
    }
    answer.body += piece;
  }
  return piece.size();
}

int on_progress(void* context, curl_off_t, curl_off_t received, curl_off_t, curl_off_t sent) {
  auto* transfer = static_cast<Transfer*>(context);
  const int64_t now = monotonic_ms();
  if (received + sent != transfer->moved) {
    transfer->moved = received + sent;
    transfer->moved_at_ms = now;
  }
  transfer->stopped = transfer->exchange->go_on && !transfer->exchange->go_on();
  transfer->stalled = now - transfer->moved_at_ms > transfer->exchange->stall_ms;
  return transfer->stopped || transfer->stalled ? 1 : 0;
}

// A mistake in a call fails every test.
bool configure(const Curl* curl, CURL* easy, const Exchange& exchange, Transfer* transfer,
               curl_slist* headers, char* error) {
  bool all = true;
  const auto set = [curl](CURL* handle, CURLoption option, auto value, bool* all_set) {
    if (curl->easy_setopt(handle, option, value) != CURLE_OK) *all_set = false;
  };
  set(easy, CURLOPT_URL, exchange.url.c_str(), &all);
  set(easy, CURLOPT_PATH_AS_IS, 1L, &all);
  set(easy, CURLOPT_PROTOCOLS_STR, "http,https", &all);
  set(easy, CURLOPT_FOLLOWLOCATION, 0L, &all);
  set(easy, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED), &all);
  set(easy, CURLOPT_SSL_VERIFYPEER, 1L, &all);
  set(easy, CURLOPT_SSL_VERIFYHOST, 2L, &all);
  set(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1), &all);
  set(easy, CURLOPT_HTTP09_ALLOWED, 0L, &all);
  set(easy, CURLOPT_HTTPHEADER, headers, &all);
  set(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(exchange.connect_ms), &all);
  set(easy, CURLOPT_NOSIGNAL, 1L, &all);
  set(easy, CURLOPT_QUICK_EXIT, 1L, &all);  // a name server that does not answer is not waited for
  set(easy, CURLOPT_TCP_NODELAY, 1L, &all);
  set(easy, CURLOPT_HEADERFUNCTION, &on_header, &all);
  set(easy, CURLOPT_HEADERDATA, transfer, &all);
  set(easy, CURLOPT_WRITEFUNCTION, &on_body, &all);
  set(easy, CURLOPT_WRITEDATA, transfer, &all);
  set(easy, CURLOPT_NOPROGRESS, 0L, &all);
  set(easy, CURLOPT_XFERINFOFUNCTION, &on_progress, &all);
  set(easy, CURLOPT_XFERINFODATA, transfer, &all);
  set(easy, CURLOPT_ERRORBUFFER, error, &all);
  if (exchange.method == "HEAD") {
    set(easy, CURLOPT_NOBODY, 1L, &all);
  } else if (exchange.method == "PUT" || exchange.method == "POST") {
    // As fields and not as a stream: libcurl can begin again on a connection that was closed.
    set(easy, CURLOPT_POST, 1L, &all);
    set(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(exchange.body.size()), &all);
    set(easy, CURLOPT_POSTFIELDS, exchange.body.empty() ? "" : exchange.body.data(), &all);
    set(easy, CURLOPT_CUSTOMREQUEST, exchange.method.c_str(), &all);
  } else if (exchange.method != "GET") {
    set(easy, CURLOPT_CUSTOMREQUEST, exchange.method.c_str(), &all);
  }
  return all;
}

Trouble trouble_of(CURLcode code, const Transfer& transfer) {
  if (transfer.stopped) return Trouble::kStopped;
  if (transfer.stalled) return Trouble::kStalled;
  switch (code) {
    case CURLE_OK:
      return Trouble::kNone;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
      return Trouble::kInvalid;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
      return Trouble::kUnresolved;
    case CURLE_COULDNT_CONNECT:
      return Trouble::kUnreachable;
    case CURLE_OPERATION_TIMEDOUT:  // of the connect: nothing else has a time
      return Trouble::kUnreachable;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
      return Trouble::kUntrusted;
    default:
      return Trouble::kBroken;
  }
}

}  // namespace

std::string printable(std::string_view text, size_t size_max) {
  std::string out(text.substr(0, size_max));
  for (char& c : out) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7f) c = '?';
  }
  return out;
}

Answer transfer(const Exchange& exchange) {
  thread_local Session session;
  const WithoutSigpipe without_sigpipe;
  Transfer state;
  const Curl* curl = load_curl();
  if (curl == nullptr) {
    state.answer.trouble = Trouble::kInvalid;
    state.answer.detail = curl_problem();
    return std::move(state.answer);
  }
  state.exchange = &exchange;
  state.moved_at_ms = monotonic_ms();
  CURL* easy = session.handle(curl);
  std::unique_ptr<curl_slist, decltype(curl->slist_free_all)> headers(nullptr,
                                                                      curl->slist_free_all);
  // libcurl would wait for "100 Continue" before larger bodies, and call every body a form.
  headers.reset(curl->slist_append(nullptr, "Expect:"));
  bool typed = false;
  for (const std::string& header : exchange.headers) {
    (void)curl->slist_append(headers.get(), header.c_str());
    typed = typed || header.starts_with("content-type:");
  }
  if (!typed) (void)curl->slist_append(headers.get(), "Content-Type:");
  char error[CURL_ERROR_SIZE] = "";
  if (!configure(curl, easy, exchange, &state, headers.get(), error)) {
    state.answer.trouble = Trouble::kInvalid;
    state.answer.detail = "libcurl does not take this request";
    return std::move(state.answer);
  }
  const CURLcode code = curl->easy_perform(easy);
  Answer& answer = state.answer;
  answer.trouble = trouble_of(code, state);
  if (answer.trouble == Trouble::kStalled) {
    answer.detail = fmt::format("nothing moved for {} ms", exchange.stall_ms);
  } else if (state.too_large) {
    answer.detail = fmt::format("the answer has more than {} bytes", kAnswerBytesMax);
  } else if (answer.trouble != Trouble::kNone) {
    answer.detail = printable(*error != '\0' ? error : curl->easy_strerror(code));
  }
  return std::move(answer);
}

}  // namespace millrace::s3
