"""What a registry has, and what is known of one checkpoint, without reading weights."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from xpm_stream.errors import CheckpointError, RegistryError
from xpm_stream.registry.holds import Holds
from xpm_stream.registry.manifest import CheckpointInfo
from xpm_stream.registry.model_card import MODEL_CARD, CardSection, parse_model_card
from xpm_stream.registry.promotion_log import PromotionEntry, PromotionLog
from xpm_stream.registry.revisions import Revision, Source, info_of
from xpm_stream.registry.store import MAX_RECORD_BYTES, NotListed, open_store

METRICS: Final = "metrics.json"
_DESCRIBING: Final = (MODEL_CARD, METRICS, "vocabulary.json", "classes.json", "config.json")
_NO_MEASURES: Final = frozenset(
    {"schema_version", "checkpoint", "set_id", "seconds", "num_held_out", "num_canary", "created_at_s", "epoch", "step"}
)
Status = Literal["champion", "promoted", "revoked", "refused", "inconclusive", "waiting", "not proposed", "alone"]


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One checkpoint of a registry."""

    info: CheckpointInfo
    status: Status
    entry: int | None = None  # of the log: the last that judged it
    pinned: str | None = None  # why


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one checkpoint."""

    where: str  # URL, without credentials
    listed: Listed
    config: dict[str, Any]
    card: dict[str, CardSection]  # by section
    words: list[str] | None  # of its vocabulary; none: its method keeps none
    base_words: list[str]
    gates: list[dict[str, Any]]  # what the last judgement measured
    measures: dict[str, float]  # numbers of metrics.json, and what the gates measured


def take_inventory(source: Source) -> list[Listed]:
    """Return the checkpoints that are there, oldest first.

    Raises:
        RegistryError: a file of the registry is damaged.
        OSError: it cannot be read.
    """
    if source.alone is not None:
        return [Listed(info=info_of(source, Revision(source.alone)), status="alone")]
    log = PromotionLog(source.url)
    infos = _infos(source, log)
    pinned: dict[str, str] = {}
    with contextlib.suppress(NotListed):
        pinned = {name: pin.reason for name, pin in Holds(source.url).pins().items()}
    return [_listed(info, log, pinned.get(info.name)) for info in infos]


def describe(source: Source, revision: Revision) -> Description:
    """Return what is known of one checkpoint; its small files are read and checked.

    Raises:
        RegistryError: it is missing or damaged.
        OSError: it cannot be read.
    """
    info = info_of(source, revision)
    files = source.folder(revision).read(only=_DESCRIBING)
    entries: Sequence[PromotionEntry] = ()
    listed = Listed(info=info, status="alone")
    if source.alone is None:
        log = PromotionLog(source.url)
        entries = [entry for entry in log.entries() if entry.checkpoint == info.name]
        pin = None
        with contextlib.suppress(NotListed):
            pin = Holds(source.url).pins().get(info.name)
        listed = _listed(info, log, pin.reason if pin else None)
    gates: list[dict[str, Any]] = next(
        (entry.checks["gates"] for entry in reversed(entries) if entry.checks.get("gates")), []
    )
    vocabulary = _json(files, "vocabulary.json").get("vocabulary", {}).get("words")
    return Description(
        where=source.shown,
        listed=listed,
        config=_json(files, "config.json"),
        card=parse_model_card(files.get(MODEL_CARD, b"").decode(errors="replace")),
        words=vocabulary,
        base_words=_json(files, "classes.json").get("base", []),
        gates=gates,
        measures=_flat_numbers(_json(files, METRICS)) | _measures(source, info.name),
    )


def flattened(tree: dict[str, Any], *, prefix: str = "") -> dict[str, Any]:
    """Return a tree's leaves by dotted key."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            leaves |= flattened(value, prefix=f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def _infos(source: Source, log: PromotionLog) -> list[CheckpointInfo]:
    with contextlib.suppress(NotListed):
        listed = source.checkpoints.list()
        if listed:
            return listed
    # A web server without listings, or with a page of its own for a folder: what the log names, and is still there.
    names = dict.fromkeys(candidate.checkpoint for candidate in log.candidates())
    names |= dict.fromkeys(entry.checkpoint for entry in log.entries())
    infos = []
    for name in names:
        folder = source.checkpoints.folder(name)
        with contextlib.suppress(FileNotFoundError):
            infos.append(folder.parse(folder.manifest_if_there()))
    return sorted(infos, key=lambda info: (info.order, info.sequence, info.name))


def _listed(info: CheckpointInfo, log: PromotionLog, pinned: str | None) -> Listed:
    champion = log.champion()
    entries = [entry for entry in log.entries() if entry.checkpoint == info.name and entry.action != "revoke"]
    number = entries[-1].number if entries else None
    status: Status = "not proposed"
    if champion is not None and champion.checkpoint == info.name:
        status, number = "champion", champion.number
    elif entries and entries[-1].number in log.revoked():
        status = "revoked"
    elif entries and entries[-1].is_promotion:
        status = "promoted"
    elif entries:
        status = "refused" if entries[-1].action == "refuse" else "inconclusive"
    elif any(candidate.checkpoint == info.name for candidate in log.candidates()):
        status = "waiting"
    return Listed(info=info, status=status, entry=number, pinned=pinned)


def _measures(source: Source, name: str) -> dict[str, float]:
    """What the gates measured of it, by the set of images it was measured on."""
    found: dict[str, float] = {}
    if source.alone is not None:
        return found
    store = open_store(source.url)
    with contextlib.suppress(NotListed):
        for folder in store.names("gates"):
            with contextlib.suppress(FileNotFoundError):
                path = f"gates/{folder}/{name}.json"
                try:
                    tree = msgspec.json.decode(store.read(path, max_bytes=MAX_RECORD_BYTES), type=dict[str, Any])
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                    raise RegistryError(f"{path} in {source.shown} is damaged ({error}): delete it") from error
                found |= _flat_numbers(tree, prefix=f"gates {folder[:8]}.")  # of one set only can they be compared
    return found


def _flat_numbers(tree: dict[str, Any], *, prefix: str = "") -> dict[str, float]:
    told = {key: value for key, value in tree.items() if key not in _NO_MEASURES}
    return {
        key: value
        for key, value in flattened(told, prefix=prefix).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _json(files: dict[str, bytes], name: str) -> dict[str, Any]:
    if name not in files:
        return {}
    try:
        tree = json.loads(files[name])
    except ValueError as error:
        raise CheckpointError(f"{name} of the checkpoint is not JSON: {error}") from error
    return tree if isinstance(tree, dict) else {}
