#include <algorithm>

#include "engine/runtime/cluster.h"

namespace millrace {

void Peers::note(const ClusterLook& look) {
  CHECK(look.status.ok() && look.ended_us >= look.began_us);
  silent_.clear();
  gone_ = {NodeId{}};
  forgettable_.clear();
  idle_slots_ = 0;
  living_ = 1;
  first_ = true;
  const auto owns = [&look](const NodeId& node) {
    return std::find(look.owners.begin(), look.owners.end(), node) != look.owners.end();
  };
  if (looked_us_ != 0 && look.began_us - looked_us_ > lease_ms_ * 1000 / 2) doubt_ = true;
  looked_us_ = look.ended_us;
  std::map<NodeId, Seen> seen;
  for (const NodeLease& lease : look.leases) {
    if (lease.node == self_) continue;
    if (lease.departed) {
      gone_.push_back(lease.node);
      if (!owns(lease.node)) forgettable_.push_back(lease.node);
      continue;
    }
    const auto known = seen_.find(lease.node);
    Seen now{lease.counter, look.ended_us};
    if (known != seen_.end() && known->second.counter == lease.counter) now = known->second;
    const int64_t patience_us = std::max(lease_ms_, lease.lease_ms) * 1000;
    if (doubt_) now.at_us = std::max(now.at_us, look.began_us - patience_us / 2);
    seen[lease.node] = now;
    if (look.began_us - now.at_us > patience_us) {
      silent_.push_back({lease.node, lease.counter});
      continue;
    }
    living_++;
    if (lease.node < self_) first_ = false;
    if (lease.waiting_steps == 0) idle_slots_ += lease.free_slots;
  }
  seen_ = std::move(seen);
  doubt_ = false;
  any_claimable_ = false;
  for (const NodeId& owner : look.owners) {
    if (owner == self_ || seen_.contains(owner)) continue;
    any_claimable_ = true;
    if (std::find(gone_.begin(), gone_.end(), owner) == gone_.end()) gone_.push_back(owner);
  }
}

}  // namespace millrace
