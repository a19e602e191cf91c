"""Which processes of a run live, and what each says of itself: from their endpoint files and `/readyz`."""

from __future__ import annotations

import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from xpm_stream.monitoring.serving import Endpoint
from xpm_stream.monitoring.standing import RoleStanding, RoleState

_TIMEOUT_S: Final = 1.0
_AT_ONCE: Final = 16
_ORDER: Final = ("pretrainer", "teacher", "trainer", "labeler", "promoter", "monitor")


def look_at_roles(run_folder: Path) -> list[RoleStanding]:
    """Ask every process that left an endpoint in the run folder; those that were killed are named too.

    A killed process that another of its role has followed is left out: it was replaced.
    """
    endpoints = _endpoints(run_folder)
    if not endpoints:
        return []
    with ThreadPoolExecutor(min(_AT_ONCE, len(endpoints))) as pool:
        standings = list(pool.map(_ask, endpoints))
    kept = [one for one in standings if one.alive or not _followed(one, standings)]
    return sorted(kept, key=lambda one: (_place(one.role), one.started_at_s, one.pid))


def _endpoints(run_folder: Path) -> list[Endpoint]:
    found = []
    for path in (run_folder / "endpoints").glob("*.json"):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=Endpoint))
        except FileNotFoundError:
            continue  # its process left just now
    return found


def _ask(endpoint: Endpoint) -> RoleStanding:
    here = endpoint.hostname == socket.gethostname()
    if here and not _lives(endpoint.pid):
        return _standing(endpoint, "killed", [])
    try:
        with urllib.request.urlopen(f"{endpoint.url}/readyz", timeout=_TIMEOUT_S):
            return _standing(endpoint, "ready", [])
    except urllib.error.HTTPError as refusal:
        with refusal:
            return _standing(endpoint, "not_ready", _reasons(refusal.read()))
    except OSError:  # refused, timed out, gone: URLError included
        return _standing(endpoint, "silent", [])


def _standing(endpoint: Endpoint, state: RoleState, reasons: Sequence[str]) -> RoleStanding:
    return RoleStanding(
        role=endpoint.role,
        pid=endpoint.pid,
        hostname=endpoint.hostname,
        url=endpoint.url,
        started_at_s=endpoint.started_at_s,
        state=state,
        reasons=list(reasons),
    )


def _reasons(body: bytes) -> list[str]:
    try:
        return [str(reason) for reason in json.loads(body)["reasons"]]
    except (ValueError, KeyError, TypeError):
        return [body[:200].decode("utf-8", errors="replace")]


def _followed(killed: RoleStanding, all_roles: Sequence[RoleStanding]) -> bool:
    return any(one.alive and one.role == killed.role and one.started_at_s > killed.started_at_s for one in all_roles)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _place(role: str) -> int:
    return _ORDER.index(role) if role in _ORDER else len(_ORDER)
