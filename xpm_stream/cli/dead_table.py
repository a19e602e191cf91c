"""Dead letters as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from xpm_stream.cli.shard_table import utc

_GAP: Final = 2  # characters between columns
_SHORTEST: Final = 16  # characters of place and detail together

if TYPE_CHECKING:
    from xpm_stream.records import ImagePayload
    from xpm_stream.stages.dead_letters import Letter, OpenedLetter


def print_letters(console: Console, letters: Sequence[Letter]) -> None:
    """Print a line for each letter, cut to the width of the terminal."""
    if not letters:
        return
    rows = [
        (
            *(letter.dead.letter_id, utc(letter.dead.died_at_s)[5:], letter.dead.side, letter.dead.reason),
            *(str(letter.dead.attempts), _short_place(letter), " ".join(letter.dead.detail.split())),
        )
        for letter in letters
    ]
    names = ("id", "died (UTC)", "side", "reason", "tries", "sample", "detail")
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    # Place and detail share what is left of a line; the rest is never cut.
    left = max(_SHORTEST, console.width - sum(widths[:-2]) - _GAP * (len(names) - 1))
    widths[-2] = min(widths[-2], left // 2)
    widths[-1] = left - widths[-2]
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    for name, width in zip(names, widths, strict=True):
        table.add_column(
            name, no_wrap=True, overflow="ellipsis", width=width, justify="right" if name == "tries" else "left"
        )
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)
    console.print()


def print_counts(console: Console, counts: Counter[tuple[str, str]]) -> None:
    """Print how many letters there are, by side and reason."""
    if not counts:
        console.print("no dead letters")
        return
    number = counts.total()
    console.print("1 dead letter" if number == 1 else f"{number:,} dead letters", highlight=False)
    table = Table()
    for name in ("side", "reason"):
        table.add_column(name)
    table.add_column("letters", justify="right")
    for (side, reason), letters in counts.most_common():
        table.add_row(side, Text(reason), f"{letters:,}")
    console.print(table)


def print_opened(console: Console, opened: OpenedLetter) -> None:
    """Print all that is known of one letter."""
    dead, label = opened.letter.dead, opened.label
    facts = {
        "letter": dead.letter_id,
        "died": f"{utc(dead.died_at_s)} UTC, given up by the {dead.side}",
        "reason": dead.reason,
        "detail": dead.detail or "-",
        "attempts": str(dead.attempts),
        "relabelled": f"{dead.relabels} times",
        "sample": "it names none" if dead.sample is None else f"{dead.sample} (pass:shard:ordinal)",
        "shard": opened.letter.shard_url or "not known to Redis",
        "place": dead.place,
    }
    if label is not None:
        teacher = label.teacher
        facts |= {
            "key": label.key or "-",
            "label": f"{dead.message_bytes:,} bytes, by {label.method}, at {utc(label.labelled_at_s)} UTC",
            "teacher": f"promotion {teacher.promotion} (epoch {teacher.epoch}, step {teacher.step})",
            "image": f"{_image_place(label.image)}, {label.image_size_wh[0]} x {label.image_size_wh[1]} pixels",
            "words": ", ".join(label.words) or "-",
        }
    else:
        facts["label"] = (
            f"unreadable: {opened.unreadable}" if opened.unreadable else "none: a replay reads the shard again"
        )
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, fact in facts.items():
        grid.add_row(name, Text(fact))
    console.print(grid)
    if label is not None:
        findings = Table(title=f"{len(label.findings())} findings", title_justify="left")
        findings.add_column("word")
        for name in ("score", "reliability"):
            findings.add_column(name, justify="right")
        for finding in label.findings():
            rated = "-" if finding.reliability is None else f"{finding.reliability:.3f}"
            findings.add_row(Text(finding.word), f"{finding.score:.3f}", rated)
        console.print(findings)


def _short_place(letter: Letter) -> str:
    """The shard's file name and the sample's place in it; the whole of it is in `show` and in the JSON."""
    dead = letter.dead
    if dead.sample is None:
        return dead.place
    shard = letter.shard_url.rpartition("/")[2] if letter.shard_url else dead.sample.shard_id
    offset = dead.place.rpartition("@")[2] if dead.side == "labeler" and "@" in dead.place else ""
    passed = f" pass {dead.sample.pass_index}" if dead.sample.pass_index else ""
    return f"{shard} #{dead.sample.ordinal}{f' @{offset}' if offset else ''}{passed}"


def _image_place(image: ImagePayload) -> str:
    from xpm_stream.records import ImageReference

    if isinstance(image, ImageReference):
        return f"{image.size:,} bytes at byte {image.offset:,} of {image.url}"
    return f"{len(image.data):,} bytes inside the letter"
