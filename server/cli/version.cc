// millrace version
#include "server/version.h"

#include <fmt/core.h>
#include <llhttp.h>
#include <uv.h>

#include "s3/curl.h"
#include "server/cli/cli.h"

namespace millrace {

int run_version(bool json) {
  if (json) {
    const s3::Curl* curl = s3::load_curl();
    print(fmt::format(
        "{{\"version\":\"{}\",\"libuv\":\"{}\",\"llhttp\":\"{}.{}.{}\",\"curl\":\"{}\"}}\n",
        kVersion, uv_version_string(), LLHTTP_VERSION_MAJOR, LLHTTP_VERSION_MINOR,
        LLHTTP_VERSION_PATCH, curl == nullptr ? "" : curl->version_info(CURLVERSION_NOW)->version));
  } else {
    print(fmt::format("millrace {}\n", kVersion));
  }
  return kExitDone;
}

}  // namespace millrace
