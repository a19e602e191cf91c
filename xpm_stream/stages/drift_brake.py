"""Whether drift holds promotions back, as the newest record of the drift monitor says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from xpm_stream.errors import RegistryError
from xpm_stream.registry.store import Store

WINDOWS_FOLDER: Final = "drift/windows"


class Brake(msgspec.Struct, frozen=True, kw_only=True):
    """What a promoter reads of a window's record."""

    number: int
    brake: bool
    brake_reasons: Sequence[str] = ()


def newest_brake(store: Store) -> Brake | None:
    """Return what the newest window says; none while no monitor has judged one.

    Raises:
        RegistryError: the record is damaged.
    """
    names = store.names(WINDOWS_FOLDER)
    if not names:
        return None
    try:
        data = store.read(f"{WINDOWS_FOLDER}/{names[-1]}")
    except FileNotFoundError:  # pruned just now: a newer one is there
        return newest_brake(store)
    try:
        return msgspec.json.decode(data, type=Brake)
    except msgspec.DecodeError as error:
        raise RegistryError(
            f"{WINDOWS_FOLDER}/{names[-1]} in {store.url} is damaged ({error}): delete it, "
            "the next window is written anew"
        ) from error
