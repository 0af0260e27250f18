# SPDX-License-Identifier: Apache-2.0
"""Operator variables: what a declaration accepts, and what its refusal says."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from scs_deploy.spec.catalog import load
from scs_deploy.spec.setting import Setting

KNOWN = load().declared


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("glance_workers", "two", "is 'two', not a whole number, which is written without quotes"),
        ("glance_workers", "2", "is '2', not a whole number, which is written without quotes"),
        ("glance_workers", True, "is True, not a whole number"),
        ("glance_workers", 2.0, "is 2.0, not a whole number"),
        ("glance_workers", 0, "is 0, but must be 1 to 256"),
        ("glance_workers", None, "has no value; expected 1 to 256, or remove the line for the default"),
        ("keepalived_router_id_internal", 300, "is 300, but must be 1 to 255"),
        ("nova_virt_type", "KVM", "is 'KVM', but must be one of kvm, qemu; did you mean kvm?"),
        ("nova_virt_type", "", "is empty; expected one of kvm, qemu"),
        ("horizon_multidomain", "yes", "is 'yes', not true or false, which is written without quotes"),
        ("horizon_multidomain", 1, "is 1, not true or false"),
        ("haproxy_client_timeout", "5 minutes", "is '5 minutes', not a duration such as 500ms, 30s, 5m or 3h"),
        ("haproxy_client_timeout", 300, "is 300, not a duration such as 500ms, 30s, 5m or 3h"),
        ("mariadb_innodb_buffer_pool_size", "512 MB", "is '512 MB', not a size such as 512M, 1G or 1GB"),
        ("mariadb_innodb_buffer_pool_size", "1GB", "is '1GB', but must be text that matches [1-9][0-9]*[KMGT]?"),
        ("neutron_dns_servers", ["192.0.2.1", "ns.example.org"], "not a list of IP addresses"),
        ("neutron_dns_servers", "192.0.2.1", "is '192.0.2.1', not a list of IP addresses"),
        (
            "glance_import_networks",
            ["10.0.0.1/24"],
            "not a list of networks such as 192.0.2.0/24, without bits of a host",
        ),
        ("glance_import_networks", ["10.0.0.1"], "not a list of networks"),
        ("neutron_dns_domain", "example.org", "not a domain with the final dot"),
        (
            "glance_import_methods",
            ["web_download"],
            "is 'web_download', but must be one of glance-direct, web-download",
        ),
        ("glance_import_methods", [], "is empty"),
        ("ovn_bridge_mappings", {"physnet1": None}, "not a mapping of texts to texts"),
        ("nova_machine_type", "q35\npc", "not text on one line"),
        ("nova_cpu_models", ["Haswell\n"], "not a list of texts"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_right(name: str, value: Any, said: str) -> None:
    assert said in KNOWN[name].problem(value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("glance_workers", 8),
        ("glance_import_networks", ["10.0.0.0/8", "fd00::/8"]),
        ("nova_cpu_allocation_ratio", 16),
        ("mariadb_gcache_size", ""),
        ("mariadb_gcache_size", "1G"),
        ("mariadb_innodb_buffer_pool_size", 1073741824),
        ("rabbitmq_memory_high_watermark", "2GiB"),
        ("nova_cpu_models", []),
        ("neutron_dns_servers", ["192.0.2.1", "2001:db8::1"]),
        ("mariadb_max_connections", 0),
        ("horizon_multidomain", False),
    ],
)
def test_a_right_value_is_accepted(name: str, value: Any) -> None:
    assert KNOWN[name].problem(value) == ""


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"default": 5, "min": 10}, "default: is 5, but must be 10 or more"),
        ({"default": "a", "choices": ["b"]}, "default: is 'a'"),
        ({"default": "a", "pattern": "["}, "pattern: "),
        ({"default": None}, "default: has no value"),
        ({"default": 1, "maximum": 2}, "Extra inputs"),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(declared: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match="(?s)" + said.replace("[", r"\[")):
        Setting.model_validate(declared)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("max", 10, "min and max are for numbers, and the type is text"), ("max", float("inf"), "must be finite")],
)
def test_limits_that_cannot_be_compared_with_are_refused(key: str, value: float, said: str) -> None:
    default = "text" if value == 10 else 1
    with pytest.raises(ValidationError, match=said):
        Setting.model_validate({"default": default, key: value})
