// FrozenData: the data directory of the first format, as a killed server left it. How it is made:
// data_version_test.cc.
#pragma once

#include <string>
#include <vector>

#include "engine/base/value.h"

namespace millrace {

// Its jobs, as that server showed them.
struct FrozenData {
  std::vector<Value> at_rest;     // one each: succeeded, failed, cancelled, waiting for a person
  std::vector<Value> unfinished;  // one of grayscale, one that holds a worker for an hour
};

// Unpacks it to `directory`/data.
FrozenData thaw_data(const std::string& directory);
// Everything that `then` said is said by `now`, which may say more.
bool still_says(const Value& now, const Value& then);
// Runs /bin/tar; false when it fails.
bool tar(const std::vector<std::string>& arguments);

}  // namespace millrace
