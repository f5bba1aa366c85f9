#include "server/http/exchange.h"

#include <algorithm>

#include "server/http/problem.h"

namespace millrace {

bool Charge::try_add(uint64_t size, uint64_t spare) {
  const uint64_t most = budget_->limit_bytes() - std::min(budget_->limit_bytes(), spare);
  if (size > most || budget_->used_bytes() > most - size) return false;
  if (!budget_->try_charge(size)) return false;
  size_ += size;
  return true;
}

Bytes Charge::detach(std::string data) {
  const uint64_t size = data.size();
  if (size > size_) {
    budget_->charge(size - size_);  // decoded text may be longer than what was charged so far
    size_ = size;
  }
  size_ -= size;
  return charged_bytes(std::move(data), budget_);
}

void Charge::give_back(uint64_t size) {
  size = std::min(size, size_);
  budget_->release(size);
  size_ -= size;
}

void Charge::clear() {
  give_back(size_);
}

void Exchange::respond(const Status& problem) {
  respond(problem_response(problem));
}

void Exchange::reset(uint64_t next_number) {
  request.clear();
  charge.clear();
  route = -1;
  body_bytes_max = 0;
  sink.reset();
  waiter = subscription = 0;
  on_drained = nullptr;
  heartbeat.clear();
  extra_head.clear();
  started_us = 0;
  number = next_number;
  answered_ = false;
}

}  // namespace millrace
