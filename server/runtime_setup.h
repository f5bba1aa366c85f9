// From a Config to an open Runtime: what `serve` and `run` share.
#pragma once

#include <memory>

#include "engine/runtime/runtime.h"
#include "server/config.h"

namespace millrace {

// Makes directories that must exist, resolves secrets, opens store, blobs and workers. [main]
Result<std::unique_ptr<Runtime>> open_runtime(const Config& config);
// The same without opening: what open_runtime passes on. [main]
Result<RuntimeOptions> runtime_options(const Config& config);

}  // namespace millrace
