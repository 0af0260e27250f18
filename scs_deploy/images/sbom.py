# SPDX-License-Identifier: Apache-2.0
"""Software bill of materials (SBOM) of an image: SPDX 2.3, JSON (https://spdx.github.io/spdx-spec/v2.3/)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from scs_deploy.images.packages import GO, PYPI, Package


def document(
    image: str,
    release: str,
    digest: str,
    created: str,
    packages: Iterable[Package],
    licenses: Mapping[str, Iterable[str]],
) -> dict[str, Any]:
    """The SPDX document of one image.

    :param digest: `sha256:...` of the image's content; makes the document's namespace unique
    :param created: build time, UTC, `YYYY-MM-DDThh:mm:ssZ`
    :param licenses: package: short names in its copyright file. These are Debian's names, not always SPDX's, and do not
        show how the licenses combine. They become a comment, not a license expression.
    """
    root = "SPDXRef-Image"
    entries = [_package(p, licenses.get(p.name, ())) for p in packages]
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"scs/{image}:{release}",
        "documentNamespace": f"https://scs.community/spdx/{image}/{release}/{digest.removeprefix('sha256:')}",
        "creationInfo": {"created": created, "creators": ["Tool: scs"]},
        "packages": [
            {
                "SPDXID": root,
                "name": f"scs/{image}",
                "versionInfo": release,
                "checksums": [{"algorithm": "SHA256", "checksumValue": digest.removeprefix("sha256:")}],
                "downloadLocation": "NOASSERTION",
                "filesAnalyzed": False,
                "licenseConcluded": "NOASSERTION",
                "licenseDeclared": "NOASSERTION",
                "copyrightText": "NOASSERTION",
                "primaryPackagePurpose": "CONTAINER",
            },
            *entries,
        ],
        "relationships": [
            {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": root},
            *(
                {"spdxElementId": root, "relationshipType": "CONTAINS", "relatedSpdxElement": entry["SPDXID"]}
                for entry in entries
            ),
        ],
    }


def _package(package: Package, licenses: Iterable[str]) -> dict[str, Any]:
    if package.name.startswith(PYPI):
        name, kind, file = package.source, "pypi", "package metadata"
        origin = {"sourceInfo": "from the Python Package Index"}
    elif package.name.startswith(GO):
        name, kind, file = package.source, "golang", "module"
        origin = {"sourceInfo": "compiled into a program of this image"}
    else:
        name, kind, file = package.name, "deb", "debian/copyright"
        source = f"built from Debian source package {package.source} {package.source_version}"
        origin = {"supplier": "Organization: Debian", "sourceInfo": source}
    return {
        # only letters, digits, dots and hyphens; the architecture distinguishes multi-arch packages
        "SPDXID": f"SPDXRef-{kind}-" + re.sub(r"[^A-Za-z0-9.-]", "-", f"{name}-{package.architecture}"),
        "name": name,
        "versionInfo": package.version,
        **origin,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        **({"licenseComments": f"{file} names: " + ", ".join(names)} if (names := tuple(licenses)) else {}),
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": _purl(package),
            }
        ],
    }


def _purl(package: Package) -> str:
    # https://github.com/package-url/purl-spec: versions are percent-encoded, except for the `:` of an epoch
    version = quote(package.version, safe=":~.-")
    if package.name.startswith(PYPI):
        return f"pkg:pypi/{package.source}@{version}"
    if package.name.startswith(GO):
        return f"pkg:golang/{package.source.lower()}@{version}"
    return f"pkg:deb/debian/{quote(package.name, safe='.-')}@{version}?arch={package.architecture}"
