#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Creates or repairs the administrator, its roles and the Identity entry of the catalogue.

keystone-manage reads the password only from a variable. It is set in the running process, so that neither the
arguments nor the environment in /proc contain it.
"""

import os
import sys
from pathlib import Path

from keystone.cmd.manage import main

if __name__ == "__main__":
    password = Path("/etc/keystone/admin_password").read_text(encoding="utf-8")
    os.environ["OS_BOOTSTRAP_PASSWORD"] = password.removesuffix("\n")
    names = [f"--bootstrap-{what}=admin" for what in ("username", "project-name", "role-name")]
    sys.argv = ["keystone-manage", "bootstrap", *names, *sys.argv[1:]]
    sys.exit(main())
