#include "engine/store/transfer.h"

#include "engine/base/limits.h"

namespace millrace {
namespace {

// Under a majority of a database each command costs a few milliseconds, however much it holds.
constexpr int kDefinitionsPage = 100;

Status transfer_definitions(StoreTransfer* from, Store* to) {
  Digest last;
  for (;;) {
    const auto page = from->definitions_after(last, kDefinitionsPage);
    if (!page.ok()) return page.status();
    if (page->empty()) return {};
    RETURN_IF_ERROR(to->put_definitions(*page));
    last = page->back().digest;
  }
}

}  // namespace

Result<Transferred> transfer_store(StoreTransfer* from, StoreTransfer* to, Store* to_definitions,
                                   const std::function<void(const Transferred&)>& progress) {
  RETURN_IF_ERROR(transfer_definitions(from, to_definitions));
  Transferred done;
  for (const bool tombstones : {false, true}) {
    std::optional<JobKey> next = JobKey{};
    while (next) {
      auto page = from->stored_after(tombstones, *next, kTransferPageMax);
      if (!page.ok()) return page.status();
      if (!page->jobs.empty()) RETURN_IF_ERROR(to->put_stored(page->jobs));
      (tombstones ? done.tombstones : done.jobs) += page->jobs.size();
      for (const StoredJob& job : page->jobs) {
        if (!tombstones && !is_final(job.record.state)) done.unfinished++;
      }
      for (DamagedJob& job : page->damaged) {
        done.damaged_count++;
        if (done.damaged.size() < kDamagedNamedMax) done.damaged.push_back(std::move(job));
      }
      next = page->next;
      if (progress) progress(done);
    }
  }
  return done;
}

}  // namespace millrace
