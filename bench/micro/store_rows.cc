// store-rows: how many record rows a second the embedded store makes durable, beside a bare SQLite
// loop that writes rows of the same size, in turns within one run.
//
//   store-rows [DIRECTORY] [JOBS]
//
// A job is three rows as a running server writes them: rev 1, a revision with a finished step, the
// end. Batches of 64 rows and of 16. Also the codec alone.
#include <fmt/core.h>
#include <sqlite3.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "engine/base/crc32c.h"
#include "engine/base/limits.h"
#include "engine/store/codec.h"
#include "engine/store/sqlite_store.h"

namespace millrace {
namespace {

constexpr size_t kRowBytes = 1500;

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

JobRecord job(uint64_t number, const NodeId& owner) {
  JobRecord record;
  std::array<uint8_t, 10> random{};
  random_bytes(random.data(), random.size());
  record.created_at = 1'795'244'000'000 + static_cast<TimeMs>(number / 20);
  record.key = uuid_v7(record.created_at, random);
  record.rev = 1;
  record.owner = owner;
  random_bytes(record.salt.data(), record.salt.size());
  record.definition = sha256("definition");
  record.pipeline = "noop4";
  record.inputs = R"({"text":")" + std::string(500, 'x') + "\"}";
  record.request = sha256("request");
  record.steps.resize(4);
  for (StepRecord& step : record.steps) {
    step.state = StepState::kSucceeded;
    step.attempts = 1;
    step.started_at = record.created_at + 1;
    step.finished_at = record.created_at + 2;
    step.outputs = R"({"text":")" + std::string(90, 'y') + "\"}";
    step.tries = {{1, step.started_at, step.finished_at, "", ""}};
  }
  return record;
}

JobRecord next(const JobRecord& before, bool end) {
  JobRecord after = before;
  after.rev++;
  after.state = end ? JobState::kSucceeded : JobState::kRunning;
  if (end) {
    after.finished_at = after.created_at + 3;
    after.expire_at = after.finished_at + 7 * 86'400'000LL;
    after.outputs = R"({"text":")" + std::string(90, 'y') + "\"}";
  }
  return after;
}

struct Figure {
  double rows_per_s = 0, cpu_us = 0, p50_ms = 0, p99_ms = 0;
};

Figure figure(int64_t rows, int64_t wall_us, double cpu_s, std::vector<int64_t> batches) {
  std::sort(batches.begin(), batches.end());
  const auto at = [&](double q) {
    return static_cast<double>(
               batches[static_cast<size_t>(q * static_cast<double>(batches.size() - 1))]) /
           1e3;
  };
  return {static_cast<double>(rows) * 1e6 / static_cast<double>(wall_us),
          cpu_s * 1e6 / static_cast<double>(rows), at(0.5), at(0.99)};
}

// The batches of a run: each row of the load, `batch` at a time; jobs overlap as they do in a
// server.
template <typename Commit>
Figure run(int64_t jobs, int batch, const Commit& commit) {
  NodeId owner;
  owner.bytes[0] = 1;
  std::vector<int64_t> durations;
  int64_t rows = 0, wall_us = 0;
  double cpu_s = 0;
  std::vector<std::shared_ptr<const JobRecord>> fresh, running;
  for (int64_t made = 0; made < jobs || !fresh.empty() || !running.empty();) {
    std::vector<Write> writes;
    std::vector<std::shared_ptr<const JobRecord>> begun, moved;
    const auto add = [&](JobRecord record) {
      const uint64_t expected = record.rev - 1;
      writes.push_back({std::make_shared<const JobRecord>(std::move(record)), expected,
                        expected == 0 ? NodeId{} : owner});
      return writes.back().record;
    };
    for (const auto& record : running) add(next(*record, true));
    for (const auto& record : fresh) moved.push_back(add(next(*record, false)));
    while (made < jobs && writes.size() < static_cast<size_t>(batch)) {
      begun.push_back(add(job(static_cast<uint64_t>(made++), owner)));
    }
    running = std::move(moved);
    fresh = std::move(begun);
    const double cpu_before = cpu_seconds();
    const int64_t before = monotonic_us();
    commit(writes);
    durations.push_back(monotonic_us() - before);
    wall_us += durations.back();
    cpu_s += cpu_seconds() - cpu_before;
    rows += static_cast<int64_t>(writes.size());
  }
  return figure(rows, wall_us, cpu_s, std::move(durations));
}

Figure run_store(const std::string& directory, int64_t jobs, int batch) {
  SqliteOptions options;
  options.path = directory + "/store.db";
  auto opened = open_sqlite_store(options);
  CHECK(opened.ok());
  const auto store = std::move(opened).value();
  return run(jobs, batch, [&](const std::vector<Write>& writes) {
    for (const WriteResult result : store->commit(writes)) CHECK(result == WriteResult::kApplied);
  });
}

