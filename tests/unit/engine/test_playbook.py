# SPDX-License-Identifier: Apache-2.0
"""The playbook holds what changes, and nothing else."""

from __future__ import annotations

from typing import Any

from scs_deploy.engine import playbook
from scs_deploy.plan.change import REGION, Change, Kind, Shared, SharedObject
from scs_deploy.plan.region import Plan
from scs_deploy.plan.rolling import Rolling
from scs_deploy.spec.container import Impact
from scs_deploy.spec.job import Phase


def change(host: str, service: str, kind: Kind, phase: Phase, subject: str = "") -> Change:
    return Change(
        kind=kind, service=service, host=host, subject=subject or service, reason="r", phase=phase, impact=Impact.API
    )


def rendered(plan: Plan, waves: dict[str, int], rolling: Rolling = Rolling()) -> list[dict[str, Any]]:
    """The plays as Ansible gets them."""
    return playbook.render(playbook.plays(plan, waves, rolling))


def test_nothing_to_change_is_no_play() -> None:
    assert rendered(Plan(changes=()), {}) == []


def test_hosts_with_the_same_changes_share_a_play_with_one_task() -> None:
    both = tuple(change(h, "web", Kind.CREATE, Phase.ROLL, c) for h in ("n1", "n2") for c in ("web_api", "web_worker"))
    plays = rendered(Plan(changes=both), {"web": 0})
    assert [(p["name"], p["hosts"]) for p in plays] == [("roll: web", "n1,n2")]
    assert plays[0]["tasks"] == [
        {
            "name": "Create web_api, web_worker",
            "scs.core.containers": {
                "actions": [
                    {"action": "create", "container": "web_api"},
                    {"action": "create", "container": "web_worker"},
                ]
            },
        }
    ]
    assert "serial" not in plays[0]


def test_the_other_hosts_of_a_cluster_record_its_jobs() -> None:
    job = change("n1", "web", Kind.JOB, Phase.MIGRATE, "web.sync").model_copy(update={"witnesses": ("n2", "n3")})
    plays = rendered(Plan(changes=(job,)), {"web": 0})
    assert [(p["hosts"], p["tasks"][0]["scs.core.jobs"]) for p in plays] == [
        ("n1", {"jobs": ["web.sync"]}),
        ("n2,n3", {"record": ["web.sync"]}),
    ]


def test_what_interrupts_goes_host_by_host_and_stops_on_failure() -> None:
    plays = rendered(Plan(changes=tuple(change(h, "web", Kind.RESTART, Phase.ROLL) for h in ("n1", "n2"))), {"web": 0})
    assert (plays[0]["serial"], plays[0]["max_fail_percentage"]) == (1, 0)


def test_only_so_many_hosts_pull_at_once() -> None:
    plan = Plan(
        changes=(
            *(change(h, "db", Kind.PULL, Phase.PULL) for h in ("n1", "n2", "n3")),
            *(change(h, "db", Kind.CREATE, Phase.ROLL) for h in ("n1", "n2", "n3")),
        )
    )
    pull, create = rendered(plan, {"db": 0}, Rolling(pulls=2))
    assert pull["hosts"] == "n1,n2,n3"
    assert pull["tasks"][0]["throttle"] == 2
    assert "throttle" not in create["tasks"][0]
    # a limit above their number is none
    assert "throttle" not in rendered(plan, {"db": 0}, Rolling(pulls=3))[0]["tasks"][0]


def test_waves_and_phases_stay_apart_and_the_region_comes_before_the_hosts() -> None:
    plan = Plan(
        changes=(
            change("n1", "db", Kind.PULL, Phase.PULL),
            change("n1", "web", Kind.PULL, Phase.PULL),
            change("n1", "db", Kind.CREATE, Phase.ROLL),
            change(REGION, "web", Kind.DATABASE, Phase.DATABASE, "mariadb schema web").model_copy(
                update={"shared": SharedObject(server="mariadb", kind=Shared.SCHEMA, name="web")}
            ),
            change("n1", "web", Kind.JOB, Phase.MIGRATE, "web.sync"),
            change("n1", "web", Kind.CREATE, Phase.ROLL),
        )
    )
    plays = rendered(plan, {"db": 0, "web": 1})
    assert [p["name"] for p in plays] == ["pull: db, web", "roll: db", "database: web", "migrate: web", "roll: web"]
    assert plays[2]["hosts"] == "localhost"
    assert plays[2]["tasks"][0]["scs.core.shared"] == {
        "kind": "database", "servers": ["mariadb"], "subjects": ["mariadb schema web"],
    }  # fmt: skip
