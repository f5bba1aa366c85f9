#include "tests/process/frozen_data.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "cmake/tree.h"
#include "tests/http/child.h"
#include "tests/process/trial.h"

namespace millrace {

FrozenData thaw_data(const std::string& directory, int format) {
  FrozenData frozen;
  const std::string file = in_source(fmt::format("/tests/process/frozen/v{}.tar.gz", format));
  EXPECT_TRUE(tar({"-xzf", file, "-C", directory}));
  const auto jobs = parse_json(file_text(directory + "/jobs.json"));
  EXPECT_TRUE(jobs.ok());
  if (!jobs.ok()) return frozen;
  for (const Value& job : jobs->find("jobs")->as_list()) {
    const std::string& state = job.find("state")->as_string();
    const bool at_rest = state != "queued" && state != "running";
    (at_rest ? frozen.at_rest : frozen.unfinished).push_back(job);
  }
  return frozen;
}

bool still_says(const Value& now, const Value& then) {
  if (then.kind() != Value::Kind::kMap) return now == then;
  if (now.kind() != Value::Kind::kMap) return false;
  return std::all_of(then.as_map().begin(), then.as_map().end(), [&now](const auto& entry) {
    const Value* same = now.find(entry.first);
    return same != nullptr && still_says(*same, entry.second);
  });
}

bool tar(const std::vector<std::string>& arguments) {
  std::vector<std::string> all = {"/bin/tar"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  test::Child child(all);
  return child.wait() == 0;
}

}  // namespace millrace
