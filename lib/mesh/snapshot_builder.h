// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: Isthmus authors
// Makes a Snapshot out of a Model, step by step; used by Snapshot::build alone.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "mesh/snapshot.h"

namespace isthmus::mesh {

class SnapshotBuilder {
 public:
  SnapshotBuilder(Model model, const SnapshotOptions& options, Names& names);
  std::shared_ptr<const Snapshot> build();

 private:
  void index_policies();
  void add_workloads();
  void add_services();
  void add_endpoints();
  void add_endpoint(ServiceEntry& service, const WorkloadEntry& workload, const PortMap& ports,
                    WorkloadStatus status);
  void index_workload_addresses();
  void index_service_addresses();
  void copy_names();
  const PolicySet* policies_of(const Workload& workload);
  void add_policy(PolicySet& set, const Authorization& policy);

  std::shared_ptr<Snapshot> snapshot_;
  Names& names_;
  std::unordered_map<std::string, const Authorization*> policy_by_key_;
  std::unordered_map<std::string_view, std::vector<const Authorization*>> policies_by_namespace_;
  std::unordered_map<std::string, const PolicySet*> policy_set_by_key_;
  std::unordered_map<std::string_view, WorkloadEntry*> workload_by_uid_;
  std::map<NamespacedHostname, ServiceEntry*> service_by_name_;
};

}  // namespace isthmus::mesh
