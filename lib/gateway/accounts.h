// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// A fixed number of accounts, by address. All memory is taken at construction.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "packet/address.h"
#include "packet/siphash.h"

namespace isthmus::gateway {

// Account has `packet::IpAddress address`, `uint64_t refused` and `uint32_t next`, the table's.
template <typename Account>
class Accounts {
 public:
  static constexpr uint32_t kShared = 0;  // of those that found none; its address is unspecified

  Accounts(uint32_t capacity, const packet::SipKey& key)
      : key_(key),
        capacity_(capacity),
        accounts_(std::make_unique<Account[]>(size_t{capacity} + 1)),
        buckets_(std::bit_ceil(std::max(capacity, 2u)), kShared) {
    for (uint32_t i = capacity; i > kShared; --i) accounts_[i].next = std::exchange(free_, i);
  }

  // kShared when it has none.
  uint32_t find(const packet::IpAddress& address) const {
    uint32_t at = buckets_[bucket_of(address)];
    while (at != kShared && accounts_[at].address != address) at = accounts_[at].next;
    return at;
  }
  // Likewise when none is free.
  uint32_t find_or_take(const packet::IpAddress& address) {
    uint32_t at = find(address);
    if (at != kShared || free_ == kShared) return at;
    at = free_;
    Account& account = accounts_[at];
    free_ = account.next;
    account.address = address;
    account.refused = 0;
    account.next = std::exchange(buckets_[bucket_of(address)], at);
    return at;
  }
  // Nothing when it is the shared one.
  void give_back(uint32_t at) {
    if (at == kShared) return;
    Account& account = accounts_[at];
    uint32_t* link = &buckets_[bucket_of(account.address)];
    while (*link != at) link = &accounts_[*link].next;
    *link = account.next;
    account.next = std::exchange(free_, at);
  }

  Account& operator[](uint32_t at) { return accounts_[at]; }
  const Account& operator[](uint32_t at) const { return accounts_[at]; }
  uint32_t capacity() const { return capacity_; }

 private:
  size_t bucket_of(const packet::IpAddress& address) const {
    return packet::siphash(key_, address) & (buckets_.size() - 1);
  }

  const packet::SipKey key_;
  const uint32_t capacity_;
  std::unique_ptr<Account[]> accounts_;
  std::vector<uint32_t> buckets_;
  uint32_t free_ = kShared;  // ends lists, too
};

}  // namespace isthmus::gateway
