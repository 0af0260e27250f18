# SPDX-License-Identifier: Apache-2.0
"""The mapping from NetBox objects to hosts: the keys of `environments/<name>/netbox.yml`."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Written, load_model
from scs_deploy.environment.environment import Environment
from scs_deploy.inventory.netbox import filters
from scs_deploy.inventory.netbox.client import Netbox
from scs_deploy.secrets.store import load as load_secrets

FILE = "netbox.yml"
Filter = dict[str, str | int | bool | tuple[str | int, ...]]

_ROLES: dict[str, tuple[str, ...]] = {
    "control": ("control",),
    "network": ("network",),
    "compute": ("compute",),
    "storage": ("storage",),
    "manager": ("manager",),
    "hyperconverged": ("control", "network", "compute", "storage"),
}
_NO_HOSTS = ("switch", "router", "firewall", "console-server", "pdu", "patch-panel")


class Selection(Written):
    """Selects the devices or virtual machines that are hosts."""

    status: tuple[str, ...] = Field(default=("active",), description="statuses of hosts")
    tags: tuple[str, ...] = Field(default=(), description="tag slugs that a host must have (all of them)")
    skip_tags: tuple[str, ...] = Field(default=(), description="tag slugs that exclude an object")
    skip_fields: dict[str, Any] = Field(
        default={"maintenance": True}, description="custom fields and the values that exclude an object"
    )
    filters: Filter = Field(
        default={}, description="additional NetBox filters, e.g. `tenant: scs`; unknown names are errors"
    )


class Groups(Written):
    """The sources of a host's inventory groups. All sources add up."""

    roles: dict[str, tuple[str, ...]] = Field(
        default=_ROLES,
        description="device role slug: groups; a nested role inherits the groups of its nearest parent listed here",
    )
    ignore_roles: tuple[str, ...] = Field(
        default=_NO_HOSTS,
        description="role slugs that are not hosts, including their children; any other role is an error",
    )
    tags: dict[str, tuple[str, ...]] = Field(default={}, description="tag slug: groups")
    field: str | None = Field(default="inventory_groups", description="custom field that lists groups; null: none")
    parents: dict[str, tuple[str, ...]] = Field(
        default={"chassis": ("network", "compute")}, description="parent group: the groups whose hosts it contains"
    )


class Gateways(Written):
    """The source of default gateways."""

    network: str = Field(default="management", description="network of the default route")
    field: str = Field(
        default="gateway_device",
        description="custom field of a prefix that names the gateway device; its address in the prefix is the gateway",
    )


class Networks(Written):
    """Maps addresses and interfaces to networks of environment.yml."""

    roles: dict[str, str] = Field(
        default={}, description="NetBox network role: network in environment.yml; default: the same name"
    )
    field: str | None = Field(
        default="network_role",
        description="custom field of prefixes that names the network role; takes precedence over the prefix role",
    )
    tags: str = Field(
        default="net-", description="prefix of tag slugs that name the network role, on prefixes and interfaces"
    )
    address_status: tuple[str, ...] = Field(
        default=("active",), description="statuses of addresses that hosts configure"
    )
    required: dict[str, tuple[str, ...]] = Field(
        default={}, description="group: networks that its hosts must be on, in addition to those that services need"
    )
    gateways: Gateways = Field(default=Gateways(), description="default gateways")
    nameservers: str | None = Field(
        default=None, description="path to a list of DNS servers, e.g. `config_context.dns.servers`"
    )
    bond_mode: str = Field(default="802.3ad", description="mode of all bonds, which NetBox does not record")


