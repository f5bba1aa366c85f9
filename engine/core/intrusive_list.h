// IntrusiveList: a doubly linked list of objects that carry their own links.
//
// Appending, removing and asking for membership take no memory and constant time. An object is in
// at most one place of each list; it must leave before it is destroyed. One thread at a time.
#pragma once

#include <cstddef>

#include "engine/base/check.h"

namespace millrace {

template <typename T>
struct ListLink {
  T* previous = nullptr;
  T* next = nullptr;
  bool linked = false;
};

template <typename T, ListLink<T> T::*kLink>
class IntrusiveList {
 public:
  T* front() const { return front_; }
  T* back() const { return back_; }
  T* next(const T* item) const { return (item->*kLink).next; }
  T* previous(const T* item) const { return (item->*kLink).previous; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  static bool contains(const T* item) { return (item->*kLink).linked; }

  void push_back(T* item) {
    ListLink<T>& link = item->*kLink;
    CHECK(!link.linked);
    link = {back_, nullptr, true};
    (back_ ? (back_->*kLink).next : front_) = item;
    back_ = item;
    size_++;
  }
  void remove(T* item) {
    ListLink<T>& link = item->*kLink;
    CHECK(link.linked && size_ > 0);
    (link.previous ? (link.previous->*kLink).next : front_) = link.next;
    (link.next ? (link.next->*kLink).previous : back_) = link.previous;
    link = {};
    size_--;
  }

 private:
  T* front_ = nullptr;
  T* back_ = nullptr;
  size_t size_ = 0;
};

}  // namespace millrace
