# Copyright: Contributors to the hybridmesh.istio project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a certificate and a token say about themselves: validity and identity. Private to the collection.

Runs on virtual machines, where no library for X.509 can be taken for granted, so the few DER fields that matter are
read by hand. Nothing here verifies a signature.
"""

from __future__ import annotations

import base64
import binascii
import calendar
import json
import re
import time
import typing as t

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_SUBJECT_ALT_NAME = b"\x55\x1d\x11"
_URI = 0x86
_EXPLICIT_VERSION = 0xA0
_EXTENSIONS = 0xA3
_UTC_TIME = 0x17


class Certificate(t.NamedTuple):
    """The fields of one certificate that the roles look at. Times are seconds since the epoch."""

    not_before: float
    not_after: float
    uris: tuple[str, ...]


def pem_blocks(text: str) -> list[bytes]:
    """The DER bytes of every certificate in `text`, in order; blocks that are not base64 are left out."""
    blocks = []
    for match in _PEM.finditer(text):
        try:
            blocks.append(base64.b64decode("".join(match.group(1).split()), validate=True))
        except (binascii.Error, ValueError):
            continue
    return blocks


def parse_certificate(der: bytes) -> Certificate:
    """Reads one DER certificate.

    Raises:
        ValueError: the bytes are not a certificate.
    """
    try:
        whole = _elements(der, 0, len(der))[0]
        fields = _inside(der, _inside(der, whole)[0])
        if fields[0][0] == _EXPLICIT_VERSION:
            fields = fields[1:]
        not_before, not_after = (_time(der, field) for field in _inside(der, fields[3])[:2])
        uris: list[str] = []
        for field in fields[6:]:
            if field[0] == _EXTENSIONS:
                uris = _alternative_uris(der, field)
    except (IndexError, TypeError, UnicodeDecodeError) as error:
        raise ValueError("not an X.509 certificate") from error
    return Certificate(not_before, not_after, tuple(uris))


# Tag, start of the content, end of the content.
_Element = t.Tuple[int, int, int]


def _elements(data: bytes, position: int, end: int) -> list[_Element]:
    """The DER elements between two offsets."""
    found = []
    while position < end:
        tag, length = data[position], data[position + 1]
        start = position + 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(data[start : start + size], "big")
            start += size
        position = start + length
        if position > end:
            raise IndexError("truncated")
        found.append((tag, start, position))
    return found


def _inside(data: bytes, element: _Element) -> list[_Element]:
    return _elements(data, element[1], element[2])


def _time(data: bytes, element: _Element) -> float:
    text = data[element[1] : element[2]].decode("ascii").rstrip("Z")
    if element[0] == _UTC_TIME:
        # RFC 5280: two-digit years from 50 on belong to the last century.
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    return float(calendar.timegm(time.strptime(text[:14], "%Y%m%d%H%M%S")))


def _alternative_uris(data: bytes, extensions: _Element) -> list[str]:
    uris = []
    for extension in _inside(data, _inside(data, extensions)[0]):
        parts = _inside(data, extension)
        if data[parts[0][1] : parts[0][2]] != _SUBJECT_ALT_NAME:
            continue
        for name in _inside(data, _inside(data, parts[-1])[0]):
            if name[0] == _URI:
                uris.append(data[name[1] : name[2]].decode("ascii"))
    return uris


def describe_certificate(pem: str, now: float) -> dict[str, t.Any]:
    """The first certificate of a chain, told in plain data.

    Returns:
        `valid` (at `now`), `not_before`, `not_after`, `remaining` (seconds, negative when expired), `age` (share of
        its life that has passed) and `identity` (the first URI), or `valid` False and an `error`.
    """
    blocks = pem_blocks(pem)
    if not blocks:
        return {"valid": False, "error": "no certificate in the file"}
    try:
        certificate = parse_certificate(blocks[0])
    except ValueError as error:
        return {"valid": False, "error": str(error)}
    life = max(certificate.not_after - certificate.not_before, 1.0)
    return {
        "valid": certificate.not_before <= now < certificate.not_after,
        "not_before": certificate.not_before,
        "not_after": certificate.not_after,
        "remaining": round(certificate.not_after - now),
        "age": round((now - certificate.not_before) / life, 3),
        "identity": certificate.uris[0] if certificate.uris else None,
    }


def describe_token(token: str, now: float) -> dict[str, t.Any]:
    """What a service account token says in its middle part; never the token itself."""
    try:
        part = token.strip().split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        audience = claims.get("aud", [])
        return {
            "expires": float(claims["exp"]),
            "remaining": round(float(claims["exp"]) - now),
            "audiences": [audience] if isinstance(audience, str) else list(audience),
            "subject": claims.get("sub"),
        }
    except (IndexError, ValueError, KeyError, TypeError, AttributeError) as error:
        return {"error": "not a token: " + type(error).__name__}
