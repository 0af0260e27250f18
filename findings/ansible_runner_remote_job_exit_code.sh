#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ansible-runner 2.4.3: the exit code of `ansible-runner process`, the last of the three commands of a remote job.
#
# Expected: as `ansible-runner run` and `ansible-runner worker`, it ends with the playbook's exit code; a result that
# breaks off is an error.
# Seen: for a playbook that fails, `run` and `worker` end with 2 and `process` with 0. It also ends with 0 for a result
# that is cut after its first events, and for one without any: then it writes neither `artifacts/rc` nor
# `artifacts/status`, and says nothing. A second job that is processed into the same folder replaces `rc` and `status`,
# while its events are added to those of the first. A caller must read `rc` in a folder of the job's own, and take a
# missing one for a failure.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ansible-runner==2.4.3 ansible-core==2.19.14
export PATH=$folder/venv/bin:$PATH
cd "$folder"
mkdir -p job/project job/inventory
cat > job/inventory/hosts.yml <<'HOSTS'
all: {hosts: {localhost: {ansible_connection: local, ansible_python_interpreter: "{{ ansible_playbook_python }}"}}}
HOSTS
for program in "false" "true"; do
  cat > "job/project/$program.yml" <<PLAY
- name: run
  hosts: all
  gather_facts: false
  tasks:
    - name: run it
      ansible.builtin.command: "$program"
PLAY
done
failures=0

# what, expected, seen
check() {
  echo "$1: $3"
  [[ $3 == "$2" ]] || failures=$((failures + 1))
}

# arguments: the exit code of a command with those arguments, its output in the file `output`
code() {
  local result=0
  "$@" > output 2> errors || result=$?
  echo "$result"
}

# the file of a job's result: events of the playbook named so
job() {
  ansible-runner transmit job --playbook "$1.yml" > transmitted
  check "worker, $1.yml" "$2" "$(code ansible-runner worker --private-data-dir "worker-$1" < transmitted)"
  mv output "$1.result"
}

check "run, false.yml" 2 "$(code ansible-runner run job --playbook false.yml)"
job false 2
job true 0
check "process, false.yml" 0 "$(code ansible-runner process both < false.result)"
check "its rc" 2 "$(cat both/artifacts/rc)"
first=$(find both/artifacts/job_events -name '*.json' | wc -l)
check "process, true.yml, the same folder" 0 "$(code ansible-runner process both < true.result)"
check "its rc" 0 "$(cat both/artifacts/rc)"
check "events of both" "$((2 * first))" "$(find both/artifacts/job_events -name '*.json' | wc -l)"
# a whole number of lines: each is a message
head --lines=4 false.result > cut.result
: > none.result
for result in cut none; do
  check "process, a result that is $result" 0 "$(code ansible-runner process "$result" < "$result.result")"
  check "its files" "job_events" "$(ls "$result/artifacts")"
done
((failures == 0)) || { echo "$failures of these changed" >&2; exit 1; }
echo "as described"
