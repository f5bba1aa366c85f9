// MongoClient: the driver (libmongoc) with the choices of this store made once: what a write must
// have reached, what a read may see, how long each is waited for.
//
// It knows nothing of jobs. Each call takes a client of the pool for itself, so that no two threads
// ever share one.
//
// The driver's own repetition of writes (retryWrites) is off, whatever the URL says: it repeats
// once, cannot tell what became of the first, and needs a replica set, while the store repeats
// until it knows, on any server, by conditions that make a second application impossible; both
// together would cost each write a session entry for nothing. Its repetition of reads (retryReads)
// is on: reading twice harms nobody and hides most failovers. Write concern, read concern and read
// preference of the URL are not used: every call names its own.
//
// Errors: E124 with the driver's or server's words, in which the password of the URL is replaced.
// Thread: any.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "engine/base/limits_shared.h"
#include "engine/base/status.h"
#include "engine/base/time.h"
#include "engine/store/away_gate.h"
#include "engine/store/mongo_address.h"
#include "engine/store/mongo_bson.h"
#include "engine/store/mongo_driver.h"

namespace millrace {

struct MongoOptions {
  std::string uri;  // mongodb://[USER:PASSWORD@]HOST[:PORT][,…]/DATABASE[?OPTIONS], a secret
  // Each unless the URL has its own (serverSelectionTimeoutMS, connectTimeoutMS, socketTimeoutMS,
  // heartbeatFrequencyMS).
  DurationMs select_ms = 3'000;   // to find the primary
  DurationMs connect_ms = 3'000;  // to connect to it
  DurationMs answer_ms = 10'000;  // for its answer
  DurationMs heartbeat_ms =
      2'000;  // between looks at each server; bounds how late a new primary is seen
  DurationMs majority_ms = 8'000;  // for the majority to acknowledge; below answer_ms
  // How old a count of unfinished jobs may be; 0: each call counts.
  DurationMs count_every_ms = 1'000;
  // Between tries of a server that is away, by reads, while nobody writes.
  DurationMs away_try_ms = kAwayTryMs;
  // For so long after its end something is left of a job, however it goes; 0: nothing is.
  DurationMs trace_ms = kTraceMs;
  // True: nothing is made; E120 when there is no store in the database.
  bool must_exist = false;
  // True: an import into it that has not finished is no reason to refuse (else E128).
  bool importing = false;
  // Called after give_up() with what to log. Must not return: the default prints it and ends the
  // process with exit code 5. Tests throw.
  std::function<void(const std::string&)> on_fatal;
};

// What a read may miss.
enum class ReadLevel : uint8_t {
  kMajority,   // what a majority had acknowledged just now, as far as this primary knows
  kConfirmed,  // nothing that was acknowledged before the call: the primary asks the others first
};

class MongoClient {
 public:
  ~MongoClient();
  MongoClient(const MongoClient&) = delete;
  MongoClient& operator=(const MongoClient&) = delete;

  // Reads the URL and greets the server. E120: as MongoAddress::read(), or nobody answers.
  static Result<std::unique_ptr<MongoClient>> open(const MongoOptions& options);

  // Hosts and database of the URL, without what is secret.
  const std::string& name() const { return name_; }

  // Sends a command that writes, once, and returns the reply when a majority has acknowledged it in
  // its journal; writeErrors may be in it. E124: nobody knows whether it was carried out.
  Result<BsonDoc> write(BsonDoc command);

  // Sends a command that reads. E124 at once while the server is known to be away (AwayGate).
  Result<BsonDoc> read(const BsonDoc& command, ReadLevel level);

  // Calls visit for each document of a find on the primary; `options` as the driver's find: sort,
  // limit, projection, hint. Ends early with the first status that is not ok. E124 as read().
  Status find(const char* collection, const BsonDoc& filter, const BsonDoc& options,
              ReadLevel level, const std::function<Status(BsonView)>& visit);

  // Whether the last call was answered; else since when not, and why.
  bool answered() const { return unanswered_since_us_.load(std::memory_order_relaxed) == 0; }
  int64_t unanswered_since_us() const { return unanswered_since_us_; }
  std::string last_error() const;
  // Reads that were refused since the server was known to be away.
  uint64_t refused_reads() const { return gate_.refused(); }

 private:
  friend class MongoStream;  // which keeps a client of the pool for itself

  explicit MongoClient(DurationMs away_try_ms) : gate_(away_try_ms) {}
  Status connect(const MongoOptions& options);
  Status greet();
  BsonDoc read_concern(ReadLevel level) const;
  Status admit_read();
  Status failed(const char* what, const bson_error_t& error);
  Status failed(std::string message);
  Status read_failed(int64_t began_us, const bson_error_t& error);
  void succeeded();

  const MongoDriver* driver_ = nullptr;
  std::unique_ptr<MongoAddress> address_;
  std::string name_, database_;  // as the address has them
  mongoc_client_pool_t* pool_ = nullptr;
  mongoc_read_prefs_t* primary_ = nullptr;
  DurationMs majority_ms_ = 0;
  bool replicated_ = false;  // else there is one server, which needs to ask nobody
  AwayGate gate_;
  std::atomic<int64_t> unanswered_since_us_{0};
  mutable std::mutex mutex_;  // of last_error_
  std::string last_error_;
};

// Texts of server errors in a reply: the code of writeErrors[i]. Calls visit(index, code, message).
void each_write_error(const bson_t* reply,
                      const std::function<void(size_t, int64_t, std::string_view)>& visit);
constexpr int64_t kMongoDuplicateKey = 11000;
constexpr int64_t kMongoOutOfDiskSpace = 14031;

}  // namespace millrace
