// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
#include "tls/record.h"

#include "tls/gcm.h"

namespace isthmus::tls {
namespace {

IMB_MGR* make_manager() {
  IMB_MGR* mgr = alloc_mb_mgr(0);
  if (mgr == nullptr) return nullptr;
  init_mb_mgr_auto(mgr, nullptr);
  if ((mgr->features & IMB_FEATURE_SELF_TEST) != 0 &&
      (mgr->features & IMB_FEATURE_SELF_TEST_PASS) == 0) {
    free_mb_mgr(mgr);
    return nullptr;
  }
  return mgr;
}

}  // namespace

RecordLayer::RecordLayer(KeyMemory keys, const packet::Pools& pools, const RecordLimits& limits)
    : mgr_(make_manager()), keys_(keys), pools_(pools), limits_(limits) {}

RecordLayer::~RecordLayer() {
  if (mgr_ != nullptr) free_mb_mgr(mgr_);
}

}  // namespace isthmus::tls
