// Directories of a file store: opened without following links, created durably.
//
// Knows nothing of objects. "Durable" means: the entry of a directory in its parent was synced by
// this process, so it survives power loss. What another process created may not be, so its parent
// is synced once and remembered.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "steps/store/failure.h"
#include "steps/store/system.h"

namespace millrace::store_step {

// Opens the root of a store, creating it and its parents if absent. Links on the way to the root
// are the operator's and are followed. [any]
[[nodiscard]] Failure open_root(const std::string& path, File* root);

// Opens the directory `segments` below `root`, creating what is absent; neither a link nor anything
// outside `root` is ever entered. [any]
// exists: something that is no directory stands in the way. no_space, io_error, invalid_key as
// failure_of_errno.
[[nodiscard]] Failure open_below(const File& root, const std::vector<std::string_view>& segments,
                                 File* directory);

}  // namespace millrace::store_step
