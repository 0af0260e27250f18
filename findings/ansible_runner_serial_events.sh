#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ansible-runner 2.4.3 with ansible-core 2.19.14: events of a play with `serial`.
#
# Expected: each batch starts the play with one and the same play_uuid, and a task's parent is always its play.
# Seen: the first batch has the play's uuid; each later batch has it with a suffix (`_2`, `_3`), while the uuids of
# tasks stay the same. A view that looks a play up by its uuid loses every batch but the first. And from the second
# batch on, the parent_uuid of `playbook_on_task_start` is the task's own uuid: walking from an event up to its play
# never ends there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ansible-runner==2.4.3 ansible-core==2.19.14
mkdir -p "$folder/run/project"
cat > "$folder/run/project/play.yml" <<'PLAY'
- name: rolling
  hosts: all
  gather_facts: false
  connection: local
  serial: 1
  tasks:
    - name: look
      ansible.builtin.debug: {msg: ok}
PLAY
cat > "$folder/check.py" <<'CHECK'
import sys

import ansible_runner

events = []
hosts = {"all": {"hosts": {name: {} for name in "abc"}}}
ansible_runner.run(
    private_data_dir=sys.argv[1], playbook="play.yml", inventory=hosts, quiet=True,
    event_handler=lambda event: events.append(event) or True,
)
starts = [e for e in events if e["event"] == "playbook_on_play_start"]
tasks = [e for e in events if e["event"] == "playbook_on_task_start"]
first = starts[0]["event_data"]["play_uuid"]
for start, task in zip(starts, tasks):
    print("play_uuid", start["event_data"]["play_uuid"].replace(first, "PLAY"),
          "| parent of the task:", "its play" if task["parent_uuid"] == start["uuid"] else
          "itself" if task["parent_uuid"] == task["event_data"]["task_uuid"] else "something else")
assert [s["event_data"]["play_uuid"] for s in starts] == [first, f"{first}_2", f"{first}_3"], "play uuids"
assert len({t["event_data"]["task_uuid"] for t in tasks}) == 1, "task uuids"
assert tasks[0]["parent_uuid"] == starts[0]["uuid"], "first batch"
assert all(t["parent_uuid"] == t["event_data"]["task_uuid"] for t in tasks[1:]), "later batches"
CHECK
PATH=$folder/venv/bin:$PATH "$folder/venv/bin/python" "$folder/check.py" "$folder/run"
echo "as described"
