#include "demo/webhook_receiver.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <chrono>
#include <vector>

namespace millrace::demo {
namespace {

constexpr size_t kRequestBytesMax = 1 << 20;

std::string base64_encode(const unsigned char* bytes, int size) {
  std::string text(static_cast<size_t>(size) * 2 + 4, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), bytes, size);
  text.resize(static_cast<size_t>(length));
  return text;
}

std::string base64_decode(const std::string& text) {
  std::string bytes(text.size(), '\0');
  int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                             reinterpret_cast<const unsigned char*>(text.data()),
                             static_cast<int>(text.size()));
  for (size_t i = text.size(); size > 0 && i > 0 && text[i - 1] == '='; --i) --size;
  bytes.resize(size < 0 ? 0 : static_cast<size_t>(size));
  return bytes;
}

// Any of the signatures may be the right one: while secrets change there are two.
bool signature_valid(const std::string& secret, const Webhook& webhook) {
  const auto header = [&webhook](const char* name) {
    const auto found = webhook.headers.find(name);
    return found == webhook.headers.end() ? std::string() : found->second;
  };
  const std::string key = base64_decode(secret.substr(secret.find('_') + 1));
  const std::string content =
      header("webhook-id") + "." + header("webhook-timestamp") + "." + webhook.body;
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
       reinterpret_cast<const unsigned char*>(content.data()), content.size(), digest, &size);
  const std::string expected = "v1," + base64_encode(digest, static_cast<int>(size));
  return (" " + header("webhook-signature") + " ").find(" " + expected + " ") != std::string::npos;
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return text;
}

// Reads headers and body of one request; false when the other side went away first.
bool read_request(int connection, Webhook* webhook) {
  std::string text;
  const auto more = [&] {
    char chunk[16384];
    const ssize_t got = ::recv(connection, chunk, sizeof chunk, 0);
    if (got <= 0 || text.size() > kRequestBytesMax) return false;
    text.append(chunk, static_cast<size_t>(got));
    return true;
  };
  size_t end;
  while ((end = text.find("\r\n\r\n")) == std::string::npos) {
    if (!more()) return false;
  }
  for (size_t at = text.find("\r\n"); at < end;) {
    const size_t begin = at + 2;
    at = text.find("\r\n", begin);
    const std::string line = text.substr(begin, at - begin);
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const size_t value = line.find_first_not_of(' ', colon + 1);
    webhook->headers[lower(line.substr(0, colon))] =
        value == std::string::npos ? "" : line.substr(value);
  }
  const size_t size = std::strtoul(webhook->headers["content-length"].c_str(), nullptr, 10);
  while (text.size() < end + 4 + size) {
    if (!more()) return false;
  }
  webhook->body = text.substr(end + 4, size);
  return true;
}

}  // namespace

std::string make_webhook_secret() {
  unsigned char bytes[32];
  if (RAND_bytes(bytes, sizeof bytes) != 1) ::abort();
  return "whsec_" + base64_encode(bytes, sizeof bytes);
}

WebhookReceiver::~WebhookReceiver() {
  if (listener_ < 0) return;
  ::shutdown(listener_, SHUT_RDWR);
  if (thread_.joinable()) thread_.join();
  ::close(listener_);
}

bool WebhookReceiver::start() {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (listener_ < 0 || ::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::listen(listener_, 8) != 0 ||
      ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return false;
  }
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { run(); });
  return true;
}

std::string WebhookReceiver::url() const {
  return fmt::format("http://127.0.0.1:{}/webhook", port_);
}

std::optional<Webhook> WebhookReceiver::wait(int timeout_ms) {
  std::unique_lock lock(mutex_);
  arrived_.wait_for(lock, std::chrono::milliseconds(timeout_ms),
                    [this] { return first_.has_value(); });
  return first_;
}

void WebhookReceiver::run() {
  for (;;) {
    const int connection = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) return;
    const struct timeval timeout = {10, 0};
    ::setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    serve(connection);
    ::close(connection);
  }
}

// A receiver must not answer 2xx to what it cannot verify.
void WebhookReceiver::serve(int connection) {
  Webhook webhook;
  if (!read_request(connection, &webhook)) return;
  webhook.at_ms =
      std::chrono::duration<double, std::milli>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  webhook.signature_valid = signature_valid(secret_, webhook);
  const std::string answer =
      fmt::format("HTTP/1.1 {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                  webhook.signature_valid ? "204 No Content" : "401 Unauthorized");
  (void)::send(connection, answer.data(), answer.size(), MSG_NOSIGNAL);
  const std::lock_guard lock(mutex_);
  if (!first_) first_ = std::move(webhook);
  arrived_.notify_all();
}

}  // namespace millrace::demo
