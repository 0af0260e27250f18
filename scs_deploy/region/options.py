# SPDX-License-Identifier: Apache-2.0
"""Options in the operator's overrides that their services do not read, or will not read for long.

An override file is checked if every image that reads it has a list of options. Its option is known if one of them reads
it: `global.conf` is for all services.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from scs_deploy.base import ini
from scs_deploy.base.errors import RefusedError
from scs_deploy.base.plural import counted
from scs_deploy.environment import option_lists
from scs_deploy.environment.environment import UnknownOptions
from scs_deploy.environment.option_lists import OptionList
from scs_deploy.environment.overrides import file_format
from scs_deploy.region import policies
from scs_deploy.region.problem import OptionProblem
from scs_deploy.region.region import Region
from scs_deploy.spec.container import Container
from scs_deploy.spec.sources import source

SIMILAR = 0.8
"""A section that resembles a known one this much (difflib's ratio) is taken for a typing error."""


@dataclass
class Readers:
    """Who reads an override file."""

    services: set[str] = field(default_factory=set)
    images: set[str] = field(default_factory=set)
    texts: set[Path] = field(default_factory=set)
    """the templates and overrides of the same containers, which may name further sections"""


def lists(region: Region) -> dict[str, OptionList]:
    """The options of each locked image that has a list.

    :raises RefusedError: the lock or the lists have an error
    """
    environment = region.environment
    if not environment.lock_file.is_file():
        return {}
    return option_lists.load(environment.options_file).matching(region.lock)


def check(region: Region, strict: bool = True) -> list[str]:
    """Warnings about options in overrides.

    :param strict: false: an unknown option is a warning, whatever the environment says
    :raises RefusedError: an option is unknown, and the environment refuses those
    """
    found = problems(region)
    wrong = refused(region, found)
    if wrong and strict:
        more = f"; {counted(len(wrong) - 1, 'more problem')}: scs env check" if len(wrong) > 1 else ""
        raise RefusedError(f"{wrong[0].where}: {wrong[0].what}", f"{wrong[0].hint}{more}")
    return [str(p) for p in found]


def refused(region: Region, found: Iterable[OptionProblem]) -> list[OptionProblem]:
    """Those of some problems that the environment refuses; the others are warnings."""
    refuses = region.environment.settings.unknown_options is UnknownOptions.REFUSE
    return [p for p in found if p.unknown and refuses]


def problems(region: Region, earlier: Mapping[str, OptionList] | None = None) -> list[OptionProblem]:
    """Unknown, renamed and dying options of all overrides, and unknown rules of policies, by file and line.

    :param earlier: the lists of the release before, so that removed options are told from unknown ones
    """
    if not region.overrides.files or not (known := lists(region)):
        return []
    found: list[OptionProblem] = []
    for path, readers in sorted(_readers(region).items()):
        if readers.images <= known.keys():
            images = sorted(readers.images)
            found += _of_file(
                path,
                _Known(
                    who=", ".join(sorted(readers.services)),
                    now=tuple(known[i] for i in images),
                    before=tuple(earlier[i] for i in images if earlier and i in earlier),
                    named="\n".join(p.read_text(encoding="utf-8") for p in readers.texts),
                ),
            )
    return [*found, *policies.problems(region, known)]


def _readers(region: Region) -> dict[Path, Readers]:
    result: dict[Path, Readers] = {}
    for service in region.catalog.services.values():
        if service.layer != "openstack":
            continue
        for name, spec in service.containers.items():
            hosts = region.hosts_of(service.name, name)
            files = [f.name for f in spec.config if file_format(f.name, f.format) == "ini" and _is_oslo(spec, f.name)]
            layers = {
                path
                for file in files
                for host in hosts
                for path in region.overrides.layers(service.layer, service.name, name, host.name, file, "ini")
            }
            for path in layers:
                readers = result.setdefault(path, Readers())
                readers.services.add(service.name)
                readers.images.add(spec.image or service.name)
                readers.texts |= {*layers, *(source(service, name, file) for file in files)}
    return result


def _is_oslo(spec: Container, file: str) -> bool:
    """Whether oslo.config reads the file. Other .ini files belong to uWSGI and PasteDeploy."""
    words = " ".join((*spec.command, spec.wsgi.arguments if spec.wsgi else ""))
    return file.endswith(".conf") or re.search(rf"--config-file[ =]\S*/{re.escape(file)}( |$)", words) is not None


@dataclass(frozen=True)
class _Known:
    """What the images that read a file know, and knew in the release before."""

    who: str
    now: tuple[OptionList, ...]
    before: tuple[OptionList, ...]
    named: str
    """text that may name sections and options which the lists cannot contain, e.g. `enabled_backends = fast`"""

    def has_section(self, section: str) -> bool:
        return any(o.section(section) is not None for o in self.now)

    def mentions(self, name: str) -> bool:
        """Whether the name occurs other than as the section or key itself."""
        return re.search(rf"(?m)^[^#;\n].*(?<![\[\w]){re.escape(name)}(?![\]\w])", self.named) is not None


def _of_file(path: Path, known: _Known) -> Iterator[OptionProblem]:
    for line, section, key in ini.places(path.read_text(encoding="utf-8")):
        found = _of_option(section, key, known) if key else _of_section(section, known)
        if found:
            name = f"[{section}] {key}".rstrip()
            yield OptionProblem(f"{path}:{line}", f"{name}: {found.what}", found.hint, found.unknown)


class _Fault(NamedTuple):
    what: str
    hint: str
    unknown: bool


def _of_section(section: str, known: _Known) -> _Fault | None:
    """A typing error in a section's name. Any other unlisted section may be one that an option or a plugin names."""
    if known.has_section(section) or known.mentions(section):
        return None
    close = _close(section, (s for o in known.now for s in o.options))
    return _Fault(f"{known.who} has no such section", f"did you mean [{close}]?", True) if close else None


def _of_option(section: str, key: str, known: _Known) -> _Fault | None:
    reading = [(o, s) for o in known.now if (s := o.section(section)) and key in o.options.get(s, ())]
    if reading:
        reasons = [o.removal.get(s, {}).get(key) for o, s in reading]
        reason = next((r for r in reasons if r is not None), None)
        return None if None in reasons or reason is None else _Fault("a later release removes it", reason, False)
    if new := _new_name(section, key, known.now):
        return _Fault(f"is now {new}", "the former name is read for now", False)
    if known.mentions(key):
        return None
    if _reads(section, key, known.before):
        why = _new_name(section, key, known.before) or _reason(section, key, known.before)
        return _Fault(f"{known.who} of the new release has no such option any more", why or "remove it", True)
    if known.has_section(section):
        return _Fault(f"{known.who} has no such option", _suggestion(section, key, known.now), True)
    return None


def _reads(section: str, key: str, known: Iterable[OptionList]) -> bool:
    return any(key in o.options.get(s, ()) or key in o.renamed.get(s, {}) for o in known if (s := o.section(section)))


def _new_name(section: str, key: str, known: Iterable[OptionList]) -> str:
    names = (o.renamed.get(s, {}).get(key, "") for o in known if (s := o.section(section)))
    return next(filter(None, names), "")


def _reason(section: str, key: str, known: Iterable[OptionList]) -> str:
    reasons = (o.removal.get(s, {}).get(key, "") for o in known if (s := o.section(section)))
    return next(filter(None, reasons), "")


def _suggestion(section: str, key: str, known: Iterable[OptionList]) -> str:
    known = tuple(known)
    near = {n for o in known if (s := o.section(section)) for n in (*o.options.get(s, ()), *o.renamed.get(s, {}))}
    if close := difflib.get_close_matches(key.replace("-", "_"), sorted(near), n=1, cutoff=0.7):
        return f"did you mean {close[0]}?"
    elsewhere = sorted({s for o in known for s, names in o.options.items() if key in names})
    if len(elsewhere) == 1:
        return f"did you mean [{elsewhere[0]}] {key}?"
    return "remove it; for an option of a plugin set `unknown_options: warn` in environment.yml"


def _close(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, sorted(set(known)), n=1, cutoff=SIMILAR)
    return close[0] if close else ""