// What SQLite itself does with such rows: the same table with two indexes, blobs that are ready
// made.
Figure run_bare(const std::string& directory, int64_t jobs, int batch) {
  sqlite3* db = nullptr;
  const auto exec = [&](const char* sql) {
    CHECK(sqlite3_exec(db, sql, nullptr, nullptr, nullptr) == SQLITE_OK);
  };
  CHECK(sqlite3_open((directory + "/bare.db").c_str(), &db) == SQLITE_OK);
  exec(
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
      "CREATE TABLE jobs (key BLOB, rev INTEGER, state INTEGER, created_at INTEGER, record BLOB);"
      "CREATE UNIQUE INDEX jobs_key ON jobs (key); CREATE INDEX jobs_state ON jobs (state, "
      "created_at);"
      "CREATE INDEX jobs_created ON jobs (created_at)");
  sqlite3_stmt *insert = nullptr, *update = nullptr;
  CHECK(sqlite3_prepare_v2(db, "INSERT INTO jobs VALUES (?1, ?2, ?3, ?4, ?5)", -1, &insert,
                           nullptr) == SQLITE_OK);
  CHECK(sqlite3_prepare_v2(
            db, "UPDATE jobs SET rev = ?2, state = ?3, record = ?5 WHERE key = ?1 AND rev = ?2 - 1",
            -1, &update, nullptr) == SQLITE_OK);
  const std::string row(kRowBytes, 'r');
  const Figure result = run(jobs, batch, [&](const std::vector<Write>& writes) {
    exec("BEGIN IMMEDIATE");
    for (const Write& write : writes) {
      const JobRecord& record = *write.record;
      sqlite3_stmt* statement = record.rev == 1 ? insert : update;
      sqlite3_bind_blob(statement, 1, record.key.bytes.data(), 16, SQLITE_STATIC);
      sqlite3_bind_int64(statement, 2, static_cast<int64_t>(record.rev));
      sqlite3_bind_int64(statement, 3, static_cast<int64_t>(record.state));
      if (record.rev == 1) sqlite3_bind_int64(statement, 4, record.created_at);
      sqlite3_bind_blob(statement, 5, row.data(), static_cast<int>(row.size()), SQLITE_STATIC);
      CHECK(sqlite3_step(statement) == SQLITE_DONE);
      sqlite3_reset(statement);
    }
    exec("COMMIT");
  });
  sqlite3_finalize(insert);
  sqlite3_finalize(update);
  sqlite3_close(db);
  return result;
}

void codec() {
  RecordEncoder encoder;
  const JobRecord record = next(job(1, {}), true);
  const std::string bytes(encoder.encode(record));
  constexpr int kRounds = 200'000;
  size_t sum = 0;
  int64_t begun = monotonic_us();
  for (int i = 0; i < kRounds; i++) sum += encoder.encode(record).size();
  const double encode_us = static_cast<double>(monotonic_us() - begun) / kRounds;
  begun = monotonic_us();
  for (int i = 0; i < kRounds; i++) sum += decode_record(bytes)->steps.size();
  const double decode_us = static_cast<double>(monotonic_us() - begun) / kRounds;
  CHECK(sum > 0);
  fmt::print("codec: {} bytes, encode {:.2f} us, decode {:.2f} us\n", bytes.size(), encode_us,
             decode_us);
  for (const std::string& text : {bytes, std::string(kRecordBytesMax, 'r')}) {
    const auto time_us = [&](uint32_t (*checksum)(std::string_view, uint32_t)) {
      const int64_t from = monotonic_us();
      uint32_t sums = 0;
      for (int i = 0; i < kRounds / 20; i++) sums = checksum(text, sums);
      CHECK(sums != 1);
      return static_cast<double>(monotonic_us() - from) / (kRounds / 20.0);
    };
    fmt::print("checksum: {} bytes, {:.3f} us; by table {:.3f} us\n", text.size(), time_us(crc32c),
               time_us(crc32c_by_table));
  }
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  using namespace millrace;
  const std::string directory = std::string(argc > 1 ? argv[1] : ".") + "/store-rows.tmp";
  const int64_t jobs = argc > 2 ? std::atoll(argv[2]) : 100'000;
  codec();
  fmt::print("{:<8}{:>7}{:>12}{:>14}{:>10}{:>10}\n", "", "batch", "rows/s", "cpu us/row", "p50 ms",
             "p99 ms");
  for (const int batch : {64, 16}) {
    for (const bool bare : {true, false}) {
      std::filesystem::remove_all(directory);
      std::filesystem::create_directories(directory);
      const Figure f = bare ? run_bare(directory, jobs, batch) : run_store(directory, jobs, batch);
      fmt::print("{:<8}{:>7}{:>12.0f}{:>14.2f}{:>10.2f}{:>10.2f}\n", bare ? "bare" : "store", batch,
                 f.rows_per_s, f.cpu_us, f.p50_ms, f.p99_ms);
    }
  }
  std::filesystem::remove_all(directory);
  return 0;
}
