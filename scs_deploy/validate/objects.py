# SPDX-License-Identifier: Apache-2.0
"""A validation's two users of object storage, in two projects, and the removal of what they keep there.

Their credentials are Keystone's, for EC2: access keys that begin with the prefix of validations, so that a later
validation finds those of an interrupted one.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from scs_deploy.base.model import Model
from scs_deploy.validate import s3
from scs_deploy.validate.s3 import S3, Credentials

SERVICE = "object-store"
"""Type in Keystone's catalogue."""

ROLE = "member"


class Key(Model):
    """Credentials in Keystone."""

    id: str
    name: str
    """the access key"""
    secret: str


def url(cloud: Any) -> str:
    """The public URL of Swift's API for the administrator's project; empty: the region has no object storage."""
    entries = cloud.session.auth.get_access(cloud.session).service_catalog.catalog
    found = (e["url"] for entry in entries if entry["type"] == SERVICE for e in entry["endpoints"]
             if e["interface"] == "public")  # fmt: skip
    return str(next(found, ""))


def client(cloud: Any, credentials: Credentials | None) -> S3:
    """S3 of the region."""
    parts = urlsplit(url(cloud))
    verify = cloud.session.verify
    ca = Path(verify) if isinstance(verify, str) else None
    return S3(f"{parts.scheme}://{parts.netloc}", credentials, cloud.config.get_region_name() or "default", ca)


def create_key(cloud: Any, name: str, project: str) -> Credentials:
    """Credentials of the administrator for a project."""
    made = Credentials(name, secrets.token_hex(24))
    cloud.identity.create_credential(
        type="ec2", user_id=cloud.session.auth.get_access(cloud.session).user_id, project_id=project,
        blob=json.dumps({"access": made.access, "secret": made.secret}),
    )  # fmt: skip
    return made


def create_project(cloud: Any, name: str) -> str:
    """Another project of the administrator; returns its ID."""
    identity = cloud.identity
    made = identity.create_project(name=name, domain_id="default", description="a validation's other project")
    user = cloud.session.auth.get_access(cloud.session).user_id
    identity.assign_project_role_to_user(made, user, identity.find_role(ROLE, ignore_missing=False))
    return str(made.id)


def keys(cloud: Any, prefix: str) -> Iterable[Key]:
    """The credentials of validations; none if the region has no object storage."""
    if not url(cloud):
        return
    for found in cloud.identity.credentials(type="ec2"):
        blob = json.loads(found.blob)
        if str(blob.get("access", "")).startswith(prefix):
            yield Key(id=found.id, name=blob["access"], secret=blob["secret"])


def remove_key(cloud: Any, key: Key, prefix: str) -> None:
    """Remove credentials, and first all buckets of validations that they own.

    :raises OSError: a bucket could not be removed; the credentials stay, so that the next validation tries again
    """
    user = client(cloud, Credentials(key.name, key.secret))
    answer = user("GET", "/")
    if answer.status_code not in (200, 401, 403):
        raise OSError(f"list of buckets: {s3.reason(answer)}")
    for bucket in s3.values(answer.text, "Name") if answer.ok else ():
        if bucket.startswith(prefix):
            empty(user, bucket)
            _done(user("DELETE", f"/{bucket}"), f"bucket {bucket}")
    cloud.identity.delete_credential(key.id)


def empty(user: S3, bucket: str) -> None:
    """Remove all versions of all objects, and unfinished uploads.

    :raises OSError: one could not be removed
    """
    while True:
        listed = _done(user("GET", f"/{bucket}", {"versions": ""}), f"bucket {bucket}")
        names, versions = s3.values(listed, "Key"), s3.values(listed, "VersionId")
        if not names:
            break
        for name, version in zip(names, versions, strict=True):
            _done(user("DELETE", f"/{bucket}/{name}", {"versionId": version}), f"object {bucket}/{name}")
    listed = _done(user("GET", f"/{bucket}", {"uploads": ""}), f"bucket {bucket}")
    for name, upload in zip(s3.values(listed, "Key"), s3.values(listed, "UploadId"), strict=True):
        _done(user("DELETE", f"/{bucket}/{name}", {"uploadId": upload}), f"upload {bucket}/{name}")


def _done(answer: Any, what: str) -> str:
    if not answer.ok:
        raise OSError(f"{what}: {s3.reason(answer)}")
    return str(answer.text)
