# SPDX-License-Identifier: Apache-2.0
"""The region's certificates, in `certificates.yml` (ansible-vault): its CA, those of its groups, and what they issued.

Servers that anybody may talk to have certificates of the region's CA. Where both sides show one, it is of their group's
CA, so that a server accepts the group's members and nobody else. See `groups`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

import yaml
from pydantic import Field

from scs_deploy.base.errors import RefusedError
from scs_deploy.base.model import Model, parse_yaml, validate
from scs_deploy.environment.environment import Environment
from scs_deploy.secrets import groups, issuing, vault
from scs_deploy.secrets.groups import Group, Stage
from scs_deploy.secrets.issuing import Leaf, Wanted


class Certificates(Model):
    """All certificates of a region."""

    ca_pem: str
    """every trusted CA: one, or two while the CA is being exchanged. The CA that issues certificates comes first."""
    leaves: dict[str, Leaf]
    """those that servers and clients present"""
    group_pem: dict[str, str] = Field(default_factory=dict)
    """group: every CA whose certificates its members accept"""

    def leaf(self, name: str) -> Leaf:
        """A certificate by name: `<purpose>/<host>`, `api-internal`, `api-external` or `registry`.

        :raises RefusedError: no such certificate
        """
        if name not in self.leaves:
            raise RefusedError(f"certificates.yml: no certificate '{name}'", "scs secrets init")
        return self.leaves[name]

    def accepted(self, names: Iterable[str]) -> str:
        """The CAs of groups, PEM; without a group the region's.

        :raises RefusedError: no such group
        """
        wanted = list(names)
        for name in wanted:
            if name not in self.group_pem:
                raise RefusedError(f"certificates.yml: no group '{name}'", "scs secrets init")
        return "".join(self.group_pem[n] for n in wanted) or self.ca_pem


class _Store(Model):
    """The content of certificates.yml."""

    ca: Leaf
    leaves: dict[str, Leaf] = Field(default_factory=dict)
    groups: dict[str, Group] = Field(default_factory=dict)
    next_ca: Leaf | None = Field(default=None, description="trusted, but does not issue certificates yet")
    previous_ca: str | None = Field(
        default=None, description="still trusted, but no longer issues certificates; its key is deleted"
    )
    departed: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="of hosts that were removed: certificates of the region's CA, which cannot be taken back",
    )

    @property
    def bundle(self) -> str:
        """All trusted CA certificates, PEM."""
        return "".join((self.ca.cert, self.next_ca.cert if self.next_ca else "", self.previous_ca or ""))

    @property
    def presented(self) -> dict[str, Leaf]:
        """The certificates that servers and clients present."""
        old = {n: leaf for g in self.groups.values() for n, leaf in g.presented.items()}
        return self.leaves | {n: leaf for n, leaf in old.items() if n in self.leaves}

    def issuer(self, wanted: Wanted) -> Leaf | None:
        """The CA of a certificate; None: its group has none yet."""
        if not wanted.group:
            return self.ca
        group = self.groups.get(wanted.group)
        return group.ca if group else None


class Exchange(StrEnum):
    """The state of a CA exchange."""

    NONE = "none"
    TRUSTED = "both CAs are trusted, the old one issues certificates"
    ISSUED = "both CAs are trusted, the new one issues certificates"


def load(environment: Environment) -> Certificates:
    """The CA certificates and all leaf certificates.

    :raises RefusedError: certificates.yml is missing or invalid, or the vault password is missing or wrong
    """
    store = _read(environment)
    return Certificates(
        ca_pem=store.bundle, leaves=store.presented, group_pem={n: g.bundle for n, g in store.groups.items()}
    )


def stale(environment: Environment, leaves: Mapping[str, Wanted]) -> list[str]:
    """Names of the certificates that `ensure` would issue. Changes nothing.

    :raises RefusedError: certificates.yml is missing or cannot be read
    """
    return _stale(_load(environment), leaves)


def ensure(environment: Environment, leaves: Mapping[str, Wanted]) -> list[str]:
    """Issue every certificate that is missing, says something else than wanted, or expires within 30 days.

    Creates CAs that are missing (valid for 10 years), and writes the region's to ca.crt. Removes certificates that are
    not wanted any more: a group that such a host was in gets a new CA, see `advance`.

    :returns: names of the certificates issued, sorted
    :raises RefusedError: no vault password, or certificates.yml cannot be read
    """
    with vault.locked(environment):
        vault.password(environment)
        region = environment.settings.region
        present = _load(environment) if environment.certificates_file.exists() else None
        store = present or _Store(ca=issuing.new_ca(f"SCS {region} CA"))
        store = _without_strangers(_with_groups(store, leaves, region), leaves, region)
        issued = _stale(store, leaves)
        store = _reissued(store, leaves, issued)
        if store != present:
            _save(environment, store)
        _publish(environment, store)
        return issued


def issue_apart(environment: Environment, wanted: Wanted) -> Leaf:
    """A certificate of the region's CA that nothing keeps: for a server that gets a new one each time it starts.

    :raises RefusedError: certificates.yml is missing or cannot be read
    """
    return issuing.issue(_load(environment).ca, wanted)


def advance(environment: Environment) -> list[str]:
    """Take every exchange of a group's CA to its next stage, once all hosts have the last one.

    :returns: names of those groups; empty: there is no exchange
    :raises RefusedError: certificates.yml is missing or cannot be read
    """
    with vault.locked(environment):
        store = _load(environment)
        moving = sorted(n for n, g in store.groups.items() if g.stage)
        if moving:
            found = store.groups | {n: groups.following(store.groups[n]) for n in moving}
            _save(environment, store.model_copy(update={"groups": found}))
        return moving


def moving(environment: Environment) -> list[str]:
    """Names of the groups that exchange their CA.

    :raises RefusedError: certificates.yml is missing or cannot be read
    """
    return sorted(n for n, g in _read(environment).groups.items() if g.stage)


def renew(environment: Environment, leaves: Mapping[str, Wanted], names: Iterable[str]) -> list[str]:
    """Reissue certificates regardless of their expiry. Returns their names, sorted.

    :param leaves: as for `ensure`
    :param names: names of the certificates to reissue
    :raises RefusedError: no such certificate in this region, or certificates.yml cannot be read
    """
    chosen = sorted(set(names))
    check_names(chosen, leaves)
    with vault.locked(environment):
        store = _with_groups(_load(environment), leaves, environment.settings.region)
        _save(environment, _reissued(store, leaves, chosen))
    return chosen


def check_names(names: Iterable[str], leaves: Mapping[str, Wanted]) -> None:
    """Check that all names are certificates of the region.

    :raises RefusedError: names the first unknown certificate
    """
    for name in names:
        if name not in leaves:
            raise RefusedError(f"no certificate '{name}' in this region", f"available: {', '.join(sorted(leaves))}")


def exchange(environment: Environment) -> Exchange:
    """The state of the CA exchange.

    :raises RefusedError: certificates.yml is missing or cannot be read
    """
    return _exchange(_load(environment))


def trust_next(environment: Environment, leaves: Mapping[str, Wanted]) -> None:
    """Create the next CA and trust it in addition to the current one. Idempotent.

    Each group begins to exchange its own CA, too, and gets certificates of the new one; see `advance`.

    :param leaves: as for `ensure`
    :raises RefusedError: the previous CA is still trusted, or certificates.yml cannot be read
    """
    with vault.locked(environment):
        store = _load(environment)
        region = environment.settings.region
        if store.previous_ca:
            raise RefusedError(
                f"{environment.certificates_file}: the last CA exchange is not finished", "scs certs rotate --ca"
            )
        if not store.next_ca:
            found = {n: _succeeded(store, n, region) for n in store.groups}
            store = store.model_copy(update={"next_ca": issuing.new_ca(f"SCS {region} CA"), "groups": found})
            store = _reissued(store, leaves, [n for n in _stale(store, leaves) if leaves[n].group in found])
            _save(environment, store)
        _publish(environment, store)


def issue_with_next(environment: Environment, leaves: Mapping[str, Wanted]) -> list[str]:
    """Reissue every certificate of the region's CA with the next CA. Both stay trusted; the old CA's key is deleted.

    :returns: names of the certificates issued, sorted; empty if this was done before
    :raises RefusedError: no next CA exists
    """
    with vault.locked(environment):
        store = _load(environment)
        if store.previous_ca and not store.next_ca:
            return []
        if not store.next_ca:
            raise RefusedError(f"{environment.certificates_file}: no next CA", "scs certs rotate --ca")
        store = _Store(
            ca=store.next_ca,
            leaves=store.leaves,
            groups=store.groups,
            previous_ca=store.ca.cert,
            departed=store.departed,
        )
        store = _with_groups(store, leaves, environment.settings.region)
        issued = _stale(store, leaves)
        _save(environment, _reissued(store, leaves, issued))
        _publish(environment, store)
        return issued


def forget_previous(environment: Environment) -> bool:
    """Trust only the CA that issues certificates. Returns false if no previous CA was trusted.

    :raises RefusedError: certificates.yml is missing or cannot be read
    """
    with vault.locked(environment):
        store = _load(environment)
        present = store.previous_ca is not None
        store = store.model_copy(update={"previous_ca": None})
        store = store.model_copy(update={"departed": _still_accepted(store)})
        if present:
            _save(environment, store)
        _publish(environment, store)
        return present


def authorities(environment: Environment) -> list[tuple[str, str]]:
    """(role, PEM) of every trusted CA; the role is `issues`, `next` or `previous`, or the group's name.

    :raises RefusedError: certificates.yml is missing or cannot be read
    """
    store = _load(environment)
    roles = {
        "issues": store.ca.cert,
        "next": store.next_ca.cert if store.next_ca else "",
        "previous": store.previous_ca or "",
        **{name: group.ca.cert for name, group in store.groups.items()},
    }
    return [(role, pem) for role, pem in roles.items() if pem]


def departed(environment: Environment) -> list[tuple[str, str]]:
    """(name, PEM) of each certificate of a removed host that clients still accept: until it expires or the CA goes.

    :raises RefusedError: certificates.yml is missing or cannot be read
    """
    store = _read(environment)
    return [(name, pem) for name, pems in _still_accepted(store).items() for pem in pems]


def _still_accepted(store: _Store) -> dict[str, tuple[str, ...]]:
    trusted = [pem for pem in (store.ca.cert, store.next_ca.cert if store.next_ca else "", store.previous_ca) if pem]
    found = {
        name: tuple(p for p in pems if any(issuing.accepted(p, ca) for ca in trusted))
        for name, pems in store.departed.items()
    }
    return {name: pems for name, pems in found.items() if pems}


def _with_departed(store: _Store, gone: Mapping[str, Leaf]) -> _Store:
    """With the certificates of hosts that are gone, which only the region's CA can end: groups have others."""
    found = dict(store.departed)
    for name, leaf in gone.items():
        if "/" in name:
            found[name] = tuple(dict.fromkeys((*found.get(name, ()), leaf.cert)))
    return store.model_copy(update={"departed": _still_accepted(store.model_copy(update={"departed": found}))})


