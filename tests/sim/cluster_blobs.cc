// Blobs of the cluster: puts that say what they want, removals that leave it.
//
// Who removes: mark, wait, say that the removal begins, look at the records again, remove, unmark;
// all of it only while its lease holds, so that nobody else takes the mark over meanwhile. Who
// puts: put, say that the blob is wanted, wait a removal out that had begun, look whether the blob
// is still there. A blob that was wanted at some moment is there for kDyingMs from then on: its
// record is sent within half of that, and looked after when its answer took longer.
#include <algorithm>

#include "engine/base/cover.h"
#include "engine/base/errors.h"
#include "tests/sim/cluster.h"

namespace millrace::sim {

void Cluster::put(size_t node, const PutBytes& action) {
  if (!action.content->bytes.present()) violated("bytes are put that are not there");
  const Digest digest = sha256(action.content->bytes.view());
  if (faults_ && random_.chance(fails_percent_ / 4)) {
    return later(node, 20, [this, node, ticket = action.ticket] {
      apply(node, fmt::format("bytes {} {} - {}", wall(nodes_[node]), ticket,
                              static_cast<int>(errors::kBlobWrite)));
    });
  }
  secure(node, digest,
         [this, node, digest, ticket = action.ticket, content = action.content](int64_t looked_at) {
           nodes_[node].fresh.emplace(digest, Fresh{content, looked_at});
           apply(node, fmt::format("bytes {} {} {} 0", wall(nodes_[node]), ticket, digest.hex()));
         });
}

void Cluster::secure(size_t node, const Digest& digest, std::function<void(int64_t)> done) {
  const auto again = [this, node, digest, done] { secure(node, digest, done); };
  const auto look = [this, node, digest, again, done](int64_t asked) {
    const bool slow = faults_ && random_.chance(slow_percent_);
    later(node, static_cast<int64_t>(random_.below(slow ? 3'000 : 20)),
          [this, digest, again, done, asked] {
            const bool there = store_.checkers.disk.contains(digest);
            if (there || options_.broken == BrokenRule::kThere) return done(asked);
            COVER("sim_removed_while_put");
            again();
          });
  };
  const auto want = [this, node, digest, again, look] {
    insist<bool>(
        node, [this, digest] { return store_.want(digest); },
        [this, node, again, look, asked = time_](bool removing) {
          if (!removing) return look(asked);
          COVER("sim_put_waits_for_removal");
          later(node, 300, again);
        });
  };
  const bool slow = faults_ && random_.chance(slow_percent_);
  at(1 + static_cast<int64_t>(random_.below(slow ? 6'000 : 60)),
     [this, node, digest, want, boot = nodes_[node].boot] {
       note([&] { return "blob lands " + digest.hex(); });
       // One that is there already does not become younger.
       store_.checkers.disk.emplace(digest, StoredBlob{time_, 0});
       run_on(node, boot, want);
     });
}

std::vector<Digest> Cluster::stale(size_t node, const std::vector<Write>& batch) const {
  const Node& n = nodes_[node];
  std::vector<Digest> digests;
  if (n.fresh.empty()) return digests;
  for (const Write& write : batch) {
    for (const Digest& digest : named_blobs(*write.record)) {
      if (n.settled.contains({write.record->id(), digest})) continue;
      const auto [from, to] = n.fresh.equal_range(digest);
      int64_t looked_at = INT64_MIN;
      for (auto it = from; it != to; ++it) looked_at = std::max(looked_at, it->second.looked_at);
      if (from == to || time_ - looked_at <= kDyingMs / 2) continue;
      digests.push_back(digest);
    }
  }
  std::sort(digests.begin(), digests.end());
  digests.erase(std::unique(digests.begin(), digests.end()), digests.end());
  return digests;
}

void Cluster::secure_all(size_t node, std::vector<Digest> digests, Work done) {
  auto missing = std::make_shared<size_t>(digests.size());
  for (const Digest& digest : digests) {
    const auto [from, to] = nodes_[node].fresh.equal_range(digest);
    if (std::none_of(from, to, [](const auto& f) { return f.second.content->bytes.present(); })) {
      violated("bytes are given up before a durable record names them");
    }
    secure(node, digest, [this, node, digest, missing, done](int64_t looked_at) {
      const auto [begin, end] = nodes_[node].fresh.equal_range(digest);
      for (auto it = begin; it != end; ++it) it->second.looked_at = looked_at;
      if (--*missing == 0) done();
    });
  }
}

// Of whom nobody else holds the bytes any more.
void Cluster::drop_fresh(size_t node) {
  std::erase_if(nodes_[node].fresh, [](const auto& fresh) {
    const auto& content = fresh.second.content;
    return content.use_count() == 1 || !content->bytes.present();
  });
}

// ---- removals

// Records whose time is over by this node's clock, marks that nobody else looks after, blobs that
// no record names. One round after the other: what a lost answer left marked, the next one finds,
// and no message of one round is under way when the next one removes. A node that drains marks
// nothing, and unmarks what waits.
void Cluster::sweep(size_t node) {
  later(node, 3'000 + static_cast<int64_t>(random_.below(6'000)), [this, node] { sweep(node); });
  Node& n = nodes_[node];
  if (!n.registered || n.draining || n.sweeping || time_ >= n.lease_until) return;
  n.sweeping = true;
  using Found = std::vector<Digest>;
  call<Found>(
      node,
      [this, wall = wall(n), by = n.id] {
        store_.sweep(wall);
        return std::optional<Found>(
            store_.begin_removals(by, time_ - kBlobGraceMs, options_.broken != BrokenRule::kMark));
      },
      [this, node](const std::optional<Found>& found) {
        Node& sweeper = nodes_[node];
        sweeper.removals = found ? found->size() : 0;
        sweeper.sweeping = sweeper.removals > 0;
        if (!found) return;
        for (const Digest& digest : *found) {
          note([&] { return fmt::format("node {} marked {}", node, digest.hex()); });
          // A blob whose removal had begun when its node went is waited for by who wants it.
          later(node, kDyingMs, [this, node, digest] { remove_marked(node, digest); });
        }
      });
}

void Cluster::remove_marked(size_t node, const Digest& digest) {
  if (nodes_[node].draining) {
    COVER("sim_drain_ends_removals");
    return unmark(node, digest);
  }
  const bool without =
      options_.broken == BrokenRule::kBegin || options_.broken == BrokenRule::kMark;
  insist<bool>(
      node,
      [this, digest, without, by = nodes_[node].id] {
        return without || store_.begin_removal(by, digest);
      },
      [this, node, digest](bool begun) {
        if (begun) return look_and_remove(node, digest);
        COVER("sim_dying_blob_is_left");
        unmark(node, digest);
      });
}

void Cluster::look_and_remove(size_t node, const Digest& digest) {
  if (options_.broken == BrokenRule::kRecheck) return remove_now(node, digest);
  insist<bool>(
      node, [this, digest] { return store_.names(digest); },
      [this, node, digest](bool named) {
        if (!named) return remove_now(node, digest);
        COVER("sim_dying_blob_is_named");
        unmark(node, digest);
      });
}

void Cluster::remove_now(size_t node, const Digest& digest) {
  Node& n = nodes_[node];
  if (time_ >= n.lease_until) {
    COVER("sim_removal_in_doubt");
    return unmark(node, digest);
  }
  at(static_cast<int64_t>(random_.below(kRemovalMsMax)), [this, node, digest, boot = n.boot] {
    note([&] { return "blob is removed " + digest.hex(); });
    if (store_.checkers.disk.contains(digest)) store_.remove_blob(digest);
    run_on(node, boot, [this, node, digest] { unmark(node, digest); });
  });
}

void Cluster::unmark(size_t node, const Digest& digest) {
  insist<bool>(
      node,
      [this, digest, by = nodes_[node].id] {
        store_.unmark(by, digest);
        return true;
      },
      [this, node](bool) {
        Node& n = nodes_[node];
        if (--n.removals == 0) n.sweeping = false;
      });
}

}  // namespace millrace::sim
