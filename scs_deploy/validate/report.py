# SPDX-License-Identifier: Apache-2.0
"""The results of a validation, and their formats for people, scripts and CI servers."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from datetime import datetime
from enum import StrEnum

from pydantic import Field, computed_field

from scs_deploy.base.model import Model
from scs_deploy.validate import measure


class Verdict(StrEnum):
    """The result of a check. A validation passes without checks that do not apply, but not with skipped ones."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    NOT_APPLICABLE = "n/a"


class Result(Model):
    """The result of one check."""

    check: str = Field(description="name of the check")
    verdict: Verdict = Field(description="passed, failed, skipped (a required check did not pass) or n/a")
    message: str = Field(default="", description="details, in one line")
    started: datetime = Field(description="start time, UTC")
    seconds: float = Field(description="duration in seconds")
    samples: tuple[float, ...] = Field(default=(), description="latencies in seconds")
    budget: float | None = Field(default=None, description="maximum p95 latency in seconds")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def p50(self) -> float | None:
        """Median latency in seconds."""
        return measure.percentile(self.samples, 0.5) if self.samples else None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def p95(self) -> float | None:
        """95th percentile of the latency in seconds."""
        return measure.percentile(self.samples, 0.95) if self.samples else None


class Report(Model):
    """All checks of one validation, in the order they ran."""

    id: str = Field(description="ID of the validation, part of the names of all its resources")
    environment: str = Field(description="name of the environment")
    started: datetime = Field(description="start time, UTC")
    seconds: float = Field(description="duration in seconds")
    results: tuple[Result, ...] = Field(description="results in order; the last one is the cleanup")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def passed(self) -> bool:
        """Whether every check passed that is applicable to the region."""
        return all(result.verdict in (Verdict.PASSED, Verdict.NOT_APPLICABLE) for result in self.results)

    def count(self, verdict: Verdict) -> int:
        """Number of checks with this verdict."""
        return sum(result.verdict is verdict for result in self.results)

    def junit(self) -> str:
        """JUnit XML for CI servers."""
        suite = ET.Element(
            "testsuite",
            name=f"scs-validate.{self.environment}",
            tests=str(len(self.results)),
            failures=str(self.count(Verdict.FAILED)),
            skipped=str(self.count(Verdict.SKIPPED) + self.count(Verdict.NOT_APPLICABLE)),
            errors="0",
            time=f"{self.seconds:.3f}",
            timestamp=self.started.isoformat(timespec="seconds"),
        )
        for result in self.results:
            case = ET.SubElement(
                suite, "testcase", classname="scs.validate", name=result.check, time=f"{result.seconds:.3f}"
            )
            if result.verdict is Verdict.FAILED:
                ET.SubElement(case, "failure", message=result.message).text = result.message
            elif result.verdict in (Verdict.SKIPPED, Verdict.NOT_APPLICABLE):
                ET.SubElement(case, "skipped", message=result.message)
            if result.samples:
                properties = ET.SubElement(case, "properties")
                for name, value in (("p50", result.p50), ("p95", result.p95), ("budget", result.budget)):
                    if value is not None:
                        ET.SubElement(properties, "property", name=f"{name}_seconds", value=f"{value:.4f}")
        suites = ET.Element("testsuites")
        suites.append(suite)
        ET.indent(suites)
        return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"
