"""The form of a key, of an address and of an origin, read and written without any lookup.

A key reads ``lens_<env>_<id>_<secret><check>``: a public id of 8 characters, a secret of 43 and a
check of 6. All of it is letters and digits, so the three underscores are the only ones and the
parts cannot be confused; 43 base62 digits hold the 256 bits of the secret exactly once. The check
is the CRC-32 of everything before it: it tells a slip of the pen from a wrong key without asking
anybody, and lets secret scanners find leaked keys with few false alarms.
"""

from __future__ import annotations

import re
import secrets
import string
import zlib
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from access.types import Network

Address = IPv4Address | IPv6Address

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
ID_ALPHABET = string.digits + string.ascii_lowercase
ID_LENGTH = 8
SECRET_BYTES = 32
SECRET_LENGTH = 43
CHECK_LENGTH = 6
KEY_ID = re.compile(rf"[0-9a-z]{{{ID_LENGTH}}}")
ENVIRONMENT = re.compile(r"[a-z]{1,16}")
KEY = re.compile(
    rf"(?P<body>lens_[a-z]{{1,16}}_(?P<id>[0-9a-z]{{{ID_LENGTH}}})"
    rf"_(?P<secret>[0-9A-Za-z]{{{SECRET_LENGTH}}}))(?P<check>[0-9A-Za-z]{{{CHECK_LENGTH}}})"
)
EXAMPLE_STARTS = ("your", "changeme", "changethis", "replaceme", "replacethis", "insert", "example")
EXAMPLES = frozenset(
    {"", "admin", "adminkey", "apikey", "apikeyadmin", "secret", "password", "test"}
)
ADDRESSES_REMEMBERED = 1_000
DEFAULT_PORTS = {"http": 80, "https": 443}


class MalformedKey(ValueError):
    """The text is not a key of ours, or was damaged on its way."""


@dataclass(frozen=True, slots=True)
class KeyParts:
    """The two halves of a key: the id to look up and the secret to prove."""

    id: str
    secret: str = field(repr=False)


def new_key_parts() -> KeyParts:
    """Return a fresh id and a fresh secret of 256 random bits."""
    number = int.from_bytes(secrets.token_bytes(SECRET_BYTES))
    key_id = "".join(secrets.choice(ID_ALPHABET) for _ in range(ID_LENGTH))
    return KeyParts(id=key_id, secret=_base62(number, length=SECRET_LENGTH))


def written_key(parts: KeyParts, *, environment: str) -> str:
    """Return the key as its holder keeps it."""
    body = f"lens_{environment}_{parts.id}_{parts.secret}"
    return body + _check(body)


def read_key(plain: str) -> KeyParts:
    """Return the parts of a key whose check is right.

    :raises MalformedKey: if the form or the check is wrong.
    """
    match = KEY.fullmatch(plain)
    if match is None or _check(match["body"]) != match["check"]:
        raise MalformedKey
    return KeyParts(id=match["id"], secret=match["secret"])


def _check(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), length=CHECK_LENGTH)


def _base62(number: int, *, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(BASE62))
        digits.append(BASE62[digit])
    return "".join(reversed(digits))


def network(text: str) -> Network:
    """Return the block of addresses that ``text`` names; one address is a block of its own.

    :raises ValueError: if it is no address block, or sets bits outside its own prefix.
    """
    return ip_network(text.strip())


@lru_cache(maxsize=ADDRESSES_REMEMBERED)
def address(text: str) -> Address | None:
    """Return the address in ``text``, or None; an IPv4 address in IPv6 clothes is undressed."""
    try:
        found = ip_address(text.strip())
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        return found.ipv4_mapped
    return found


def client_address(*, peer: str, forwarded_for: str, trusted_proxies: int) -> str:
    """Return the address of the client, or "" when nobody knows it.

    Only as many entries of ``X-Forwarded-For`` count as there are proxies of ours, from the right:
    the entries further left are whatever the client chose to write there.
    Edges: fewer entries than proxies, or an entry that is no address: the peer itself.
    """
    entries = [entry for entry in forwarded_for.split(",") if entry.strip()]
    if 0 < trusted_proxies <= len(entries):
        named = address(entries[-trusted_proxies])
        if named is not None:
            return str(named)
    found = address(peer)
    return "" if found is None else str(found)


def is_loopback(text: str) -> bool:
    """Say whether an address is this machine's own."""
    found = address(text)
    return found is not None and found.is_loopback


def address_group(text: str) -> str:
    """Return what counts as one address when failures are counted.

    An IPv6 site owns at least a /64, so all of it counts as one.
    """
    found = address(text)
    if isinstance(found, IPv6Address):
        return str(ip_network((found, 64), strict=False))
    return str(found or "unknown")


def origin(text: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port of a web origin, or None when it is none (such as "null")."""
    try:
        parts = urlsplit(text.strip().lower())
        port = parts.port
    except ValueError:
        return None
    extras = parts.path or parts.query or parts.fragment or parts.username
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or extras:
        return None
    return parts.scheme, parts.hostname, port or DEFAULT_PORTS[parts.scheme]


def presented_key(*, api_key: str, authorization: str) -> str:
    """Return the key that the two headers carry, or "" if neither does; ``X-API-Key`` wins."""
    if api_key.strip():
        return api_key.strip()
    scheme, _, rest = authorization.strip().partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else ""


def looks_like_an_example(secret: str) -> bool:
    """Say whether a secret was copied from some documentation instead of being made."""
    letters = re.sub(r"[^a-z]", "", secret.lower())
    return letters.startswith(EXAMPLE_STARTS) or letters in EXAMPLES or len(set(secret)) < 4
