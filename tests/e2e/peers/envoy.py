# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: Isthmus authors
"""Envoy's configuration as a sidecar and as a waypoint, in the shape that istiod generates it.

    sidecar    15001 what the pod sends → services by HBONE (connect_originate), the rest as it is
               15006 what the pod receives: plaintext or mTLS
               15008 HBONE (connect_terminate) → main_internal → the application
    waypoint   15008 HBONE → main_internal, HTTP → connect_originate, HBONE to the pod
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.e2e import plan

Config = dict[str, Any]

USER = 1337  # Istio's proxy user; what it sends is not captured again
RESPONSE_HEADER = ("x-waypoint", "passed")
_DESTINATION = "envoy.filters.listener.original_dst"
_CLIENT = "peer_principal"  # filter state: who the HBONE client proved to be
# A crowd of connections must not wait for Envoy's own limits.
_NO_LIMITS = {"thresholds": [{name: 2**32 - 1 for name in (
    "max_connections", "max_pending_requests", "max_requests", "max_retries")}]}


def sidecar(pod: plan.Pod, certificates: Path, log: Path,
            services: Sequence[plan.Service] = plan.SERVICES) -> Config:
    tls = _tls(pod, certificates)
    originated = [(service, port) for service in services for port in service.ports
                  if service.pod is not pod
                  and service.pod.kind in (plan.Kind.AMBIENT, plan.Kind.SIDECAR_HBONE)]
    return _bootstrap(
        listeners=[
            _listener(
                "virtualOutbound", 15001, listener_filters=[_original_destination()],
                filter_chains=[
                    _chain([_tcp_proxy(_outbound(service, port))], destination_port=port,
                           prefix_ranges=_prefixes(service.address))
                    for service, port in originated],
                default_filter_chain=_chain([_tcp_proxy("passthrough")])),
            _connect_originate(pod, log),
            _listener(
                "virtualInbound", 15006,
                listener_filters=[_original_destination(), _extension(
                    "envoy.filters.listener.tls_inspector",
                    "extensions.filters.listener.tls_inspector.v3.TlsInspector")],
                filter_chains=[
                    {**_chain([_application(log)], destination_port=plan.HTTPBIN_PORT,
                              transport_protocol="tls"),
                     "transport_socket": _server_tls(tls, "istio-peer-exchange", "istio", "h2")},
                    _chain([_application(log)], destination_port=plan.HTTPBIN_PORT,
                           transport_protocol="raw_buffer")],
                default_filter_chain=_chain([_tcp_proxy("passthrough")])),
            _connect_terminate(tls, log),
            _internal_listener(
                "main_internal",
                filter_chains=[_chain([_application(log, tunnelled_to=pod)],
                                      destination_port=plan.HTTPBIN_PORT)],
                default_filter_chain=_chain([_tcp_proxy("passthrough")])),
        ],
        clusters=[
            *(_through_tunnel(_outbound(service, port), service, port)
              for service, port in originated),
            _tunnel_cluster(tls),
            _internal_cluster("main_internal"),
            _cluster("application", load_assignment=_endpoint({"socket_address": {
                "address": "127.0.0.1", "port_value": plan.HTTPBIN_PORT}})),
            _cluster("passthrough", type="ORIGINAL_DST", lb_policy="CLUSTER_PROVIDED"),
        ])


def waypoint(pod: plan.Pod, certificates: Path, log: Path) -> Config:
    tls = _tls(pod, certificates)
    served = [(service, port) for service in plan.SERVICES for port in service.ports
              if service.waypoint]
    return _bootstrap(
        listeners=[
            _connect_terminate(tls, log),
            # A client of 1.18 names the pod in :authority, one of today's Istio the service.
            _internal_listener("main_internal", filter_chains=[
                _chain([_waypoint_http(_inbound(service, port), log)], destination_port=port,
                       prefix_ranges=_prefixes(service.address, service.pod.address))
                for service, port in served]),
            _connect_originate(pod, log),
        ],
        clusters=[
            *(_through_tunnel(_inbound(service, port), service, port, past_waypoint=True)
              for service, port in served),
            _tunnel_cluster(tls),
            _internal_cluster("main_internal"),
        ])


def _outbound(service: plan.Service, port: int) -> str:
    return f"outbound|{port}||{service.hostname}"


def _inbound(service: plan.Service, port: int) -> str:
    return f"inbound|{port}||{service.hostname}"


# --- listeners -----------------------------------------------------------------------------------

def _bootstrap(listeners: list[Config], clusters: list[Config]) -> Config:
    return {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 15000}}},
        # Else the RST_STREAM(NO_ERROR) with which an Envoy server ends a stream becomes a TCP
        # reset for the client's application.
        "layered_runtime": {"layers": [{"name": "static", "static_layer": {
            "envoy.reloadable_features.propagate_upstream_rst_through_tunneled_tcp_proxy": False,
        }}]},
        "bootstrap_extensions": [_extension(
            "envoy.bootstrap.internal_listener",
            "extensions.bootstrap.internal_listener.v3.InternalListener")],
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }


def _listener(name: str, port: int, **fields: Any) -> Config:
    return {"name": name,
            "address": {"socket_address": {"address": "0.0.0.0", "port_value": port}}, **fields}


def _internal_listener(name: str, **fields: Any) -> Config:
    return {"name": name, "internal_listener": {}, "listener_filters": [_original_destination()],
            **fields}


def _connect_originate(pod: plan.Pod, log: Path) -> Config:
    """A connection to it becomes a CONNECT for the address that the connection was for."""
    proxy = _tcp_proxy(
        "connect_originate",
        access_log=_access_log(log, "ORIGINATE", authority="DOWNSTREAM_LOCAL_ADDRESS",
                               to="UPSTREAM_HOST", peer="UPSTREAM_PEER_URI_SAN",
                               flags="RESPONSE_FLAGS"),
        # Not only at its end: a waypoint keeps its connections.
        access_log_options={"flush_access_log_on_connected": True},
        tunneling_config={
            "hostname": "%DOWNSTREAM_LOCAL_ADDRESS%",
            "headers_to_add": [_header("baggage", ",".join((
                "k8s.cluster.name=Kubernetes", f"k8s.namespace.name={plan.NAMESPACE}",
                f"k8s.deployment.name={pod.name}", f"service.name={pod.name}",
                "service.version=v1")))],
        })
    return _internal_listener("connect_originate", filter_chains=[_chain([proxy])])


def _connect_terminate(tls: Config, log: Path) -> Config:
    """HBONE: the stream goes to main_internal as a connection for the address in :authority."""
    shared = {"shared_with_upstream": "ONCE"}
    manager = _http_manager(
        "inbound_hbone",
        route={"match": {"connect_matcher": {}}, "route": {
            "cluster": "main_internal", "timeout": "0s", "idle_timeout": "0s",
            "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}]}},
        filters=[_extension(
            "connect_authority", "extensions.filters.http.set_filter_state.v3.Config",
            on_request_headers=[
                {**_state(f"{_DESTINATION}.local_ip", "%REQ(:AUTHORITY)%"), **shared},
                {**_state(f"{_DESTINATION}.remote_ip", "%DOWNSTREAM_REMOTE_ADDRESS%"), **shared},
                {**_state(_CLIENT, "%DOWNSTREAM_PEER_URI_SAN%"), "factory_key": "envoy.string",
                 **shared},
            ])],
        access_log=_access_log(log, "HBONE", authority="REQ(:AUTHORITY)", code="RESPONSE_CODE",
                               peer="DOWNSTREAM_PEER_URI_SAN", source="DOWNSTREAM_REMOTE_ADDRESS",
                               tls="DOWNSTREAM_TLS_CIPHER", flags="RESPONSE_FLAGS"),
        codec_type="HTTP2", http2_protocol_options={"allow_connect": True},
        upgrade_configs=[{"upgrade_type": "CONNECT"}])
    return _listener("connect_terminate", plan.HBONE_PORT, filter_chains=[
        {**_chain([manager]), "transport_socket": _server_tls(tls, "h2")}])


def _application(log: Path, tunnelled_to: plan.Pod | None = None) -> Config:
    """HTTP to the pod's application, which is told who the client is."""
    # A tunnel's TLS ended before this listener: the client is in the filter state.
    client = f"FILTER_STATE({_CLIENT}:PLAIN)" if tunnelled_to else "DOWNSTREAM_PEER_URI_SAN"
    xfcc: Config = {"forward_client_cert_details": "APPEND_FORWARD",
                    "set_current_client_cert_details": {"uri": True, "subject": True}}
    route: Config = {"match": {"prefix": "/"}, "route": {"cluster": "application", "timeout": "0s"}}
    if tunnelled_to:
        xfcc = {"forward_client_cert_details": "ALWAYS_FORWARD_ONLY"}
        route["request_headers_to_add"] = [{**_header(
            "x-forwarded-client-cert", f"By={tunnelled_to.identity};URI=%{client}%"),
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]
    return _http_manager(
        "application", route=route,
        access_log=_access_log(log, "APPLICATION", path="REQ(:PATH)", code="RESPONSE_CODE",
                               peer=client, source="DOWNSTREAM_REMOTE_ADDRESS",
                               local="DOWNSTREAM_LOCAL_ADDRESS", tls="DOWNSTREAM_TLS_VERSION"),
        **xfcc)


def _waypoint_http(cluster: str, log: Path) -> Config:
    return _http_manager(
        cluster,
        route={"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"},
               "response_headers_to_add": [{"header": {"key": RESPONSE_HEADER[0],
                                                       "value": RESPONSE_HEADER[1]}}]},
        access_log=_access_log(log, "WAYPOINT", method="REQ(:METHOD)", path="REQ(:PATH)",
                               code="RESPONSE_CODE", peer=f"FILTER_STATE({_CLIENT}:PLAIN)",
                               local="DOWNSTREAM_LOCAL_ADDRESS"))


