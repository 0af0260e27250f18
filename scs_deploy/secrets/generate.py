# SPDX-License-Identifier: Apache-2.0
"""New random values for secrets."""

from __future__ import annotations

import base64
import os
import struct
import time
import uuid

from scs_deploy.secrets import vault
from scs_deploy.spec.secret import Format

CEPHX = {Format.CEPHX: (1, 16), Format.CEPHX_256: (2, 32)}
"""Ceph's type of a key, CEPH_CRYPTO_AES and CEPH_CRYPTO_AES256KRB5 in src/include/ceph_fs.h, and its bytes."""

FERNET_BYTES = 32
"""https://github.com/fernet/spec/blob/master/Spec.md: a key for signing and one for encrypting."""


def generate(kind: Format = Format.PASSWORD) -> str:
    """A new value of a secret."""
    if kind is Format.UUID:
        return str(uuid.uuid4())
    if kind is Format.FERNET:
        return base64.urlsafe_b64encode(os.urandom(FERNET_BYTES)).decode()
    return cephx_key(*CEPHX[kind]) if kind in CEPHX else vault.random_password()


def fits(kind: Format, value: str) -> bool:
    """Whether a value, which an operator may have written, can be one of a kind. Only keys of Fernet are looked at."""
    if kind is not Format.FERNET:
        return True
    try:
        key = base64.b64decode(value, altchars=b"-_", validate=True)
    except ValueError:
        return False
    return len(key) == FERNET_BYTES


def cephx_key(kind: int, length: int) -> str:
    """A key as `ceph-authtool --gen-print-key` prints one: type, time, length and random bytes, in base64.

    Source: CryptoKey::encode in Ceph's src/auth/Crypto.cc; all numbers are little-endian.
    """
    now = time.time_ns()
    head = struct.pack("<hIIh", kind, now // 10**9, now % 10**9, length)
    return base64.b64encode(head + os.urandom(length)).decode()
