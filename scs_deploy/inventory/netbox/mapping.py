# SPDX-License-Identifier: Apache-2.0
"""How NetBox's objects become hosts: the keys of `environments/<name>/netbox.yml`."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model, load_model
from scs_deploy.environment.environment import Environment
from scs_deploy.inventory.netbox import filters
from scs_deploy.inventory.netbox.client import Netbox
from scs_deploy.secrets import store as secrets

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


class Selection(Model):
    """Which devices or virtual machines are hosts."""

    status: tuple[str, ...] = Field(default=("active",), description="statuses of hosts")
    tags: tuple[str, ...] = Field(default=(), description="tag slugs that a host must have, all of them")
    skip_tags: tuple[str, ...] = Field(default=(), description="tag slugs that no host has")
    skip_fields: dict[str, Any] = Field(
        default={"maintenance": True}, description="custom fields: an object with this value is no host"
    )
    filters: Filter = Field(
        default={}, description="further NetBox filters of the list, e.g. `tenant: scs`; unknown names are refused"
    )


class Groups(Model):
    """How a host gets its inventory groups: all ways add up."""

    roles: dict[str, tuple[str, ...]] = Field(
        default=_ROLES, description="device role slug: groups; a nested role takes those of its nearest parent here"
    )
    ignore_roles: tuple[str, ...] = Field(
        default=_NO_HOSTS, description="role slugs, children included, that are no hosts; any other role is refused"
    )
    tags: dict[str, tuple[str, ...]] = Field(default={}, description="tag slug: groups")
    field: str | None = Field(default="inventory_groups", description="custom field that lists groups; null: none does")
    parents: dict[str, tuple[str, ...]] = Field(
        default={"chassis": ("network", "compute")}, description="group: the groups that it takes its hosts of"
    )


class Gateways(Model):
    """Where default gateways come from."""

    network: str = Field(default="management", description="the network of the default route")
    field: str = Field(
        default="gateway_device", description="custom field of a prefix: the device whose address there is the gateway"
    )


class Networks(Model):
    """How addresses and interfaces get to networks of environment.yml."""

    roles: dict[str, str] = Field(
        default={}, description="NetBox's network role: network of environment.yml; default: the same name"
    )
    field: str | None = Field(
        default="network_role", description="custom field of prefixes that names the role; before the prefix role"
    )
    tags: str = Field(default="net-", description="start of tag slugs that name the role, on prefixes and interfaces")
    address_status: tuple[str, ...] = Field(default=("active",), description="statuses of addresses that hosts carry")
    required: dict[str, tuple[str, ...]] = Field(
        default={}, description="group: networks that its hosts must be on, besides what services need"
    )
    gateways: Gateways = Field(default=Gateways(), description="default gateways")
    nameservers: str | None = Field(
        default=None, description="path of a list of DNS servers, e.g. `config_context.dns.servers`"
    )
    bond_mode: str = Field(default="802.3ad", description="NetBox does not have it: the mode of all bonds")


class Writeback(Model):
    """What `scs inventory writeback` tells NetBox about a device; all off by default."""

    state: str | None = Field(default=None, description="custom field for the provision state, e.g. `provision_state`")
    state_value: str = Field(default="active", description="what it becomes after a successful run")
    release: str | None = Field(default=None, description="custom field (text) for the release in use")
    last_run: str | None = Field(default=None, description="custom field (date and time) for the end of the last run")
    journal: bool = Field(default=False, description="a journal entry per device and run; needs last_run")
    token_file: str | None = Field(
        default=None,
        description="file with a token that may change devices, relative; default: secret `netbox_write_token`, "
        "or the token that reads",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Writeback:
        if self.journal and not self.last_run:
            raise ValueError("journal: needs last_run, which tells whether a run has its entry")
        return self

    @property
    def enabled(self) -> bool:
        """Anything is to be written."""
        return bool(self.state or self.release or self.last_run or self.journal)


class Mapping(Model):
    """The keys of `environments/<name>/netbox.yml`."""

    url: str = Field(pattern="^https?://[^ /]+(/[^ ]*)?$", description="base address, without /api")
    plain_http: bool = Field(default=False, description="send the token without TLS to another machine")
    ca_file: str | None = Field(default=None, description="CA of NetBox's certificate, relative; default: the system's")
    token_file: str | None = Field(
        default=None, description="file with the API token, relative; default: secret `netbox_token` in secrets.yml"
    )
    sites: tuple[str, ...] = Field(min_length=1, description="site slugs that make up the region")
    connections: int = Field(default=4, ge=1, le=16, description="requests at a time")
    devices: Selection = Field(default=Selection(), description="which devices are hosts")
    virtual_machines: Selection | None = Field(
        default=None, description="which virtual machines are hosts; absent: none, and they are not read"
    )
    addresses: Filter = Field(
        default={}, description="NetBox filters of the address list, e.g. `parent: [10.0.0.0/16]`; default: read all"
    )
    groups: Groups = Field(default=Groups(), description="inventory groups")
    networks: Networks = Field(default=Networks(), description="networks, addresses, interfaces")
    zone: str | None = Field(
        default="{site}", description="availability zone, from `{site}`, `{location}`, `{rack}`; null: none"
    )
    settings: dict[str, str] = Field(
        default={},
        description="operator variable or ansible_* variable: path of its value, from `config_context.` or "
        "`custom_fields.`, e.g. `time_servers: config_context.ntp.servers`",
    )
    group_settings: dict[str, dict[str, Any]] = Field(
        default={}, description="group (`all` for every host): operator variables; NetBox's values win"
    )
    disks: str | None = Field(
        default="custom_fields.ceph_osd_devices", description="path of a list of `{device, class}`; null: none"
    )
    writeback: Writeback = Field(default=Writeback(), description="what NetBox is told after a run")

    @model_validator(mode="after")
    def _encrypted(self) -> Mapping:
        address = urlsplit(self.url)
        if (
            address.scheme == "http"
            and not self.plain_http
            and address.hostname not in ("localhost", "127.0.0.1", "::1")
        ):
            raise ValueError("url: http would send the token readable to everyone: use https, or say plain_http: true")
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
            raise ValueError("knows {site}, {location} and {rack} only") from None
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
        raise ValueError(f"{key}: '{path}' must begin with config_context. or custom_fields.")
    return path


def load(environment: Environment) -> Mapping:
    """Read netbox.yml.

    :raises RefusedError: it is missing or has an error, with file, line and key
    """
    file = environment.path / FILE
    if not file.is_file():
        raise RefusedError(f"{file}: no such file", "docs/how-to/netbox.md shows one")
    mapping = load_model(Mapping, file)
    for network in {*mapping.networks.roles.values(), *(n for r in mapping.networks.required.values() for n in r)}:
        if network not in environment.settings.networks:
            raise RefusedError(f"{file}: networks: no network '{network}' in {environment.file}")
    return mapping


def token(environment: Environment, mapping: Mapping, write: bool = False) -> str:
    """The API token, from its file or the region's secrets.

    :param write: the one for `writeback`
    :raises RefusedError: there is none
    """
    named = (mapping.writeback.token_file if write else None) or mapping.token_file
    if named:
        file = environment.path / named
        try:
            found = file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise RefusedError(f"{file}: cannot be read: {error.strerror}", f"{FILE}: token_file names it") from None
    else:
        file = environment.secrets_file
        known = secrets.load(environment)
        found = (write and known.get("netbox_write_token")) or known.get("netbox_token", "")
    if not found or any(c.isspace() for c in found):
        raise RefusedError(f"{file}: no NetBox token there", "scs secrets edit, and add netbox_token: '...'")
    return found


def client(environment: Environment, mapping: Mapping, write: bool = False) -> Netbox:
    """A connection to the NetBox that netbox.yml names.

    :raises RefusedError: no token, or ca_file is missing
    """
    authority = environment.path / mapping.ca_file if mapping.ca_file else None
    if authority and not authority.is_file():
        raise RefusedError(f"{authority}: no such file", f"{FILE}: ca_file")
    return Netbox(mapping.url, token(environment, mapping, write), authority, mapping.connections)
