# SPDX-License-Identifier: Apache-2.0
"""cloud.yml of an environment: what users find in the cloud, beside what they make themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from scs_deploy.base.model import Written, load_model

FILE = "cloud.yml"

FALLBACK = "__DEFAULT__"
"""Cinder's own type, which a volume has if no type is the default."""

MULTIATTACH, YES = "multiattach", "<is> True"
"""The extra spec of a type whose volumes are for several servers at once."""

Limit = Literal[
    "total_iops_sec", "read_iops_sec", "write_iops_sec", "total_bytes_sec", "read_bytes_sec", "write_bytes_sec",
    "total_iops_sec_max", "read_iops_sec_max", "write_iops_sec_max", "total_bytes_sec_max", "read_bytes_sec_max",
    "write_bytes_sec_max", "size_iops_sec", "total_iops_sec_per_gb", "read_iops_sec_per_gb", "write_iops_sec_per_gb",
    "total_bytes_sec_per_gb", "read_bytes_sec_per_gb", "write_bytes_sec_per_gb",
]  # fmt: skip
"""What the hypervisor limits. https://docs.openstack.org/cinder/latest/admin/capacity-based-qos.html"""

Name = Annotated[str, StringConstraints(pattern=r"^[^\s](.{0,253}[^\s])?$")]
Text = Annotated[str, StringConstraints(max_length=255, pattern=r"^[^\r\n]*$")]


class VolumeType(Written):
    """A type of volumes. A type that the file no longer has stays, with its volumes."""

    description: Text = Field(default="", description="for users")
    default: bool = Field(default=False, description="volumes have it if users name none; one type at most")
    public: bool = Field(default=True, description="false: only projects that the operator grants it see it")
    extra_specs: dict[Name, Text] = Field(
        default_factory=dict,
        description="capabilities that a backend must have, or features, e.g. `multiattach: <is> True`",
    )
    qos: dict[Limit, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict, description="limits of each volume, which its guest's hypervisor enforces"
    )
    encrypted: bool = Field(
        default=False, description="LUKS, by the hypervisor, with a key for each volume that the key manager keeps"
    )

    @model_validator(mode="after")
    def _default_is_public(self) -> VolumeType:
        if self.default and not self.public:
            raise ValueError("default: a type that not every project sees cannot be the default; set public: true")
        return self

    @model_validator(mode="after")
    def _encrypted_is_for_one_server(self) -> VolumeType:
        if self.encrypted and self.extra_specs.get(MULTIATTACH) == YES:
            raise ValueError("encrypted: Cinder refuses such volumes for several servers; remove multiattach")
        return self


class Cloud(Written):
    """cloud.yml."""

    volume_types: dict[Name, VolumeType] = Field(default_factory=dict, description="by name")

    @property
    def default_volume_type(self) -> str:
        """Name of the default type; empty: none is."""
        return next((n for n, t in self.volume_types.items() if t.default), "")

    @model_validator(mode="after")
    def _one_default(self) -> Cloud:
        defaults = [n for n, t in self.volume_types.items() if t.default]
        if len(defaults) > 1:
            raise ValueError(f"volume_types: {' and '.join(defaults)} are both the default; keep one")
        if FALLBACK in self.volume_types:
            raise ValueError(f"volume_types: {FALLBACK} is Cinder's own; choose another name")
        return self


def load(folder: Path) -> Cloud:
    """The file of an environment's folder; empty if there is none.

    :raises RefusedError: names file, line and key of the first error
    """
    file = folder / FILE
    return load_model(Cloud, file) if file.is_file() else Cloud()
