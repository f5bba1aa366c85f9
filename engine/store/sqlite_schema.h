// The tables of the embedded store and their version.
//
// It knows nothing of records. A change here raises kSchemaVersion and adds a step that brings an
// older database up to it; a newer one is refused. The version stands for the whole data directory:
// whoever changes the format of records, or how blobs or objects lie in it, raises it too, and
// freezes one of the new format (tests/process/frozen).
//
// Version 1 had records without a checksum; in version 2 there may be both kinds.
#pragma once

#include "engine/store/sqlite_connection.h"

namespace millrace {

constexpr int64_t kSchemaVersion = 2;

// Creates the tables in an empty database, or checks that they are ours; an older version is
// brought up to this one with `upgrade`, and else left as it is. E122: written by a newer version;
// E125: some other program's database, or a damaged one.
Status prepare_schema(SqliteConnection* connection, const std::string& path, bool upgrade);

}  // namespace millrace
