// The tables of the embedded store and their version.
//
// It knows nothing of records. A change here raises kSchemaVersion and adds a step that brings an
// older database up to it; a newer one is refused. The version stands for the whole data directory:
// whoever changes how blobs or objects lie in it raises it too, and freezes one of the new format
// (tests/process/frozen).
#pragma once

#include "engine/store/sqlite_connection.h"

namespace millrace {

constexpr int64_t kSchemaVersion = 1;

// Creates the tables in an empty database, or checks that they are ours and of this version.
// E122: written by a newer version; E125: some other program's database, or a damaged one.
Status prepare_schema(SqliteConnection* connection, const std::string& path);

}  // namespace millrace
