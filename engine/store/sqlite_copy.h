// copy_sqlite_store: a copy of the embedded store, also while a server uses it.
//
// It knows nothing of blobs: who copies a store copies the blobs that the copy names afterwards.
#pragma once

#include <string>

#include "engine/base/status.h"

namespace millrace {

// Makes the database `to` from `from`, as of one moment: what was committed before the call is in
// it. `to` must not exist; its directory must. The copy is durable and was checked on return. The
// source is only read; meanwhile its log grows. Blocks. [any]
// E120: no store at `from`, or `to` cannot be made. E122, E123, E124. E125: the source is damaged.
Status copy_sqlite_store(const std::string& from, const std::string& to);

// Gives a store that nobody has open another name, durably. E120. [any]
Status rename_store(const std::string& from, const std::string& to);

}  // namespace millrace
