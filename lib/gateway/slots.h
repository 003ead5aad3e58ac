// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A fixed number of places for objects of one type, all memory taken at construction
// and none of it touched before it is needed.
#pragma once

#include <cstdint>
#include <memory>
#include <new>
#include <utility>

namespace isthmus::gateway {

template <typename T>
class Slots {
 public:
  explicit Slots(uint32_t capacity)
      : places_(std::make_unique_for_overwrite<Place[]>(capacity)), capacity_(capacity) {}
  Slots(const Slots&) = delete;
  Slots& operator=(const Slots&) = delete;
  ~Slots() {
    for (uint32_t i = 0; i < touched_; ++i) {
      if (places_[i].used) object(places_[i])->~T();
    }
  }

  // Null when every place is taken.
  template <typename... Arguments>
  T* take(Arguments&&... arguments) {
    if (free_ == nullptr && touched_ == capacity_) return nullptr;
    Place& place = free_ != nullptr ? *free_ : places_[touched_++];
    if (&place == free_) free_ = place.next;
    place.used = true;
    ++used_;
    return new (place.bytes) T(std::forward<Arguments>(arguments)...);
  }
  void give_back(T* taken) {
    taken->~T();
    auto& place = *reinterpret_cast<Place*>(taken);  // the object stands at the place's beginning
    --used_;
    place.used = false;
    place.next = std::exchange(free_, &place);
  }
  uint32_t used() const { return used_; }

  // visit may give back the object that it is shown, and no other.
  template <typename Visitor>
  void for_each(Visitor&& visit) {
    for (uint32_t i = 0; i < touched_; ++i) {
      if (places_[i].used) visit(*object(places_[i]));
    }
  }
  // Of the next `limit` places that were ever taken, likewise; moves `next`. Returns how many
  // places it looked at: 0 at the end.
  template <typename Visitor>
  uint32_t for_range(uint32_t& next, uint32_t limit, Visitor&& visit) {
    const uint32_t first = next;
    for (; next < touched_ && next - first < limit; ++next) {
      if (places_[next].used) visit(*object(places_[next]));
    }
    return next - first;
  }

 private:
  struct Place {
    union {
      alignas(T) char bytes[sizeof(T)];
      Place* next;  // of a free one
    };
    bool used;
  };
  static T* object(Place& place) { return std::launder(reinterpret_cast<T*>(place.bytes)); }

  std::unique_ptr<Place[]> places_;
  Place* free_ = nullptr;
  const uint32_t capacity_;
  uint32_t touched_ = 0;  // places that were ever taken: memory is touched when it is needed
  uint32_t used_ = 0;
};

}  // namespace isthmus::gateway
