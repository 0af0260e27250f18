#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Runs one-shot containers until they exit, and records each success."""

DOCUMENTATION = r"""
module: jobs
short_description: Run one-shot containers
description:
  - Jobs of one service run in order; jobs of different services run in parallel.
  - Records each success in /var/lib/scs/jobs, so that an unchanged job does not run again.
options:
  jobs:
    description: Names C(service.job). The action plugin adds the rest.
    type: list
    elements: dict
    default: []
  record:
    description: Hashes by name of jobs that succeeded on another host of their cluster.
    type: dict
    default: {}
  trial:
    description: Do not record a success; the caller only needs the result.
    type: bool
    default: false
author: SCS deploy contributors
"""
EXAMPLES = r"""
- name: Migrate
  scs.core.jobs:
    jobs: [keystone.db_expand]
"""
RETURN = r"""
done:
  description: Jobs that ran, with their seconds.
  type: dict
  returned: always
"""

import fcntl
import json
import os
import threading
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.scs.core.plugins.module_utils import share
from ansible_collections.scs.core.plugins.module_utils.engine import (
    Engine,
    EngineError,
    ensure_directory,
    ensure_volume_all,
)

RECORDS, LOCK = "/var/lib/scs/jobs", "/run/scs-engine.lock"
KEPT = 30
"""Number of successes of a job to keep."""


def run_job(engine: Engine, job: dict[str, Any], trial: bool) -> float:
    """Run one job; returns its duration in seconds.

    :raises EngineError: its exit code is not 0; with the end of its output
    """
    began = time.monotonic()
    name = "job_" + job["name"].replace(".", "_")
    for path, (uid, gid) in job["directories"].items():
        ensure_directory(path, uid, gid)
    ensure_volume_all(engine, job["volumes"])
    engine.remove(name)
    engine.create(name, job["body"])
    try:
        engine.start(name)
        share.give(engine.pid(name), share.LITTLE)
        code = engine.wait(name, job["timeout"])
        if code:
            text = " | ".join(line.strip() for line in engine.logs(name, 12).splitlines() if line.strip())
            raise EngineError(f"job {job['name']} ended with {code}: {text[-900:]}")
    finally:
        engine.remove(name)
    seconds = time.monotonic() - began
    if not trial:
        record(job["name"], {"hash": job["hash"], "seconds": round(seconds, 1)})
    return seconds


def record(name: str, success: dict[str, Any]) -> None:
    """Record a job's success durably.

    `succeeded` has the hashes of all successes, in the order of the first one of each: the schema changes of a later
    image remain when an earlier image returns.
    """
    os.makedirs(RECORDS, exist_ok=True)
    before = succeeded(name)
    success["succeeded"] = (before if success["hash"] in before else [*before, success["hash"]])[-KEPT:]
    temporary = os.path.join(RECORDS, f".{name}")
    with open(temporary, "w") as stream:
        json.dump(success, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, os.path.join(RECORDS, name))


def succeeded(name: str) -> list[str]:
    """Hashes of a job's successes. A record of an earlier scs has only the last one."""
    try:
        with open(os.path.join(RECORDS, name)) as stream:
            success = json.load(stream)
        return [str(h) for h in success.get("succeeded") or [success["hash"]]]
    except (OSError, ValueError, KeyError, AttributeError):
        return []


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        {
            "jobs": {"type": "list", "elements": "dict", "default": []},
            "record": {"type": "dict", "default": {}},
            "trial": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    jobs, records = module.params["jobs"], module.params["record"]
    if module.check_mode:
        module.exit_json(changed=bool(jobs or records), done={j["name"]: 0 for j in jobs})
    for name, job_hash in records.items():
        record(name, {"hash": job_hash, "seconds": 0})
    chains: dict[str, list[dict[str, Any]]] = {}
    for job in jobs:
        chains.setdefault(job["name"].partition(".")[0], []).append(job)
    trial = module.params["trial"]
    done: dict[str, float] = {}
    failed: list[str] = []

    def chain(members: list[dict[str, Any]]) -> None:
        try:
            for job in members:
                done[job["name"]] = round(run_job(Engine(), job, trial), 1)
        except (EngineError, OSError) as error:
            failed.append(str(error))
        except Exception as error:  # noqa: BLE001 - a thread that breaks is no success of its jobs
            failed.append("%s: %s: %s" % (members[0]["name"], type(error).__name__, error))

    with open(LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        threads = [threading.Thread(target=chain, args=(m,)) for m in chains.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if missing := [j["name"] for j in jobs if j["name"] not in done]:
        module.fail_json(msg="; ".join(failed) or "did not end: " + ", ".join(missing), done=done)
    module.exit_json(changed=bool((done and not trial) or records), done=done)


if __name__ == "__main__":
    main()
