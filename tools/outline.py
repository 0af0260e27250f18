# SPDX-License-Identifier: Apache-2.0
"""Describes all commands as data: what help, completion, the reference and the man page are made of."""

from __future__ import annotations

import enum
import functools
import importlib
import inspect
import types
import typing
from pathlib import Path
from typing import Any

import typer

from scs_deploy.cli._outline import HELP, Argument, Command, Option
from scs_deploy.cli._root import app as root
from scs_deploy.cli.main import COMMANDS

SAID = "Show this help and exit."


@functools.cache
def outline() -> Command:
    """The command `scs` with all others."""
    for name in COMMANDS:
        importlib.import_module(f"scs_deploy.cli.{name}").register(root)
    described = _command(typer.main.get_command(root))
    described["usage"] = "[OPTIONS]"
    return described


def _command(command: Any) -> Command:
    # a group may find its commands only when asked
    group = isinstance(command, typer.core.TyperGroup)
    names = command.list_commands(typer.Context(command)) if group else ()
    members = {name: _command(command.get_command(typer.Context(command), name)) for name in names}
    types_ = _types(command.callback)
    parameters = [p for p in command.params if not p.hidden and not set(HELP) & set(p.opts)]
    options = [p for p in parameters if p.param_type_name == "option"]
    arguments = [p for p in parameters if p.param_type_name == "argument"]
    return Command(
        help=inspect.cleandoc(command.help or "").replace("``", "`"),
        example=(command.epilog or "").removeprefix("Example: "),
        usage=command.options_metavar or "[OPTIONS]",
        arguments=[_argument(a, types_.get(a.name)) for a in arguments],
        options=[
            *(_option(o, types_.get(o.name)) for o in options),
            Option(names=list(HELP), metavar="", help=SAID, choices=[], many=False),
        ],
        commands=members,
        bare=bool(members) and bool(command.invoke_without_command),
        passes=not (command.context_settings or {}).get("allow_interspersed_args", True),
    )


def _argument(parameter: Any, hint: Any) -> Argument:
    metavar = str(parameter.metavar or parameter.name.upper().replace("_", "-"))
    return Argument(
        metavar=metavar.strip("[]"),
        help=_said(parameter),
        choices=_choices(hint),
        many=parameter.nargs == -1,
        required=bool(parameter.required),
    )


def _option(parameter: Any, hint: Any) -> Option:
    return Option(
        names=[*parameter.opts, *parameter.secondary_opts],
        metavar="" if parameter.is_flag else _metavar(parameter, hint),
        help=_said(parameter),
        choices=_choices(hint),
        many=bool(parameter.multiple),
    )


def _metavar(parameter: Any, hint: Any) -> str:
    if parameter.metavar:
        return str(parameter.metavar)
    if set(_parts(hint)) & {int, float}:
        return "NUMBER"
    if Path in _parts(hint):
        return "FILE"
    return str(parameter.name.upper().replace("_", "-"))


def _said(parameter: Any) -> str:
    """Its help, with the default that it does not mention."""
    value, said = parameter.default, parameter.help or ""
    if isinstance(value, bool) and parameter.secondary_opts:
        return f"{said} Default: {(parameter.opts if value else parameter.secondary_opts)[0]}.".strip()
    if value in (None, "") or isinstance(value, bool) or callable(value):
        return said
    return f"{said} Default: {value}.".strip()


def _choices(hint: Any) -> list[str]:
    return [str(member.value) for part in _parts(hint) if _is_enum(part) for member in part]


def _is_enum(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, enum.Enum)


def _parts(hint: Any) -> list[Any]:
    """The types in `Annotated[list[X] | None, ...]`."""
    if typing.get_origin(hint) is typing.Annotated:
        return _parts(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (types.UnionType, typing.Union, list):
        return [part for argument in typing.get_args(hint) for part in _parts(argument)]
    return [hint]


def _types(callback: Any) -> dict[str, Any]:
    """The type of each parameter of a command's function."""
    if callback is None:
        return {}
    return {p.name: p.annotation for p in inspect.signature(callback, eval_str=True).parameters.values()}
