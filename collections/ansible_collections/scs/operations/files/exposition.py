# SPDX-License-Identifier: Apache-2.0
"""Shows metrics over HTTP on loopback, for exporters of scs: Prometheus reads them through `metrics_ingress`.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

import http.server
import sys
from collections.abc import Callable, Iterable, Mapping

Sample = tuple[str, Mapping[str, str], float]
"""Name, labels, value."""


def text(samples: Iterable[Sample], described: Mapping[str, str]) -> str:
    """The samples in Prometheus's text format; a name that ends in `_total` is a counter.

    :param described: what each name means
    """
    by_name: dict[str, list[str]] = {}
    for name, labels, value in samples:
        shown = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        by_name.setdefault(name, []).append(f"{name}{{{shown}}} {float(value):.15g}")
    lines = []
    for name, own in by_name.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        lines += [f"# HELP {name} {described[name]}", f"# TYPE {name} {kind}", *own]
    return "\n".join(lines) + "\n"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def serve(port: int, collect: Callable[[], str]) -> None:
    """Answer `/metrics` with what `collect` gives, and any other path with nothing, for ever.

    An error of `collect` is an answer with status 500, which Prometheus shows as a target that is down.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = 30

        def do_GET(self) -> None:
            status, body = 200, ""
            if self.path == "/metrics":
                try:
                    body = collect()
                except Exception as error:  # noqa: BLE001 - whatever it is, the next question is answered
                    status, body = 500, f"{type(error).__name__}: {error}\n"
                    print(body, end="", file=sys.stderr, flush=True)
            data = body.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *words: object) -> None:  # noqa: A002 - http.server's name
            """Nothing: somebody asks every few seconds."""

    http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
