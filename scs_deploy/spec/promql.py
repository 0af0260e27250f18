# SPDX-License-Identifier: Apache-2.0
"""PromQL in what people write, checked where they write it: Prometheus itself would refuse all rules for one of them.

https://prometheus.io/docs/prometheus/latest/querying/basics/
"""

from __future__ import annotations

import promql_parser

NO_VALUE = (promql_parser.MatrixSelector, promql_parser.SubqueryExpr, promql_parser.StringLiteral)

EXPERIMENTAL = ("limitk", "limit_ratio")
"""Aggregations that Prometheus has only with a feature switched on; of functions, the parser knows it."""


def check(text: str) -> None:
    """Check that Prometheus can evaluate it as a rule.

    :raises ValueError: it is no PromQL, or gives something else than a value for each series
    """
    try:
        parsed = promql_parser.parse(text)
    except ValueError as error:
        raise ValueError(f"wrong PromQL: {error}") from None
    if names := _experimental(parsed):
        raise ValueError(f"wrong PromQL: {names[0]} is experimental, and Prometheus refuses it")
    while isinstance(parsed, promql_parser.ParenExpr):
        parsed = parsed.expr
    if isinstance(parsed, NO_VALUE):
        raise ValueError("wrong PromQL: gives a range or a text, where a value for each series is needed")


def _experimental(parsed: promql_parser.Expr) -> list[str]:
    found: list[str] = []

    def look(expr: promql_parser.Expr) -> None:
        if isinstance(expr, promql_parser.Call) and expr.func.experimental:
            found.append(expr.func.name)
        if isinstance(expr, promql_parser.AggregateExpr) and str(expr.op) in EXPERIMENTAL:
            found.append(str(expr.op))

    promql_parser.walk(parsed, look)
    return found