def _with_groups(store: _Store, leaves: Mapping[str, Wanted], region: str) -> _Store:
    """With a CA for every group. Where hosts had one certificate for everything, each group begins with those."""
    found = dict(store.groups)
    for name, members in groups.members(leaves).items():
        if name in found:
            continue
        group = Group(ca=groups.authority(name, region))
        earlier = {} if store.groups else _of_hosts(store, members)
        if earlier:
            group = Group(ca=group.ca, stage=Stage.TRUST, retiring=store.bundle, presented=earlier)
        found[name] = group
    return store.model_copy(update={"groups": dict(sorted(found.items()))})


def _of_hosts(store: _Store, members: Iterable[str]) -> dict[str, Leaf]:
    hosts = {m: m.partition("/")[2] for m in members}
    return {m: store.leaves[h] for m, h in hosts.items() if h in store.leaves}


def _without_strangers(store: _Store, leaves: Mapping[str, Wanted], region: str) -> _Store:
    """Without certificates that are not wanted. Where a group had one that is still valid, with another CA."""
    gone = {n: leaf for n, leaf in store.leaves.items() if n not in leaves}
    if not gone:
        return store
    kept = {n: leaf for n, leaf in store.leaves.items() if n in leaves}
    remaining = groups.members(leaves)
    found = {n: g for n, g in store.groups.items() if n in remaining}
    store = _with_departed(store, gone).model_copy(update={"leaves": kept, "groups": found})
    left = {groups.of(n) for n, leaf in gone.items() if not issuing.expired(leaf)}
    return store.model_copy(
        update={"groups": {n: _succeeded(store, n, region) if n in left else g for n, g in found.items()}}
    )


