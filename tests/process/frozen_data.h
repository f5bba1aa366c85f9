// FrozenData: a data directory of each format, as a killed server of its time left it. How they are
// made: data_version_test.cc.
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

constexpr int kFrozenNewest = 2;

// Unpacks frozen/v`format`.tar.gz to `directory`/data.
FrozenData thaw_data(const std::string& directory, int format = kFrozenNewest);
// Everything that `then` said is said by `now`, which may say more.
bool still_says(const Value& now, const Value& then);
// Runs /bin/tar; false when it fails.
bool tar(const std::vector<std::string>& arguments);

}  // namespace millrace
