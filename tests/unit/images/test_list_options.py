# SPDX-License-Identifier: Apache-2.0
"""The program that lists the options of an image's services, run on the packages of this Python."""

from __future__ import annotations

import subprocess
import sys

from scs_deploy.environment import option_lists
from scs_deploy.images import options


def listed(python: str) -> subprocess.CompletedProcess[str]:
    script = options.LIST.replace("python3", python)
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)


def test_it_lists_what_oslo_configs_generator_knows() -> None:
    found = options.parse(listed(sys.executable).stdout)
    assert found
    # oslo.log's, of the virtual environment
    assert {"debug", "log_dir", "use_syslog"} <= set(found.options["DEFAULT"])
    assert found.renamed["DEFAULT"]["logdir"] == "[DEFAULT] log_dir"


def test_an_image_without_openstack_or_without_python_has_none() -> None:
    assert options.parse(listed("/nonexistent/python").stdout) is None
    assert option_lists.NONE.images == {}
