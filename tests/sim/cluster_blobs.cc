// Blobs of the cluster: puts that look for marks, removals that leave them.
//
// Who removes: mark, wait, look at the records again, remove, unmark; all of it only while its
// lease holds, so that nobody else takes the mark over meanwhile. Who puts: look for a mark, put,
// look again; wait a mark out. A blob that was unmarked at some moment is there for kDyingMs from
// then on: its record is sent within half of that, and looked after when its answer took longer.
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
  secure(node, digest, time_,
         [this, node, digest, ticket = action.ticket, content = action.content](int64_t looked_at) {
           nodes_[node].fresh.emplace(digest, Fresh{content, looked_at});
           apply(node, fmt::format("bytes {} {} {} 0", wall(nodes_[node]), ticket, digest.hex()));
         });
}

void Cluster::secure(size_t node, const Digest& digest, int64_t begun,
                     std::function<void(int64_t)> done) {
  const auto again = [this, node, digest, done] { secure(node, digest, time_, done); };
  const auto look = [this, digest] { return store_.marked(digest); };
  const auto look_again = [this, node, begun, look, again, done] {
    insist<bool>(node, look, [this, node, begun, again, done, asked = time_](bool marked) {
      if (marked) {
        COVER("sim_marked_while_put");
        later(node, 300, again);
      } else if (time_ - begun > kDyingMs / 2) {
        COVER("sim_put_too_slow");  // a mark may have come and gone
        again();
      } else {
        done(asked);
      }
    });
  };
  const auto land = [this, node, digest, look_again, boot = nodes_[node].boot] {
    const bool slow = faults_ && random_.chance(slow_percent_);
    at(1 + static_cast<int64_t>(random_.below(slow ? 6'000 : 60)),
       [this, node, digest, look_again, boot] {
         note([&] { return "blob lands " + digest.hex(); });
         // One that is there already does not become younger.
         store_.checkers.disk.emplace(digest, StoredBlob{time_, 0});
         run_on(node, boot, look_again);
       });
  };
  if (options_.broken == BrokenRule::kBefore) return land();
  insist<bool>(node, look, [this, node, land, again](bool marked) {
    if (!marked) return land();
    COVER("sim_put_waits_for_mark");
    later(node, 300, again);
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
    secure(node, digest, time_, [this, node, digest, missing, done](int64_t looked_at) {
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
// and no message of one round is under way when the next one removes. A node that drains begins no
// removal, but ends those under way: a put of its last records may wait for a mark of its own,
// which nobody else takes off while it lives.
void Cluster::sweep(size_t node) {
  later(node, 3'000 + static_cast<int64_t>(random_.below(6'000)), [this, node] { sweep(node); });
  Node& n = nodes_[node];
  if (!n.registered || n.sweeping || time_ >= n.lease_until) return;
  n.sweeping = true;
  using Found = std::vector<Digest>;
  call<Found>(
      node,
      [this, wall = wall(n), by = n.id, draining = n.draining] {
        store_.sweep(wall);
        const int64_t put_before = draining ? INT64_MIN : time_ - kBlobGraceMs;
        return std::optional<Found>(
            store_.begin_removals(by, put_before, options_.broken != BrokenRule::kMark));
      },
      [this, node](const std::optional<Found>& found) {
        Node& sweeper = nodes_[node];
        sweeper.removals = found ? found->size() : 0;
        sweeper.sweeping = sweeper.removals > 0;
        if (sweeper.sweeping && sweeper.draining) COVER("sim_drain_ends_removals");
        if (!found) return;
        for (const Digest& digest : *found) {
          note([&] { return fmt::format("node {} marked {}", node, digest.hex()); });
          later(node, kDyingMs, [this, node, digest] { remove_marked(node, digest); });
        }
      });
}

void Cluster::remove_marked(size_t node, const Digest& digest) {
  if (options_.broken == BrokenRule::kRecheck) return remove_now(node, digest, time_);
  insist<bool>(
      node, [this, digest] { return store_.names(digest); },
      [this, node, digest, asked = time_](bool named) {
        if (!named) return remove_now(node, digest, asked);
        COVER("sim_dying_blob_is_named");
        unmark(node, digest);
      });
}

void Cluster::remove_now(size_t node, const Digest& digest, int64_t looked_at) {
  Node& n = nodes_[node];
  if (time_ >= n.lease_until || time_ - looked_at > kDyingMs / 2) {
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
