// What doctor and export say of a blob that cannot be read.
#pragma once

#include <string>

#include "engine/store/sqlite_store.h"

namespace millrace {

// "E127: the blob sha256:… is missing from DIRECTORY; named by jobs … and more": `why` is what
// reading it there gave. [reader]
std::string broken_blob_text(SqliteStore* store, const std::string& directory, const Digest& digest,
                             const Status& why);

}  // namespace millrace
