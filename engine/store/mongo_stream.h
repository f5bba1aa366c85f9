// MongoStream: hints from a change stream of MongoDB (a replica set or a sharded cluster has them).
//
// What is watched. The server passes every change of the database by each stream's filter, so the
// filter is made to cost little and to let little through. For verbs alone the stream is one of the
// collection `verbs`, where hardly anything happens; for jobs alone one of `jobs`, else one of the
// database. Verbs pass when they are inserted for this node (`owner`), jobs when their _id is one
// of those that somebody waits for. (All ended jobs would be simpler: but then each replica of a
// busy cluster would read what all others do.) Events carry the _id of a document and nothing of
// what is in it: it is read by whoever wants it, as without a stream.
//
// No stream is resumed. Another one is opened, and whoever does looks at everything once: so lost
// history, tokens and failovers need no care. The commands are sent by hand, since the driver's own
// change streams tell nobody their cursor, and resume by themselves: interrupt() needs the one and
// not the other.
//
// It has a client of the pool, hence a connection, of its own, and an explicit session, as a cursor
// is bound to the session of its first command. What it meets says nothing about the health of the
// store.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "engine/store/mongo_client.h"
#include "engine/store/shared_store.h"

namespace millrace {

class MongoStream final : public HintStream {
 public:
  // `client` outlives the stream. Errors as SharedStore::open_hints.
  static Result<std::shared_ptr<HintStream>> open(MongoClient* client, const Topics& topics,
                                                  DurationMs wait_ms);
  explicit MongoStream(MongoClient* client);
  ~MongoStream() override;
  MongoStream(const MongoStream&) = delete;
  MongoStream& operator=(const MongoStream&) = delete;

  Result<Hints> next() override;
  void interrupt() override;

 private:
  Status start(const Topics& topics, DurationMs wait_ms);
  Status begin_session();
  bool run(mongoc_client_t* by, bool in_session, const BsonDoc& command, BsonDoc* reply,
           bson_error_t* error) const;
  Result<Hints> read(const bson_t* reply, const char* batch);
  Status broken(const bson_error_t& error) const;
  Status over() const;

  MongoClient* const owner_;
  const MongoDriver* const driver_;
  mongoc_client_t* client_ = nullptr;
  mongoc_client_session_t* session_ = nullptr;
  uint32_t server_ = 0;     // that has the cursor
  std::string collection_;  // of the cursor
  std::string watched_;     // the collection; empty: the database
  DurationMs wait_ms_ = 0;
  std::atomic<int64_t> cursor_{0};  // 0: there is none
  std::atomic<bool> interrupted_{false};
};

}  // namespace millrace
