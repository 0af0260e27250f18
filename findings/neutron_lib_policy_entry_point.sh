#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# neutron-lib 5.0.1 with oslo.policy 6.0.1: the policy rules that neutron-lib declares.
#
# Expected: the entry points `neutron_lib` of `oslo.policy.policies` and `oslo.policy.enforcer` name functions of the
# package, and oslopolicy-sample-generator lists its rules.
# Seen: both name the module `neutron_lib._policy`, which the package does not contain; the rules are in
# `neutron_lib.policy`. The generator ends with ModuleNotFoundError, and so does every program that loads all entry
# points of the group, on each host that has Neutron: it has to go on without this one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet neutron-lib==5.0.1 oslo.policy==6.0.1
cat > "$folder/check.py" <<'CHECK'
import importlib.metadata
import importlib.util

seen = {
    group: [p.value for p in importlib.metadata.entry_points(group=group) if p.name == "neutron_lib"]
    for group in ("oslo.policy.policies", "oslo.policy.enforcer")
}
print(seen)
assert seen == {
    "oslo.policy.policies": ["neutron_lib._policy:list_rules"],
    "oslo.policy.enforcer": ["neutron_lib._policy:get_enforcer"],
}
assert importlib.util.find_spec("neutron_lib._policy") is None
assert importlib.util.find_spec("neutron_lib.policy") is not None
CHECK
"$folder/venv/bin/python" "$folder/check.py"
if "$folder/venv/bin/oslopolicy-sample-generator" --namespace neutron_lib > "$folder/output" 2>&1; then
  echo "the generator lists its rules now" >&2
  exit 1
fi
tail --lines=1 "$folder/output"
grep --quiet "ModuleNotFoundError: No module named 'neutron_lib._policy'" "$folder/output"
echo "as described"