# --- clusters ------------------------------------------------------------------------------------

def _cluster(name: str, **fields: Any) -> Config:
    return {"name": name, "connect_timeout": "2s", "circuit_breakers": _NO_LIMITS, **fields}


def _endpoint(address: Config, metadata: Config | None = None) -> Config:
    endpoint: Config = {"endpoint": {"address": address}}
    if metadata:
        endpoint["metadata"] = {"filter_metadata": {_DESTINATION: metadata}}
    return {"cluster_name": "static", "endpoints": [{"lb_endpoints": [endpoint]}]}


def _internal_cluster(listener: str) -> Config:
    return _cluster(listener, load_assignment=_endpoint(_internal_address(listener)),
                    transport_socket=_internal_socket())


def _through_tunnel(name: str, service: plan.Service, port: int,
                    past_waypoint: bool = False) -> Config:
    """A service's pod, behind connect_originate and, where it has one, behind its waypoint."""
    target = f"{service.pod.address}:{port}"
    metadata = {"local": target}
    if service.waypoint and not past_waypoint:
        metadata["waypoint"] = f"{plan.WAYPOINT.address}:{plan.HBONE_PORT}"
    return _cluster(
        name, load_assignment=_endpoint(_internal_address("connect_originate", target), metadata),
        transport_socket=_internal_socket())


