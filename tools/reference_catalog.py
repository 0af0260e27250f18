# SPDX-License-Identifier: Apache-2.0
"""The pages of docs/reference/ that describe the shipped services: what runs, who reaches it, settings and secrets."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from reference_parts import code, codes, comments, literal, page, sentence, table

from scs_deploy.spec import catalog, service, setting, users
from scs_deploy.spec.complete import WSGI_PROCESSES_SAID
from scs_deploy.spec.container import Container, Health
from scs_deploy.spec.listener import ANYONE, MANAGER


def services_page() -> str:
    """The catalog."""
    found = catalog.load()
    intro = (
        "Every service of the catalog, in deployment order: a service comes after all that it requires. "
        "Hosts are inventory groups. All containers use the host's network; none is privileged. "
        "Keys: [service.md](service.md), settings: [settings.md](settings.md)."
    )
    body: list[str] = []
    for each in found.services.values():
        body += _service(each)
    return page("Services", intro, body)


def listeners_page() -> str:
    """Who may reach what."""
    found = catalog.load()
    intro = (
        "What the shipped services listen on, where, and who uses it. The packet filter of the hosts opens these ports "
        f"to these clients and nothing else. Clients are inventory groups, `all` hosts, `{MANAGER}`, or `{ANYONE}`; "
        "networks are those of `environment.yml`, or the two API addresses. A port of a setting is shown with its "
        "default. "
        "How to open others, and what protects what: [packet filter](../how-to/firewall.md)."
    )
    ours = [
        ("", "sshd", "tcp", "`ansible_port` (22)", "every address", "the management network, `manager`"),
        ("", "", "icmp", "", "every address", "`anyone`: echo, errors, neighbour discovery"),
    ]
    rows = [*ours, *(row for each in found.services.values() for row in _listeners(each, found))]
    return page("Listeners", intro, table(("service", "container", "protocol", "port", "network", "clients"), rows))


def _listeners(each: service.Service, found: catalog.Catalog) -> list[tuple[str, ...]]:
    balancers = codes(dict.fromkeys(g for name in found.load_balancers for g in found.services[name].hosts))
    rows: list[tuple[str, ...]] = []
    for name, container in each.containers.items():
        for one in container.listeners:
            port, network = _known(one.port, each), _known(one.network, each)
            rows.append((code(each.name), code(name), one.protocol, port, network, codes(one.clients or ())))
    for endpoint in each.endpoints.values():
        names = (code(each.name), code(each.listens(endpoint)), "tcp")
        rows.append((*names, str(endpoint.process_port), "`management`", balancers))
        if endpoint.loopback:
            rows.append((*names, str(endpoint.process_port), "`loopback`", ""))
        ingress = (code(each.name), "the ingress of its host", "tcp")
        rows += [(*ingress, str(port), "`management`", balancers) for port in endpoint.ingresses]
        if endpoint.health_port:
            rows.append((*names, str(endpoint.health_port), "`management`", balancers))
        front, clients = ("", "the load balancer", "tcp", str(endpoint.port)), codes((*endpoint.clients, MANAGER))
        rows.append((*front, "`internal`", clients))
        if endpoint.public:
            rows.append((*front, "`external`", code(ANYONE)))
    return rows


def _known(text: str, each: service.Service) -> str:
    """A port or network, or the setting that has it."""
    if "{" not in text:
        return text if text[:1].isdigit() else code(text)
    for name in re.findall(r"settings\.(\w+)", text):
        if isinstance(number := each.settings[name].default, int) and not isinstance(number, bool):
            return f"{code(name)} ({number})"
    numbers = re.findall(r"\b\d{2,5}\b", text)
    return numbers[0] if numbers else codes(re.findall(r"settings\.(\w+)", text))


def _service(each: service.Service) -> list[str]:
    facts = [("layer", code(each.layer)), ("hosts", codes(each.hosts)), ("requires", codes(each.requires))]
    facts += [("databases", codes(each.databases)), ("secrets", codes(each.all_secrets))]
    facts += [("message broker", "own user and vhost" if each.messaging else "")]
    facts += [("Keystone", "own account in project `service`" if each.account else "")]
    facts += [("settings", f"[{len(each.settings)}](settings.md#{each.name})" if each.settings else "")]
    lines = [f"## {each.name}", "", f"{each.description}.", ""]
    lines += [f"- {name}: {text}" for name, text in facts if text] + [""]
    containers = [
        (code(n), code(c.image or each.name), _user(c.user), codes(c.hosts or ()), codes(f.name for f in c.config),
         _privileges(c), _health(c.health), each.impact_of(n).value)
        for n, c in each.containers.items()
    ]  # fmt: skip
    head = ("container", "image", "user", "other hosts", "files", "privileges", "healthy when", "impact")
    lines += table(head, containers)
    if each.endpoints:
        endpoints = [
            (code(n), str(e.port), e.protocol, "internal and external" if e.public else "internal", code(e.path),
             "yes" if e.catalogue else "no", f"{code(e.health_path)} answers" if e.health_path else "port accepts")
            for n, e in each.endpoints.items()
        ]  # fmt: skip
        lines += table(("endpoint", "port", "protocol", "address", "path", "in catalogue", "HAProxy asks"), endpoints)
    if each.jobs:
        jobs = [
            (code(n), j.phase.value, code(j.container), f"once per {'release' if j.restart else j.each}",
             code(_short(j.command)) if j.command else f"restarts {codes(j.restart)}")
            for n, j in each.jobs.items()
        ]  # fmt: skip
        lines += table(("job", "phase", "in", "runs", "command"), jobs)
    return lines


def _user(name: str) -> str:
    ids = users.load()
    return f"{name} ({ids[name].uid})" if name in ids else name


def _privileges(container: Container) -> str:
    kept = codes(sorted(container.cap_add)) or ("no capability" if "ALL" in container.cap_drop else "Docker's default")
    more = [f"{key}: host" for key in ("pid", "cgroupns") if getattr(container, key)]
    return "; ".join([kept, *more, *(f"`{o}`" for o in container.security_opt)])


def _health(health: Health | None) -> str:
    if health is None:
        return "it runs"
    if health.http is not None:
        return f"`GET {health.http}` answers"
    return f"port {health.tcp} accepts" if health.tcp else f"{code(_short(health.command or ()))} exits 0"


def _short(command: Sequence[str], most: int = 90) -> str:
    text = sentence(shlex.join(command)).replace("`", "'")
    return text if len(text) <= most else f"{text[: most - 3]}..."


def settings_page() -> str:
    """Every operator variable."""
    intro = (
        "Variables that services read. Set them in the inventory (`group_vars`, `host_vars`; Ansible's precedence); a "
        "name that neither a service nor a role of [hosts.md](hosts.md) declares is refused. For single options of a "
        "configuration file see [how to override one](../how-to/override-config.md)."
    )
    body = []
    for each in catalog.load().services.values():
        if each.settings:
            said = comments((each.directory / "service.yml").read_text(encoding="utf-8"), "settings")
            rows = [
                (code(n), setting.TYPES[s.type][0], _allowed(s), code(literal(s.default)),
                 said.get(n, WSGI_PROCESSES_SAID))
                for n, s in each.settings.items()
            ]  # fmt: skip
            head = ("variable", "value", "allowed", "default", "what it means")
            body += [f"## {each.name}", "", *table(head, rows)]
    return page("Settings of services", intro, body)


def _allowed(each: setting.Setting) -> str:
    if each.choices:
        return codes(each.choices)
    return f"matches {code(each.pattern)}" if each.pattern is not None else each.allowed


def secrets_page() -> str:
    """Every secret, and who needs it."""
    intro = (
        "`scs secrets init` makes every secret that is missing. Services declare some; the passwords of accounts in "
        "the database, the message broker and Keystone follow from `databases`, `messaging` and `account`. "
        "See [how to keep and rotate them](../how-to/secrets.md): what the old value is worth while "
        "`scs secrets rotate` brings the new one."
    )
    rows = [
        (code(name), code(each.name), "declared" if name in each.secrets else "derived", each.how_to_rotate(name))
        for each in catalog.load().services.values()
        for name in each.all_secrets
    ]
    return page("Secrets", intro, table(("secret", "service", "origin", "rotation"), sorted(rows)))