def _succeeded(store: _Store, name: str, region: str) -> Group:
    members = {n: leaf for n, leaf in store.leaves.items() if groups.of(n) == name}
    return groups.succeed(store.groups[name], name, region, members)


def _stale(store: _Store, leaves: Mapping[str, Wanted]) -> list[str]:
    found = []
    for name, wanted in leaves.items():
        leaf, ca = store.leaves.get(name), store.issuer(wanted)
        if leaf is None or ca is None or not issuing.good(leaf, wanted, ca):
            found.append(name)
    return sorted(found)


def _reissued(store: _Store, leaves: Mapping[str, Wanted], names: Iterable[str]) -> _Store:
    fresh = {n: issuing.issue(ca, leaves[n]) for n in names if (ca := store.issuer(leaves[n]))}
    return store.model_copy(update={"leaves": dict(sorted((store.leaves | fresh).items()))})


def _exchange(store: _Store) -> Exchange:
    if store.next_ca:
        return Exchange.TRUSTED
    return Exchange.ISSUED if store.previous_ca else Exchange.NONE


def _save(environment: Environment, store: _Store) -> None:
    plain = yaml.safe_dump(store.model_dump(mode="json", exclude_none=True), default_style="|")
    vault.save(environment, environment.certificates_file, "---\n" + plain)


def _publish(environment: Environment, store: _Store) -> None:
    file = environment.ca_file
    if not file.is_file() or file.read_text(encoding="utf-8") != store.bundle:
        vault.write(file, store.bundle, mode=0o644)


def _read(environment: Environment) -> _Store:
    file = environment.certificates_file
    return validate(_Store, parse_yaml(vault.read(environment, file), file), file)


def _load(environment: Environment) -> _Store:
    """As `_read`, and check that every certificate can be read and has its key."""
    store = _read(environment)
    parts = {"ca": store.ca, **{f"leaves.{n}": leaf for n, leaf in store.leaves.items()}}
    if store.next_ca:
        parts["next_ca"] = store.next_ca
    for name, group in store.groups.items():
        parts[f"groups.{name}.ca"] = group.ca
        parts |= {f"groups.{name}.presented.{n}": leaf for n, leaf in group.presented.items()}
    for key, leaf in parts.items():
        if wrong := issuing.damage(leaf):
            raise RefusedError(f"{environment.certificates_file}: {key}.{wrong}", "restore the file from a backup")
    return store