def _tunnel_cluster(tls: Config) -> Config:
    """HBONE connections: to port 15008 of the destination or, when named, of its waypoint."""
    return _cluster(
        "connect_originate", type="ORIGINAL_DST", lb_policy="CLUSTER_PROVIDED",
        original_dst_lb_config={
            "upstream_port_override": plan.HBONE_PORT,
            "metadata_key": {"key": _DESTINATION, "path": [{"key": "waypoint"}]}},
        typed_extension_protocol_options=dict([_option(
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            explicit_http_config={"http2_protocol_options": {"allow_connect": True}})]),
        transport_socket=_extension(
            "envoy.transport_sockets.tls",
            "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            common_tls_context={**tls, "alpn_protocols": ["h2"]}))


def _internal_address(listener: str, endpoint: str | None = None) -> Config:
    address = {"server_listener_name": listener}
    return {"envoy_internal_address": {**address, "endpoint_id": endpoint} if endpoint else address}


def _internal_socket() -> Config:
    raw = _extension("raw", "extensions.transport_sockets.raw_buffer.v3.RawBuffer")
    return _extension(
        "envoy.transport_sockets.internal_upstream",
        "extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport",
        passthrough_metadata=[{"name": _DESTINATION, "kind": {"host": {}}}], transport_socket=raw)


# --- pieces --------------------------------------------------------------------------------------

def _extension(name: str, kind: str, **config: Any) -> Config:
    return {"name": name,
            "typed_config": {"@type": f"type.googleapis.com/envoy.{kind}", **config}}


def _option(kind: str, **config: Any) -> tuple[str, Config]:
    return kind, {"@type": f"type.googleapis.com/{kind}", **config}


def _tls(pod: plan.Pod, certificates: Path) -> Config:
    return {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3",
                       "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificates": [{
            "certificate_chain": {"filename": str(certificates / f"{pod.name}.crt")},
            "private_key": {"filename": str(certificates / f"{pod.name}.key")}}],
        "validation_context": {
            "trusted_ca": {"filename": str(certificates / "ca.crt")},
            "match_typed_subject_alt_names": [{
                "san_type": "URI", "matcher": {"prefix": f"spiffe://{plan.TRUST_DOMAIN}/"}}]},
    }


def _server_tls(tls: Config, *protocols: str) -> Config:
    return _extension("envoy.transport_sockets.tls",
                      "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                      require_client_certificate=True,
                      common_tls_context={**tls, "alpn_protocols": list(protocols)})


def _chain(filters: list[Config], **match: Any) -> Config:
    return {"name": str(match) if match else "any", "filters": filters,
            **({"filter_chain_match": match} if match else {})}


def _prefixes(*addresses: str) -> list[Config]:
    return [{"address_prefix": address, "prefix_len": 32} for address in addresses]


def _original_destination() -> Config:
    return _extension(_DESTINATION, "extensions.filters.listener.original_dst.v3.OriginalDst")


def _tcp_proxy(cluster: str, **fields: Any) -> Config:
    return _extension("envoy.filters.network.tcp_proxy",
                      "extensions.filters.network.tcp_proxy.v3.TcpProxy",
                      stat_prefix=cluster, cluster=cluster, **fields)


def _http_manager(name: str, route: Config, access_log: list[Config],
                  filters: list[Config] | None = None, **fields: Any) -> Config:
    router = _extension("envoy.filters.http.router", "extensions.filters.http.router.v3.Router")
    return _extension(
        "envoy.filters.network.http_connection_manager",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name, access_log=access_log, http_filters=[*(filters or []), router],
        route_config={"virtual_hosts": [{"name": name, "domains": ["*"], "routes": [route]}]},
        **fields)


def _state(key: str, text: str) -> Config:
    return {"object_key": key, "format_string": {"text_format_source": {"inline_string": text}}}


def _header(key: str, value: str) -> Config:
    return {"header": {"key": key, "value": value}}


def _access_log(log: Path, event: str, /, **fields: str) -> list[Config]:
    line = " ".join([event, *(f"{name}=%{command}%" for name, command in fields.items())])
    return [_extension(
        "envoy.access_loggers.file", "extensions.access_loggers.file.v3.FileAccessLog",
        path=str(log), log_format={"text_format_source": {"inline_string": line + "\n"}})]
