# SPDX-License-Identifier: Apache-2.0
"""Compare a container in Docker with its definition, field by field."""

from __future__ import annotations

from typing import Any

from scs_deploy.desired.model import RunContainer
from scs_deploy.observed.model import ObservedContainer


def container_differences(desired: RunContainer, seen: ObservedContainer, images: dict[str, str]) -> list[str]:
    """The reasons to replace a container; empty if it matches its definition. Its files are compared elsewhere.

    :param images: of the node; repository@digest: image id
    """
    reasons = []
    if images.get(desired.image) != seen.image_id:
        reasons.append(f"image {_short(seen.image or seen.image_id)} -> {_short(desired.image)}")
    body = desired.body
    reasons += [
        f"{name} {_value(getattr(seen, key))} -> {_value(body[key])}"
        for key, name in _NAMES.items()
        if getattr(seen, key) != body[key]
    ]
    missing = [e for e in body["Env"] if e not in seen.Env]
    if missing:
        reasons.append(f"environment {', '.join(e.partition('=')[0] for e in missing)}")
    if (body.get("Healthcheck") or {}).get("Test") != (seen.Healthcheck or {}).get("Test"):
        reasons.append("health check")
    host = body["HostConfig"]
    for key, name in _HOST.items():
        want, have = _normal(key, host.get(key)), _normal(key, seen.HostConfig.get(key))
        if want != have and not (key == "CgroupnsMode" and not want):
            reasons.append(f"{name} {_difference(have, want)}")
    if not reasons and seen.Labels.get("scs.spec") != body["Labels"]["scs.spec"]:
        reasons.append("definition")
    return reasons


_NAMES = {"Cmd": "command", "User": "user", "StopSignal": "stop signal", "StopTimeout": "stop timeout"}
_HOST = {
    "NetworkMode": "network",
    "Binds": "mounts",
    "Tmpfs": "tmpfs",
    "CapAdd": "capabilities",
    "CapDrop": "dropped capabilities",
    "GroupAdd": "groups",
    "SecurityOpt": "security options",
    "PidMode": "pid namespace",
    "CgroupnsMode": "cgroup namespace",
    "Devices": "devices",
    "RestartPolicy": "restart policy",
    "CpuShares": "processor shares",
    "Privileged": "privileged",
    "ReadonlyRootfs": "read-only file system",
}


def _normal(key: str, value: Any) -> Any:
    if key in ("CapAdd", "CapDrop"):
        return frozenset(str(c).removeprefix("CAP_") for c in value or ())
    if key == "SecurityOpt":
        # the engine itself adds label=disable if a namespace is the host's
        return frozenset(str(o) for o in value or () if o != "label=disable")
    if key in ("Binds", "GroupAdd"):
        return frozenset(value or ())
    if key == "Devices":
        return frozenset(d["PathOnHost"] for d in value or ())
    if key == "RestartPolicy":
        return (value or {}).get("Name", "")
    if key == "Tmpfs":
        return value or {}
    return value or ""


def _difference(have: Any, want: Any) -> str:
    if isinstance(have, frozenset):
        removed, added = sorted(have - want), sorted(want - have)
        return " ".join([*(f"-{r}" for r in removed), *(f"+{a}" for a in added)])
    return f"{_value(have) or 'default'} -> {_value(want) or 'default'}"


def _value(value: Any) -> str:
    text = " ".join(value) if isinstance(value, (list, tuple)) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _short(reference: str) -> str:
    _, at, digest = reference.rpartition("sha256:")
    return f"sha256:{digest[:8]}" if at else reference
