# SPDX-License-Identifier: Apache-2.0
"""Check object storage: both APIs store and return objects, and keep projects apart."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any, NamedTuple

from scs_deploy.validate import measure, objects, s3
from scs_deploy.validate.region import Region
from scs_deploy.validate.registry import CheckFailedError, NotApplicableError, Outcome, check
from scs_deploy.validate.s3 import S3

SAMPLES = 5
PART = 5 << 20
"""Bytes: S3 wants no smaller parts but the last."""

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


class Store(NamedTuple):
    """A bucket, and who asks for it."""

    mine: S3
    other: S3
    """of another project"""
    project: str
    """whose the bucket is"""
    stranger: str
    """ID of the other project"""
    bucket: str

    @property
    def foreign(self) -> str:
        """The bucket's path for users of other projects."""
        return f"/{self.project}:{self.bucket}"


def _store(region: Region) -> Store:
    """Two users and a bucket, made by the first check that runs."""
    if "objects" not in region.made:
        cloud = region.cloud
        if not objects.url(cloud):
            raise NotApplicableError("the region has no object storage")
        own = str(cloud.session.auth.get_access(cloud.session).project_id)
        mine = objects.create_key(cloud, region.name, own)
        stranger = objects.create_project(cloud, f"{region.name}-objects")
        other = objects.create_key(cloud, f"{region.name}-other", stranger)
        user = objects.client(cloud, mine)
        _expect(user("PUT", f"/{region.name}"), "the bucket is not made")
        region.made["objects"] = Store(user, objects.client(cloud, other), own, stranger, region.name)
    found: Store = region.made["objects"]
    return found


def _expect(answer: Any, otherwise: str) -> Any:
    if not answer.ok:
        raise CheckFailedError(f"{otherwise}: {s3.reason(answer)}")
    return answer


def _refused(answer: Any, what: str) -> None:
    if answer.status_code not in (401, 403, 404):
        raise CheckFailedError(f"{what}: {s3.reason(answer)}, not refused")


def _same(answer: Any, content: bytes, what: str) -> None:
    if answer.content != content:
        raise CheckFailedError(f"{what} came back with other content")


@check("s3", requires=("token", "storage-writes"), budget=3.0, creates=True)
def simple(region: Region) -> Outcome:
    """S3 stores an object, lists and returns it; nobody else gets it."""
    store = _store(region)
    path, content = f"/{store.bucket}/an object", os.urandom(4096)

    def store_and_get() -> None:
        _expect(store.mine("PUT", path, body=content), "an object is not stored")
        _same(_expect(store.mine("GET", path), "the object is not returned"), content, "the object")

    samples = measure.repeat(SAMPLES, store_and_get)
    listed = _expect(store.mine("GET", f"/{store.bucket}", {"list-type": "2"}), "the bucket is not listed")
    if s3.values(listed.text, "Key") != ["an object"]:
        raise CheckFailedError(f"the list of bucket {store.bucket} is not the one object that was stored")
    theirs = f"{store.foreign}/an object"
    _refused(store.other("GET", theirs), "another project reads the object")
    _refused(store.other("PUT", theirs, body=b"x"), "another project overwrites the object")
    nobody = S3(store.mine.url, None, store.mine.region, store.mine.ca)
    _refused(nobody("GET", theirs), "somebody without credentials reads the object")
    return Outcome("refused to another project and without credentials", samples)


@check("s3-multipart", requires=("token", "storage-writes"), budget=30.0, creates=True)
def multipart(region: Region) -> Outcome:
    """An upload in parts becomes one object with all their content."""
    store = _store(region)
    path, parts = f"/{store.bucket}/parts", [os.urandom(PART), os.urandom(1 << 20)]

    def upload() -> None:
        begun = _expect(store.mine("POST", path, {"uploads": ""}), "an upload does not begin")
        number = s3.values(begun.text, "UploadId")[0]
        tags = [
            _expect(
                store.mine("PUT", path, {"partNumber": str(n), "uploadId": number}, part), f"part {n} is not stored"
            ).headers["ETag"]
            for n, part in enumerate(parts, 1)
        ]
        listed = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{t}</ETag></Part>" for n, t in enumerate(tags, 1))
        whole = f'<CompleteMultipartUpload xmlns="{NAMESPACE}">{listed}</CompleteMultipartUpload>'
        done = _expect(store.mine("POST", path, {"uploadId": number}, whole.encode()), "the upload does not end")
        if "<Error>" in done.text:
            raise CheckFailedError(f"the upload does not end: {s3.reason(done)}")

    samples = [measure.seconds(upload)]
    _same(_expect(store.mine("GET", path), "the object is not returned"), b"".join(parts), "the object")
    return Outcome(f"{sum(map(len, parts)) / 1e6:.1f} MB in {len(parts)} parts", samples)


