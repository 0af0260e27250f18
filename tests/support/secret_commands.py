# SPDX-License-Identifier: Apache-2.0
"""`scs env` and `scs secrets`, as operators run them."""

from __future__ import annotations

import typer
from typer.testing import CliRunner

from scs_deploy.base.errors import ScsError
from scs_deploy.cli import env
from scs_deploy.cli import secrets as secrets_cli

app = typer.Typer()
env.register(app)
secrets_cli.register(app)


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, arguments)
    if isinstance(result.exception, ScsError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout
