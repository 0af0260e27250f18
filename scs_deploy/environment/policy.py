# SPDX-License-Identifier: Apache-2.0
"""Policy overrides: a mapping of rules to who may do them, read as oslo.policy reads it, but for what it lets pass.

oslo.policy takes a rule that it cannot parse for one that nobody meets, and an empty value, such as an unquoted `!`,
for one that everybody meets. Both are refused here.
Source: https://docs.openstack.org/oslo.policy/latest/reference/api/oslo_policy.policy.html
"""

from __future__ import annotations

from collections.abc import Iterator

import yaml

FORMAT = "policy"
_WORDS = ("and", "or", "not", "(", ")")


class PolicyError(ValueError):
    """A policy that its reader would take for another one.

    :param line: in the file, from 1
    """

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line
        self.what = what


def parse(text: str) -> dict[str, str]:
    """Rule: who may do it.

    :raises PolicyError: not a mapping of text to text, a rule twice, or a rule that does not parse
    :raises yaml.YAMLError: not YAML
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise PolicyError(root.start_mark.line + 1, "expected a mapping of rules to text")
    rules: dict[str, str] = {}
    for key, value in root.value:
        line = key.start_mark.line + 1
        if not _is_text(key):
            raise PolicyError(line, "the name of a rule is not text")
        if key.value in rules:
            raise PolicyError(line, f"'{key.value}' is there twice")
        if not _is_text(value) and not value.value:
            raise PolicyError(line, f"'{key.value}' is empty; quote its value: '!' is nobody, '' is everybody")
        if not _is_text(value):
            raise PolicyError(line, f"'{key.value}' is not text; quote its value")
        if problem := problem_of(value.value):
            raise PolicyError(line, f"'{key.value}': {problem}")
        rules[key.value] = value.value
    return rules


def lines(text: str) -> dict[str, int]:
    """The line of each rule, from 1, of a text that `parse` accepts."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    return {key.value: key.start_mark.line + 1 for key, _ in root.value} if root else {}


def dump(rules: dict[str, str]) -> str:
    """The file's content."""
    return yaml.safe_dump(rules, sort_keys=False, width=10**6, default_style='"')


def problem_of(rule: str) -> str:
    """Why oslo.policy cannot parse a rule; empty: it can."""
    words = list(_split(rule))
    for word in words:
        if word not in _WORDS and word not in ("@", "!") and ":" not in word:
            return f"'{word}' is no check; expected KIND:VALUE such as role:admin, @ or !"
    if words and not _Grammar(words).whole():
        return f"'{rule}' does not parse; expected checks with and, or, not and parentheses"
    return ""


def _is_text(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:str"


def _split(rule: str) -> Iterator[str]:
    """Words and parentheses. Parentheses inside a word belong to it: `%(project_id)s`."""
    for word in rule.split():
        bare = word.lstrip("(")
        yield from "(" * (len(word) - len(bare))
        inner = bare.rstrip(")")
        if inner:
            yield inner.lower() if inner.lower() in _WORDS else inner
        yield from ")" * (len(bare) - len(inner))


class _Grammar:
    """or: and ("or" and)*; and: one ("and" one)*; one: "not" one, "(" or ")", or a check."""

    def __init__(self, words: list[str]) -> None:
        self._words, self._at = words, 0

    def whole(self) -> bool:
        """Whether all words are one expression."""
        return self._chain("or") and self._at == len(self._words)

    def _takes(self, word: str) -> bool:
        found = self._at < len(self._words) and self._words[self._at] == word
        self._at += found
        return found

    def _chain(self, by: str) -> bool:
        good = self._part(by)
        while good and self._takes(by):
            good = self._part(by)
        return good

    def _part(self, by: str) -> bool:
        return self._chain("and") if by == "or" else self._one()

    def _one(self) -> bool:
        if self._takes("not"):
            return self._one()
        if self._takes("("):
            return self._chain("or") and self._takes(")")
        check = self._at < len(self._words) and self._words[self._at] not in _WORDS
        self._at += check
        return check
