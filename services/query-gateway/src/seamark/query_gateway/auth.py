"""Who asks: API keys, kept as hashes in a file that may change while the service runs.

A key has 256 random bits, so that nobody can try them through; one round of SHA-256 with a salt
is enough. Slow hashes are for passwords that people choose.

One JSON object a line: {"id", "name", "hash", "roles"} and, where they differ from the default,
{"units_per_second", "burst", "concurrency"}. Lines may be empty or begin with #.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from seamark.query_gateway.errors import Forbidden, Unauthenticated
from seamark.query_gateway.quotas import Quota

logger = logging.getLogger(__name__)

_KEY = re.compile(r"smk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_HASH = re.compile(r"sha256:([0-9a-f]{32}):([0-9a-f]{64})")
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_FIELDS = {"id", "name", "hash", "roles", "units_per_second", "burst", "concurrency"}
_NO_HASH = ("0" * 32, "0" * 64)


class Role(Enum):
    """What a caller may do."""

    READER = "reader"
    """Ask questions; see and stop their own."""
    OPERATOR = "operator"
    """See and stop everybody's requests."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who is known."""

    name: str
    roles: frozenset[Role]
    quota: Quota | None
    """None: no limit."""

    def require(self, role: Role) -> None:
        """Raises Forbidden."""
        if role not in self.roles:
            raise Forbidden(f"roles of {self.name} must include {role.value}")


LOCAL = Caller("local", frozenset(Role), None)
"""Everybody, where authentication is off: on loopback only."""


class KeysInvalid(Exception):
    """The keys file is not as it must be."""


@dataclass(frozen=True, slots=True)
class _Key:
    salt: str
    digest: str
    caller: Caller


def new_key(name: str, roles: Iterable[Role]) -> tuple[str, str]:
    """(the key, the line for the file). The key itself is kept nowhere."""
    if not _NAME.fullmatch(name):
        raise KeysInvalid(f"name was {name!r}, must be 1 to 64 letters, digits, . _ @ -")
    key_id, secret, salt = secrets.token_hex(8), secrets.token_urlsafe(32), secrets.token_hex(16)
    key = f"smk_{key_id}_{secret}"
    line = {
        "id": key_id,
        "name": name,
        "hash": f"sha256:{salt}:{_digest(salt, key)}",
        "roles": sorted(role.value for role in roles),
    }
    return key, json.dumps(line)


def _digest(salt: str, key: str) -> str:
    return hashlib.sha256(bytes.fromhex(salt) + key.encode()).hexdigest()


def key_of(authorization: str | None, api_key: str | None) -> str | None:
    """The API key of a request: `Authorization: Bearer KEY`, or `X-API-Key: KEY`."""
    if authorization is not None:
        scheme, _, key = authorization.partition(" ")
        return key.strip() if scheme.lower() == "bearer" else None
    return api_key


class Keys:
    """The keys of a file. Looks at most once a second whether the file has changed."""

    def __init__(self, path: Path, default: Quota, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises KeysInvalid: no such file, or a wrong line."""
        self._path, self._default, self._clock = path, default, clock
        self._stamp = self._stat()
        self._keys = self._load()
        self._looked_at = clock()

    def caller(self, key: str | None) -> Caller:
        """Raises Unauthenticated; the text does not say which part of the key is wrong."""
        self._refresh()
        if not key:
            raise Unauthenticated("no API key: send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`")
        form = _KEY.fullmatch(key)
        found = self._keys.get(form[1]) if form else None
        salt, digest = (found.salt, found.digest) if found else _NO_HASH
        same = hmac.compare_digest(digest, _digest(salt, key if form else ""))
        if found is None or not same:
            raise Unauthenticated("API key was not one that is known here")
        return found.caller

    def _refresh(self) -> None:
        now = self._clock()
        if now - self._looked_at < 1.0:
            return
        self._looked_at = now
        try:
            stamp = self._stat()
            if stamp == self._stamp:
                return
            self._keys = self._load()
        except KeysInvalid as error:
            # A file that is being written must lock nobody out: what was valid stays so.
            logger.error("keys not reloaded", extra={"error": str(error)})
            return
        self._stamp = stamp
        logger.info("keys reloaded", extra={"keys": len(self._keys)})

    def _stat(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError as error:
            raise KeysInvalid(f"keys file {self._path}: {error.strerror}") from error
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _load(self) -> Mapping[str, _Key]:
        try:
            text = self._path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise KeysInvalid(f"keys file {self._path}: {error}") from error
        keys: dict[str, _Key] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            try:
                key_id, key = self._parse(line)
                if key_id in keys:
                    raise KeysInvalid(f"id was {key_id}, must be there once")
            except KeysInvalid as error:
                raise KeysInvalid(f"keys file {self._path}, line {number}: {error}") from None
            keys[key_id] = key
        return keys

    def _parse(self, line: str) -> tuple[str, _Key]:
        try:
            fields = json.loads(line)
        except ValueError:
            raise KeysInvalid("must be a JSON object") from None
        if not isinstance(fields, dict) or not {"id", "name", "hash", "roles"} <= set(fields) <= _FIELDS:
            raise KeysInvalid(
                f"fields must be among {', '.join(sorted(_FIELDS))}; the first four always"
            ) from None
        if not re.fullmatch(r"[0-9a-f]{16}", str(fields["id"])):
            raise KeysInvalid("id must be 16 hexadecimal digits")
        name = str(fields["name"])
        if not _NAME.fullmatch(name):
            raise KeysInvalid("name must be 1 to 64 letters, digits, . _ @ -")
        hashed = _HASH.fullmatch(str(fields["hash"]))
        if hashed is None:
            raise KeysInvalid("hash must be sha256:salt:digest as `key new` prints it")
        try:
            roles = frozenset(Role(role) for role in fields["roles"])
        except (ValueError, TypeError):
            raise KeysInvalid(f"roles must be among {', '.join(role.value for role in Role)}") from None
        numbers = [
            fields.get(field, getattr(self._default, field))
            for field in ("units_per_second", "burst", "concurrency")
        ]
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < 1e12:
                raise KeysInvalid("units_per_second, burst and concurrency must be more than 0")
        quota = Quota(float(numbers[0]), float(numbers[1]), int(numbers[2]))
        return fields["id"], _Key(hashed[1], hashed[2], Caller(name, roles, quota))
