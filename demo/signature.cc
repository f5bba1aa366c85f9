#include "demo/signature.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdlib.h>

#include "bench/harness/receiver.h"

namespace millrace::demo {
namespace {

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

}  // namespace

std::string make_webhook_secret() {
  unsigned char bytes[32];
  if (RAND_bytes(bytes, sizeof bytes) != 1) ::abort();
  return "whsec_" + base64_encode(bytes, sizeof bytes);
}

// Any of the signatures may be the right one: while secrets change there are two.
bool signature_valid(const std::string& secret, const std::string& head, const std::string& body) {
  const std::string key = base64_decode(secret.substr(secret.find('_') + 1));
  const std::string content =
      header_of(head, "webhook-id") + "." + header_of(head, "webhook-timestamp") + "." + body;
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
       reinterpret_cast<const unsigned char*>(content.data()), content.size(), digest, &size);
  const std::string expected = "v1," + base64_encode(digest, static_cast<int>(size));
  return (" " + header_of(head, "webhook-signature") + " ").find(" " + expected + " ") !=
         std::string::npos;
}

}  // namespace millrace::demo
