// S3Store: puts one object under a readable key into a bucket, whole or not at all.
//
// It knows nothing of jobs and settings. Creating is a put on the condition that nothing is there,
// replacing one on the condition that it is still what was looked at (If-None-Match, If-Match);
// what another writer does in between is looked at again. A server that knows no conditions gets
// plain puts after the look. Whether the same bytes are there already is told by the SHA-256 that
// S3 or an earlier put noted; an object of somebody else without one is read and hashed.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "s3/client.h"
#include "steps/store/file_store.h"

namespace millrace::store_step {

// Reads the JSON text of the setting `s3.keys`. [any] access_denied: there are none.
[[nodiscard]] Failure read_keys(std::string_view setting_json, s3::Credentials* keys);

// Puts `source.data` under the acceptable `key`; on success S3 has answered that it has the bytes.
// `go_on` as in put_object(). [any]
// exists, conflict: as put_object(). access_denied: S3 refuses; unavailable: it does not answer, or
// has trouble, after several attempts; io_error: any other answer.
[[nodiscard]] PutResult put_s3_object(s3::Client* client, const std::string& key,
                                      const Source& source, const std::string& content_type,
                                      bool replace, const std::function<bool()>& go_on);

}  // namespace millrace::store_step
