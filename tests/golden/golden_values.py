"""The stored numbers: how they are written, and how a run is compared with them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from golden_run import GoldenRun

GOLDEN_FILE: Final = Path(__file__).with_name("golden_losses.json")
EXACT: Final = 0.0

# How far losses may be from the stored ones, relative, up to and including a step. Measured on 2026-11-20, 2 cores of
# an AMD EPYC, against runs with SSE4.1 and AVX2 kernels in place of AVX512, without oneDNN, and from weights shaken by
# 1e-7 of themselves: at most 3e-5 in the first two steps, 1e-4 up to the fifth, and 1e-2 in the later ones (all but
# two in a thousand: 1e-3), where a rounding error has become another RoI in a sample. torch 2.11 and 2.14 were
# bit-equal on one CPU. A change of what is learnt shows in the first five steps; the later ones hold its course.
LOSS_RTOL_UNTIL_STEP: Final = ((2, 1e-4), (5, 1e-3), (math.inf, 3e-2))
LOSS_ATOL: Final = 1e-6
# Labels come before any step: 4e-6 of a score and 2e-5 pixels were measured, and never another word or mask cell.
LABEL_RTOL: Final = 1e-4
LABEL_ATOL: Final = 1e-4  # pixels of a box, or a score


def read_golden(path: Path = GOLDEN_FILE) -> dict[str, GoldenRun]:
    """The stored runs by arm; none where nothing was stored yet."""
    if not path.is_file():
        return {}
    return {name: GoldenRun(**stored) for name, stored in json.loads(path.read_text()).items()}


def write_golden(runs: Mapping[str, GoldenRun], path: Path = GOLDEN_FILE) -> None:
    """Store runs, a line for each loss and each labelled object, so that a diff says what changed."""
    arms = [f"{json.dumps(name)}: {_arm_text(runs[name])}" for name in sorted(runs)]
    path.write_text("{\n" + ",\n".join(arms) + "\n}\n")


def differences(stored: GoldenRun, found: GoldenRun, *, exact: bool = False) -> list[str]:
    """What is not as stored, a line each; empty if all is. `exact` allows no rounding at all."""
    lines = list(_label_differences("labels", stored.labels, found.labels, exact=exact))
    for name in sorted(stored.losses.keys() | found.losses.keys()):
        if name not in found.losses or name not in stored.losses:
            lines.append(f"{name}: {'gone' if name in stored.losses else 'new'}")
        else:
            lines += _loss_differences(name, stored.losses[name], found.losses[name], exact=exact)
    return lines


def loss_rtol(step: int) -> float:
    """The tolerance of a step, counted from 1."""
    return next(rtol for until, rtol in LOSS_RTOL_UNTIL_STEP if step <= until)


def _loss_differences(name: str, stored: list[float], found: list[float], *, exact: bool) -> Iterator[str]:
    if len(stored) != len(found):
        yield f"{name}: {len(found)} steps, stored are {len(stored)}"
        return
    apart = [
        step
        for step, (old, new) in enumerate(zip(stored, found, strict=True), start=1)
        if not _alike(old, new, rtol=EXACT if exact else loss_rtol(step), atol=EXACT if exact else LOSS_ATOL)
    ]
    if apart:
        first = apart[0]
        old, new = stored[first - 1], found[first - 1]
        yield (
            f"{name}: {len(apart)} of {len(stored)} steps, from step {first} on: "
            f"{old:.6g} -> {new:.6g} ({_relative(old, new):.1e})"
        )


def _label_differences(place: str, stored: Any, found: Any, *, exact: bool) -> Iterator[str]:
    """Walk down lists and mappings; a line for each leaf that is another."""
    if isinstance(stored, dict) and isinstance(found, dict) and stored.keys() == found.keys():
        for key in stored:
            yield from _label_differences(f"{place}.{key}", stored[key], found[key], exact=exact)
    elif isinstance(stored, list) and isinstance(found, list) and len(stored) == len(found):
        for index, (old, new) in enumerate(zip(stored, found, strict=True)):
            yield from _label_differences(f"{place}[{index}]", old, new, exact=exact)
    elif isinstance(stored, float) and isinstance(found, float):
        rtol, atol = (EXACT, EXACT) if exact else (LABEL_RTOL, LABEL_ATOL)
        if not _alike(stored, found, rtol=rtol, atol=atol):
            yield f"{place}: {stored:.6g} -> {found:.6g}"
    elif stored != found:
        yield f"{place}: {stored!r} -> {found!r}"


def _alike(old: float, new: float, *, rtol: float, atol: float) -> bool:
    return math.isclose(old, new, rel_tol=rtol, abs_tol=atol)


def _relative(old: float, new: float) -> float:
    return abs(new - old) / abs(old) if old else math.inf


def _arm_text(run: GoldenRun) -> str:
    content = asdict(run)
    losses = [f"  {json.dumps(name)}: {json.dumps(values)}" for name, values in content["losses"].items()]
    return "{\n" + f' "labels": {_labels_text(content["labels"])},\n "losses": {{\n' + ",\n".join(losses) + "\n }\n}"


def _labels_text(labels: list[dict[str, Any]]) -> str:
    return "[" + ",".join(_image_text(one) for one in labels) + "]"


def _image_text(label: dict[str, Any]) -> str:
    parts = [f'"words": {json.dumps(label["words"])}']
    for kind in ("instances", "proposals"):
        rows = ",".join(f"\n    {json.dumps(one)}" for one in label[kind])
        parts.append(f'"{kind}": [{rows}]')
    return "\n  {\n   " + ",\n   ".join(parts) + "}"
