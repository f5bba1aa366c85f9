// store: the plugin's declaration, and the way from a call to a put.
//
// What a key may be is key.h, where the stores are is place.h, how bytes become an object is
// file_store.h and s3_store.h.
#include <fmt/format.h>

#include <string>
#include <string_view>

#include "engine/abi/step.h"
#include "s3/curl.h"
#include "steps/store/file_store.h"
#include "steps/store/key.h"
#include "steps/store/place.h"
#include "steps/store/s3_store.h"

namespace millrace::store_step {
namespace {

enum Param { kKey, kStore, kReplace, kParamCount };
enum ResultIndex { kResultUrl, kResultKey, kResultDigest, kResultCount };

std::string_view text_of(const mr_value& value, std::string_view otherwise) {
  if (value.kind != MR_VALUE_STRING) return otherwise;
  return {value.s, static_cast<size_t>(value.n)};
}

std::string_view setting_of(const mr_call* call, const char* key) {
  const char* text = call->host->setting(call, key);
  return text == nullptr ? "null" : text;
}

int32_t fail(const mr_call* call, const Failure& failure) {
  return call->host->fail(call, failure.reason, failure.message.c_str());
}

const char* note_of(const PutResult& result) {
  switch (result.how) {
    case How::kIdentical:
      return "was there already, with the same bytes";
    case How::kLinked:
      return result.replaced ? "replaced by a link to the blob" : "linked to the blob";
    case How::kCloned:
      return result.replaced ? "replaced by a clone of the blob" : "cloned from the blob";
    case How::kCopied:
      break;
  }
  return result.replaced ? "replaced" : "written";
}

int32_t put(const mr_call* call) {
  const mr_blob& blob = call->inputs[0];
  const std::string_view key = text_of(call->params[kKey], "");
  if (std::string problem = key_problem(key); !problem.empty()) {
    return fail(call, {"invalid_key", std::move(problem)});
  }
  const std::string_view name = text_of(call->params[kStore], "default");
  const bool replace =
      call->params[kReplace].kind == MR_VALUE_BOOL && call->params[kReplace].i != 0;
  Place place;
  if (Failure failure = find_place(setting_of(call, "stores"), name, &place)) {
    return fail(call, failure);
  }
  const Source source = {
      .data = blob.data,
      .size = blob.size,
      .path = blob.path,
      .digest = blob.digest != nullptr ? blob.digest : digest_of(blob.data, blob.size)};
  const auto go_on = [call] { return call->host->progress(call, 500) == MR_OK; };
  PutResult result;
  if (!place.directory.empty()) {
    result = put_object(place.directory, key, source, replace, go_on);
  } else {
    s3::Credentials keys;
    if (Failure failure = read_keys(setting_of(call, "s3.keys"), &keys)) return fail(call, failure);
    s3::Client client(place.s3, std::move(keys));
    const char* type = blob.media_type;
    result = put_s3_object(&client, std::string(key), source, type == nullptr ? "" : type, replace,
                           go_on);
  }
  if (result.cancelled) return MR_CANCELLED;
  if (result.failure) return fail(call, result.failure);
  (void)call->host->note(call, note_of(result));
  const std::string url =
      object_url(place, server_url_of(setting_of(call, "server.public_url")), key);
  const mr_host* host = call->host;
  if (host->result_string(call, kResultUrl, url.data(), url.size()) != MR_OK ||
      host->result_string(call, kResultKey, key.data(), key.size()) != MR_OK ||
      host->result_string(call, kResultDigest, source.digest.data(), source.digest.size()) !=
          MR_OK) {
    return MR_CANCELLED;
  }
  return MR_OK;
}

// The libraries may throw (out of memory); nothing may cross the C boundary.
int32_t run(const mr_call* call) {
  try {
    return put(call);
  } catch (const std::exception& exception) {
    return call->host->fail(call, "io_error", exception.what());
  }
}

const mr_port kInputs[] = {
    {.size = sizeof(mr_port), .name = "data", .type = "blob", .doc = "The bytes to store."}};

const mr_port kParams[kParamCount] = {
    {.size = sizeof(mr_port),
     .name = "key",
     .type = "string",
     .doc = "The object's name: UTF-8, at most 512 bytes, segments separated by slashes; none is "
            "empty, '.' or '..'."},
    {.size = sizeof(mr_port),
     .name = "store",
     .type = "string?",
     .doc = "Which of the configured stores; 'default' when absent."},
    {.size = sizeof(mr_port),
     .name = "replace",
     .type = "bool?",
     .doc = "Whether other bytes under the key are replaced; when absent or false they are an "
            "error."}};

const mr_port kResults[kResultCount] = {
    {.size = sizeof(mr_port),
     .name = "url",
     .type = "url",
     .doc = "Where the object can be fetched."},
    {.size = sizeof(mr_port), .name = "key", .type = "string", .doc = "The key, as given."},
    {.size = sizeof(mr_port),
     .name = "digest",
     .type = "string",
     .doc = "SHA-256 of the bytes, as sha256:…"}};

const mr_reason kReasons[] = {
    {sizeof(mr_reason), "exists",
     "Something else is stored under this key. Choose another key, or set replace: true when the "
     "object may change.",
     0},
    {sizeof(mr_reason), "invalid_key",
     "The key is not acceptable: it must be UTF-8 of 1 to 512 bytes without empty, '.' or '..' "
     "segments and without control characters.",
     0},
    {sizeof(mr_reason), "store_unknown",
     "No store of this name is configured. Name one under 'stores' in the configuration.", 0},
    {sizeof(mr_reason), "store_unsupported",
     "The store's url cannot be used. Use file:DIR or s3://BUCKET/PREFIX.", 0},
    {sizeof(mr_reason), "access_denied",
     "The bucket refuses: keys, permissions, region or its name. The message says what to mend.",
     0},
    {sizeof(mr_reason), "unavailable",
     "The bucket did not answer, or had trouble, several times in a row. Try again later.",
     MR_TRANSIENT},
    {sizeof(mr_reason), "conflict",
     "Another program kept changing the object while it was being replaced, or holds the lock. Let "
     "only millrace write into the store.",
     MR_TRANSIENT},
    {sizeof(mr_reason), "no_space",
     "The store's file system is full or its quota is used up. Free some space; the step tries "
     "again, which does not count as an attempt.",
     MR_TRANSIENT | MR_NO_SPACE},
    {sizeof(mr_reason), "io_error",
     "The store's file system or bucket answered with an error. Look at the message, the "
     "permissions and the disk.",
     MR_TRANSIENT}};

const mr_step kStep = {
    .size = sizeof(mr_step),
    .name = "store",
    .major = 1,
    .minor = 1,
    .effect = MR_IDEMPOTENT,
    .lane = MR_LANE_IO,
    .doc =
        "Puts bytes under a readable key into a named store: creates the object, or finds the "
        "same bytes there already. Other bytes under the key are an error unless replace is "
        "set.",
    .inputs = kInputs,
    .input_count = 1,
    .params = kParams,
    .param_count = kParamCount,
    .outputs = nullptr,
    .output_count = 0,
    .results = kResults,
    .result_count = kResultCount,
    .reasons = kReasons,
    .reason_count = sizeof kReasons / sizeof kReasons[0],
    .settings = "stores server.public_url s3.keys",
    .run = run};

const mr_step* const kSteps[] = {&kStep};

// Inside the sandbox no library can be loaded any more.
int32_t load(char* error, size_t error_size) {
  if (s3::load_curl() != nullptr) return 0;
  if (error_size > 0) {
    *fmt::format_to_n(error, error_size - 1, "{}", s3::curl_problem()).out = '\0';
  }
  return -1;
}

}  // namespace
}  // namespace millrace::store_step

extern "C" MR_EXPORT const mr_plugin mr_plugin_v1 = {.size = sizeof(mr_plugin),
                                                     .abi_major = MR_ABI_MAJOR,
                                                     .abi_minor = MR_ABI_MINOR,
                                                     .name = "store",
                                                     .version = "1.1",
                                                     .steps = millrace::store_step::kSteps,
                                                     .step_count = 1,
                                                     .load = millrace::store_step::load,
                                                     .start = nullptr};
