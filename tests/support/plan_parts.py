# SPDX-License-Identifier: Apache-2.0
"""A host with one service, `web`: what it shall have, and what is seen of it."""

from __future__ import annotations

import hashlib
from typing import Any

from scs_deploy.desired.model import DesiredHost, File, RunContainer, RunJob
from scs_deploy.observed.model import Observed, ObservedContainer
from scs_deploy.spec.container import Impact
from scs_deploy.spec.release import Lock, LockedImage

DIGEST = "sha256:" + "a" * 64
IMAGE = f"reg:5000/scs/web@{DIGEST}"
LOCK = Lock(release="r", images={"web": LockedImage(reference="scs/web", digest=DIGEST, size=10**9)})
TEXT = "[web]\nport = 80\n"


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def body(**changes: Any) -> dict[str, Any]:
    host = {
        "NetworkMode": "host",
        "Binds": ["/etc/scs/web/web.conf:/etc/web/web.conf:ro"],
        "Tmpfs": {},
        "CapAdd": ["NET_RAW"],
        "CapDrop": ["ALL"],
        "SecurityOpt": [],
        "PidMode": "",
        "CgroupnsMode": "private",
        "Devices": [],
        "RestartPolicy": {"Name": "unless-stopped"},
        "Privileged": False,
    }
    return {
        "Image": IMAGE,
        "Cmd": ["web"],
        "User": "web",
        "Env": ["A=1"],
        "Labels": {"scs.spec": "s1"},
        "StopSignal": "SIGTERM",
        "StopTimeout": 30,
        "HostConfig": host,
        **changes,
    }


def container(**changes: Any) -> RunContainer:
    values: dict[str, Any] = {
        "name": "web",
        "service": "web",
        "image": IMAGE,
        "body": body(),
        "files": ("/etc/scs/web/web.conf",),
        "health": None,
        "reload": None,
        "volumes": {},
        "directories": {},
        "address": "10.0.0.1",
        "ports": (80,),
        "impact": Impact.API,
        **changes,
    }
    return RunContainer(**values)


def desired(run: RunContainer | None = None, jobs: tuple[RunJob, ...] = ()) -> DesiredHost:
    file = File(
        path="/etc/scs/web/web.conf",
        content=TEXT,
        sha256=sha(TEXT),
        mode="0640",
        uid=0,
        gid=7,
        service="web",
        container="web",
        name="web.conf",
        format="ini",
    )
    return DesiredHost(
        host="n1", containers={"web": run or container()}, files={file.path: file}, jobs={j.name: j for j in jobs}
    )


def seen(**changes: Any) -> ObservedContainer:
    right = body()
    host = {**right["HostConfig"], "CapAdd": ["CAP_NET_RAW"]}
    values: dict[str, Any] = {
        "managed": True,
        "image_id": "sha256:id",
        "image": IMAGE,
        "Cmd": ["web"],
        "User": "web",
        "Env": ["PATH=/bin", "A=1"],
        "Labels": {"scs.spec": "s1", "scs.service": "web"},
        "StopSignal": "SIGTERM",
        "StopTimeout": 30,
        "HostConfig": host,
        "status": "running",
        "exit_code": 0,
        "started": "1970-01-01T00:01:40.5Z",
        **changes,
    }
    return ObservedContainer(**values)


def observed(run: ObservedContainer | None, **changes: Any) -> Observed:
    values: dict[str, Any] = {
        "files": {"/etc/scs/web/web.conf": (sha(TEXT), "0640", 0, 7, 50.0)},
        "containers": {"web": run} if run else {},
        "images": {IMAGE: "sha256:id"},
        "free": 10**12,
        **changes,
    }
    return Observed(**values)
