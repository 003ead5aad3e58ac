# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""The mesh that every gateway of the plan reads: workloads, services and policies in the format of
ztunnel's local file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.e2e import plan


def model() -> dict[str, Any]:
    """Of the plan's pods and services, with its policies."""
    policies = [
        # AuthorizationPolicy: httpbin does not talk to the intruder.
        _deny("deny-intruder", [{"principals": [{"Exact": _principal(plan.INTRUDER)}]}]),
        # What istiod makes of a PeerAuthentication in mode STRICT: who has no identity is denied.
        _deny("strict", [{"notPrincipals": [{"Presence": None}]}]),
    ]
    attached = {plan.HTTPBIN: "deny-intruder", plan.STRICT: "strict"}
    return {**open_model(plan.PODS, plan.SERVICES, attached), "policies": policies}


def open_model(pods: Iterable[plan.Pod], services: Sequence[plan.Service],
               policies: Mapping[plan.Pod, str] | None = None) -> dict[str, Any]:
    """Of any pods and services; a pod may name the policy that it is under."""
    return {
        "workloads": [_workload(pod, services, (policies or {}).get(pod)) for pod in pods],
        "services": [_service(service) for service in services],
    }


def _workload(pod: plan.Pod, services: Sequence[plan.Service],
              policy: str | None) -> dict[str, Any]:
    hbone = pod.kind in (plan.Kind.AMBIENT, plan.Kind.SIDECAR_HBONE, plan.Kind.WAYPOINT)
    served = [service for service in services if service.pod is pod]
    workload: dict[str, Any] = {
        "uid": f"Kubernetes//Pod/{plan.NAMESPACE}/{pod.name}",
        "name": pod.name,
        "namespace": plan.NAMESPACE,
        "serviceAccount": pod.name,
        "node": pod.node.name,
        "workloadIps": [pod.address],
        "protocol": "HBONE" if hbone else "TCP",
    }
    if pod.kind in (plan.Kind.SIDECAR_HBONE, plan.Kind.WAYPOINT):
        workload["nativeTunnel"] = True
    if policy:
        workload["authorizationPolicies"] = [f"{plan.NAMESPACE}/{policy}"]
    if any(service.waypoint for service in served):
        workload["waypoint"] = _waypoint()
    if served:
        workload["services"] = {f"{plan.NAMESPACE}/{service.hostname}":
                                {port: port for port in service.ports} for service in served}
    return workload


def _service(service: plan.Service) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": service.name,
        "namespace": plan.NAMESPACE,
        "hostname": service.hostname,
        "vips": [f"/{service.address}"],
        "ports": {port: port for port in service.ports},
    }
    if service.waypoint:
        described["waypoint"] = _waypoint()
    return described


def _waypoint() -> dict[str, Any]:
    return {"destination": f"/{plan.WAYPOINT.address}", "hboneMtlsPort": plan.HBONE_PORT}


def _principal(pod: plan.Pod) -> str:
    return pod.identity.removeprefix("spiffe://")


def _deny(name: str, matches: list[dict[str, Any]]) -> dict[str, Any]:
    """A policy for the workloads that name it, with one rule of one clause."""
    return {"name": name, "namespace": plan.NAMESPACE, "scope": "WorkloadSelector",
            "action": "Deny", "rules": [[matches]]}