class Writeback(Written):
    """The data that `scs inventory writeback` records on devices in NetBox. All off by default."""

    state: str | None = Field(default=None, description="custom field for the provision state, e.g. `provision_state`")
    state_value: str = Field(default="active", description="value of `state` after a successful run")
    release: str | None = Field(default=None, description="custom field (text) for the release of the region")
    last_run: str | None = Field(default=None, description="custom field (date and time) for the end of the last run")
    journal: bool = Field(default=False, description="write a journal entry per device and run; requires last_run")
    token_file: str | None = Field(
        default=None,
        description="file with a token that can change devices, relative to the environment's folder; "
        "default: secret `netbox_write_token`, or the token for reading",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Writeback:
        if self.journal and not self.last_run:
            raise ValueError("journal: requires last_run, which shows whether a run already has an entry")
        return self

    @property
    def enabled(self) -> bool:
        """Whether writeback records anything."""
        return bool(self.state or self.release or self.last_run or self.journal)


class Mapping(Written):
    """The keys of `environments/<name>/netbox.yml`."""

    url: str = Field(pattern="^https?://[^ /]+(/[^ ]*)?$", description="base URL, without /api")
    plain_http: bool = Field(default=False, description="allow sending the token over http, without TLS")
    ca_file: str | None = Field(
        default=None,
        description="CA file for NetBox's certificate, relative to the environment's folder; default: the system's CAs",
    )
    token_file: str | None = Field(
        default=None,
        description="file with the API token, relative to the environment's folder; "
        "default: secret `netbox_token` in secrets.yml",
    )
    sites: tuple[str, ...] = Field(min_length=1, description="site slugs that make up the region")
    connections: int = Field(default=4, ge=1, le=16, description="concurrent requests")
    devices: Selection = Field(default=Selection(), description="devices that are hosts")
    virtual_machines: Selection | None = Field(
        default=None, description="virtual machines that are hosts; absent: none, and scs does not read them"
    )
    addresses: Filter = Field(
        default={}, description="NetBox filters for addresses, e.g. `parent: [10.0.0.0/16]`; default: all addresses"
    )
    groups: Groups = Field(default=Groups(), description="inventory groups")
    networks: Networks = Field(default=Networks(), description="networks, addresses, interfaces")
    zone: str | None = Field(
        default="{site}", description="availability zone, built from `{site}`, `{location}`, `{rack}`; null: none"
    )
    settings: dict[str, str] = Field(
        default={},
        description="operator variable or ansible_* variable: path to its value in `config_context.` or "
        "`custom_fields.`, e.g. `time_servers: config_context.ntp.servers`",
    )
    group_settings: dict[str, dict[str, Any]] = Field(
        default={}, description="group (`all` for every host): operator variables; values from NetBox take precedence"
    )
    disks: str | None = Field(
        default="custom_fields.ceph_osd_devices", description="path to a list of `{device, class}`; null: none"
    )
    writeback: Writeback = Field(default=Writeback(), description="data that writeback records in NetBox")

    @model_validator(mode="after")
    def _encrypted(self) -> Mapping:
        address = urlsplit(self.url)
        if (
            address.scheme == "http"
            and not self.plain_http
            and address.hostname not in ("localhost", "127.0.0.1", "::1")
        ):
            raise ValueError("url: http would send the token unencrypted: use https, or set plain_http: true")
        return self

    @field_validator("settings")
    @classmethod
    def _paths(cls, settings: dict[str, str]) -> dict[str, str]:
        for name, path in settings.items():
            _path(path, f"settings.{name}")
        return settings

    @field_validator("disks")
    @classmethod
    def _disks(cls, path: str | None) -> str | None:
        return path and _path(path, "disks")

    @field_validator("zone")
    @classmethod
    def _zone(cls, zone: str | None) -> str | None:
        try:
            (zone or "").format(site="", location="", rack="")
        except (KeyError, IndexError, ValueError):
            raise ValueError("supports only {site}, {location} and {rack}") from None
        return zone

    @field_validator("devices", "virtual_machines", "addresses")
    @classmethod
    def _filters(cls, value: Any, info: Any) -> Any:
        endpoint = {
            "devices": "dcim/devices",
            "virtual_machines": "virtualization/virtual-machines",
            "addresses": "ipam/ip-addresses",
        }[info.field_name]
        chosen = value.filters if isinstance(value, Selection) else value
        if chosen:
            filters.check(endpoint, chosen)
        return value


def _path(path: str, key: str) -> str:
    if not path.startswith(("config_context.", "custom_fields.")):
        raise ValueError(f"{key}: '{path}' must start with config_context. or custom_fields.")
    return path


def load(environment: Environment) -> Mapping:
    """Load netbox.yml.

    :raises RefusedError: it is missing or invalid; names file, line and key
    """
    file = environment.path / FILE
    if not file.is_file():
        raise RefusedError(f"{file}: no such file", "see docs/how-to/netbox.md for an example")
    mapping = load_model(Mapping, file)
    for network in {*mapping.networks.roles.values(), *(n for r in mapping.networks.required.values() for n in r)}:
        if network not in environment.settings.networks:
            raise RefusedError(f"{file}: networks: network '{network}' is not defined in {environment.file}")
    return mapping


def token(environment: Environment, mapping: Mapping, write: bool = False) -> str:
    """The API token, from its file or the region's secrets.

    :param write: the token for `writeback`
    :raises RefusedError: no token is configured
    """
    named = (mapping.writeback.token_file if write else None) or mapping.token_file
    if named:
        file = environment.path / named
        try:
            value = file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise RefusedError(f"{file}: cannot be read: {error.strerror}", f"check token_file in {FILE}") from None
    else:
        file = environment.secrets_file
        known = load_secrets(environment)
        value = (write and known.get("netbox_write_token")) or known.get("netbox_token", "")
    if not value or any(c.isspace() for c in value):
        raise RefusedError(f"{file}: no NetBox token", "run scs secrets edit and add netbox_token: '...'")
    return value


def client(environment: Environment, mapping: Mapping, write: bool = False) -> Netbox:
    """A client for the NetBox that netbox.yml names.

    :raises RefusedError: no token, or ca_file is missing
    """
    authority = environment.path / mapping.ca_file if mapping.ca_file else None
    if authority and not authority.is_file():
        raise RefusedError(f"{authority}: no such file", f"check ca_file in {FILE}")
    return Netbox(mapping.url, token(environment, mapping, write), authority, mapping.connections)