@check("s3-presigned", requires=("token", "storage-writes"), budget=3.0, creates=True)
def presigned(region: Region) -> Outcome:
    """A presigned URL lets anybody store and read one object, and nothing else."""
    store = _store(region)
    path, content = f"/{store.bucket}/presigned", os.urandom(4096)
    reading = store.mine.presigned("GET", path, 300)

    def use() -> None:
        written = store.mine.send("PUT", store.mine.presigned("PUT", path, 300), content)
        _expect(written, "a presigned URL stores nothing")
        _same(_expect(store.mine.send("GET", reading), "a presigned URL reads nothing"), content, "the object")

    samples = measure.repeat(SAMPLES, use)
    _refused(store.mine.send("PUT", reading, b"x"), "a presigned URL to read writes")
    _refused(store.mine.send("GET", reading.replace("/presigned?", "/another?")), "the URL reads another object")
    return Outcome("reads and writes, each only what it is for", samples)


@check("s3-versioning", requires=("token", "storage-writes"), budget=10.0, creates=True)
def versioning(region: Region) -> Outcome:
    """A bucket with versions keeps what an object was before it was overwritten and deleted."""
    store = _store(region)
    bucket = f"/{store.bucket}-versions"
    enable = f'<VersioningConfiguration xmlns="{NAMESPACE}"><Status>Enabled</Status></VersioningConfiguration>'

    def use() -> None:
        _expect(store.mine("PUT", bucket), "a bucket is not made")
        _expect(store.mine("PUT", bucket, {"versioning": ""}, enable.encode()), "versions are not enabled")
        first, second = (_expect(store.mine("PUT", f"{bucket}/k", body=b), "no version is stored").headers.get(
            "x-amz-version-id", "") for b in (b"first", b"second"))  # fmt: skip
        if not first or first == second:
            raise CheckFailedError("two versions of an object have no versions of their own")
        _expect(store.mine("DELETE", f"{bucket}/k"), "an object is not deleted")
        if store.mine("GET", f"{bucket}/k").status_code != 404:
            raise CheckFailedError("a deleted object is still returned")
        for version, content in ((first, b"first"), (second, b"second")):
            answer = _expect(store.mine("GET", f"{bucket}/k", {"versionId": version}), "a version is gone")
            _same(answer, content, "a version")

    return Outcome("both versions of a deleted object", [measure.seconds(use)])


@check("s3-policy", requires=("token", "storage-writes"), budget=10.0, creates=True)
def policy(region: Region) -> Outcome:
    """A bucket's policy lets another project read, and no more."""
    store = _store(region)
    bucket = f"{store.bucket}-policy"
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": [f"arn:aws:iam::{store.stranger}:user/{store.stranger}"]},
        "Action": ["s3:GetObject"],
        "Resource": [f"arn:aws:s3:::{bucket}/*"],
    }
    text = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    theirs = f"/{store.project}:{bucket}/k"

    def use() -> None:
        _expect(store.mine("PUT", f"/{bucket}"), "a bucket is not made")
        _expect(store.mine("PUT", f"/{bucket}/k", body=b"shared"), "an object is not stored")
        _refused(store.other("GET", theirs), "another project reads without a policy")
        _expect(store.mine("PUT", f"/{bucket}", {"policy": ""}, text.encode()), "a policy is not accepted")
        _same(_expect(store.other("GET", theirs), "the policy lets nobody read"), b"shared", "the object")
        _refused(store.other("PUT", theirs, body=b"x"), "a policy to read lets another project write")

    return Outcome("another project reads and does not write", [measure.seconds(use)])


@check("swift", requires=("token", "storage-writes"), budget=3.0, creates=True)
def swift(region: Region) -> Outcome:
    """Swift stores an object and returns it; another project and a wrong token do not get it."""
    store = _store(region)
    session, base = region.cloud.session, objects.url(region.cloud)
    container, content = f"{base}/{region.name}-swift", os.urandom(4096)
    tag = hashlib.md5(content, usedforsecurity=False).hexdigest()

    def ask(method: str, url: str, **more: Any) -> Any:
        return session.request(url, method, raise_exc=False, redirect=False, **more)

    _expect(ask("PUT", container), "a container is not made")

    def store_and_get() -> None:
        answer = _expect(ask("PUT", f"{container}/o", data=content), "an object is not stored")
        if answer.headers.get("etag", "").strip('"') != tag:
            raise CheckFailedError("Swift names another checksum than that of the object")
        _same(_expect(ask("GET", f"{container}/o"), "the object is not returned"), content, "the object")

    samples = measure.repeat(SAMPLES, store_and_get)
    listed = _expect(ask("GET", f"{base}?format=json"), "containers are not listed").json()
    if region.name not in {c["name"] for c in listed}:
        raise CheckFailedError("the bucket of S3 is no container of Swift")
    _expect(store.other("PUT", f"/{region.name}-other"), "another project's bucket is not made")
    _expect(store.other("PUT", f"/{region.name}-other/o", body=content), "another project's object is not stored")
    _refused(
        ask("GET", f"{base.replace(store.project, store.stranger)}/{region.name}-other/o"),
        "an object of another project is read",
    )
    wrong = {"X-Auth-Token": "none"}
    _refused(ask("GET", f"{container}/o", authenticated=False, headers=wrong), "a wrong token reads the object")
    return Outcome("refused to another project and to a wrong token", samples)
