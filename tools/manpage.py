# SPDX-License-Identifier: Apache-2.0
"""Writes the man page scs(1) from the outline of all commands.

Source: man(7) and groff_man_style(7), the macros TH, SH, SS, PP, TP, EX, EE.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from scs_deploy.cli import _help as terminal
from scs_deploy.cli._outline import HELP, Command, walk

NOTE = r".\" Written by `make docs`; do not edit."

FILES = {
    "environments/NAME/environment.yml": "settings of a region",
    "environments/NAME/state/": "run records, locks and keys of this manager",
    "environments/NAME/state/scs.log": "what did not end a run, e.g. a view that cannot show an event",
}


def man_page(root: Command, exit_codes: Mapping[str, str], variables: Mapping[str, str]) -> str:
    """The page in roff."""
    lines = [NOTE, '.TH SCS 1 "" "scs-deploy" "User commands"', ".SH NAME"]
    lines += [rf"scs \- {_text(_name(root))}", ".SH SYNOPSIS", rf"\fBscs\fR {_text(root['usage'])} COMMAND"]
    lines += [".SH DESCRIPTION", *_paragraphs(root["help"]), *_parameters(root, every=True), ".SH COMMANDS"]
    for path, command in walk(root):
        if not command["commands"]:
            lines += _command(path, command)
    lines += [".SH EXIT STATUS", *_tagged({code: said.replace("`", "") for code, said in exit_codes.items()})]
    lines += [".SH ENVIRONMENT", *_tagged(variables), ".SH FILES", *_tagged(FILES)]
    return "\n".join(lines) + "\n"


def _name(root: Command) -> str:
    said = root["help"].rstrip(".")
    return said[:1].lower() + said[1:]


def _command(path: tuple[str, ...], command: Command) -> list[str]:
    lines = [f".SS {_text(terminal.usage(path, command))}", *_paragraphs(command["help"]), *_parameters(command)]
    if command["example"]:
        lines += [".PP", "Example:", ".PP", ".EX", _text(command["example"]), ".EE"]
    return lines


def _parameters(command: Command, every: bool = False) -> list[str]:
    """:param every: with -h, which all commands have"""
    arguments = {a["metavar"]: terminal.explained(a) for a in command["arguments"] if terminal.explained(a)}
    said = [o for o in command["options"] if every or not set(HELP) & set(o["names"])]
    return _tagged(arguments | {terminal.spelled(o).strip(): terminal.explained(o) for o in said})


def _tagged(rows: Mapping[str, str]) -> list[str]:
    return [line for name, said in rows.items() for line in (".TP", rf"\fB{_text(name)}\fR", _text(said))]


def _paragraphs(said: str) -> list[str]:
    return [line for paragraph in said.split("\n\n") for line in (".PP", _text(paragraph))]


def _text(said: str) -> str:
    """Plain text as roff reads it: no hyphen that it may change, no control line."""
    one = " ".join(said.split()).replace("\\", r"\(rs").replace("-", r"\-").replace("'", r"\(aq")
    one = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", one).replace("`", r"\(ga")
    return rf"\&{one}" if one.startswith((".", r"\(aq")) else one
