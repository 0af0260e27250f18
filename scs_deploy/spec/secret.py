# SPDX-License-Identifier: Apache-2.0
"""Of the service spec: what the value of a secret is."""

from __future__ import annotations

from scs_deploy.base.words import Words


class Format(Words):
    """What `scs secrets init` generates for a secret."""

    PASSWORD = "password", "32 letters and digits"
    UUID = "uuid", "a random UUID: an id that must differ from that of every other region"
    FERNET = "fernet", "a key of Fernet: 256 random bits in URL-safe base64"
    CEPHX = "cephx", "a key of Ceph's authentication for clients older than 20.2: 128 random bits, in base64"
    CEPHX_256 = "cephx-256", "a key of Ceph's authentication since 20.2: 256 random bits, in base64"
