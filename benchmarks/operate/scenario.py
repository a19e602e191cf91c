"""What happens in the demonstration, act by act, and what must come of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from benchmarks.operate.collapse import propose_collapsed
from benchmarks.operate.stream import Stream
from benchmarks.operate.timeline import Event, Timeline
from xpm_stream.config import RunConfig
from xpm_stream.errors import PromotionConflict, XpmStreamError
from xpm_stream.registry.promotion_log import PromotionEntry
from xpm_stream.stages.deciding import Desk

_LOOK_EVERY_S: Final = 0.5
_SHARDS_AHEAD: Final = 2
_MOST_COLLAPSED: Final = 6
_ALERT_WITHIN_S: Final = 10.0  # of a decision: what the role shows is scraped, and the rule looked at, each second
Found = TypeVar("Found")


class DidNotHappen(XpmStreamError):
    """What the demonstration waited for did not come in time."""


@dataclass(slots=True, kw_only=True)
class Scenario:
    """The acts. Shards keep coming: right ones unless an act says otherwise."""

    config: RunConfig
    timeline: Timeline
    stream: Stream
    check: Callable[[], None]  # raises when the run has ended
    backlog: Callable[[], int]  # shards that are not read to their end
    show: Callable[[str], None]  # keeps what `xpm-stream status` says now, by a name for the moment
    patience_s: float
    outcome: list[tuple[str, str]] = field(default_factory=list)  # what was done, what came of it
    _add: Callable[[], None] | None = None  # what puts the next shard there

    def run(self) -> None:
        """Play every act.

        Raises:
            DidNotHappen: something did not come in time.
        """
        self._add = self.stream.add
        self._healthy()
        self._mixed_up_captions()
        self._a_person_overrules(self._collapsed_teacher())

    def _healthy(self) -> None:
        self.timeline.act("captioned images come in; the first teacher is trained on base classes")
        begun = self.timeline.mark()
        self._until(lambda: len(begun.decisions("promote")) >= 2, "a student promoted")

        # Against the labels of this very teacher: against another's, its being better would hide that data are worse.
        def quiet() -> bool:
            champion = f"v{begun.decisions('promote')[-1].facts['number']}"
            last = begun.windows()[-1:]
            return any(one.facts["teacher"] == champion and one.facts["current"] == "no_drift" for one in last)

        self._until(quiet, "a quiet window against the current teacher's reference")
        self.show("1-healthy")

    def _mixed_up_captions(self) -> None:
        self.timeline.act("DATA SHIFT: a crawler joins captions to the wrong images")
        self._add = self.stream.add_mixed_up
        begun = self.timeline.mark()
        alarm = self._until(lambda: begun.windows(causes=("data", "both")), "a window that says the data changed")[0]
        fired = self._until(lambda: begun.alerts("XpmDataDrift"), "XpmDataDrift")[0]
        self._until(lambda: begun.decisions(gate="drift_brake"), "a candidate held back by the brake")
        self.show("2-captions-mixed-up")
        self.outcome.append(
            (
                f"captions of other images, behind {_SHARDS_AHEAD} right shards",
                f"window {begun.windows().index(alarm) + 1} blamed the data ({alarm.at_s - begun.at_s:.0f} s), "
                f"XpmDataDrift fired after {fired.at_s - begun.at_s:.0f} s, and the next candidate was held back",
            )
        )
        self.timeline.act("the crawler is mended: right captions again")
        self._add = self.stream.add
        begun = self.timeline.mark()
        self._until(lambda: begun.windows() and not begun.windows()[-1].facts["brake"], "the brake released")
        over = self._until(lambda: begun.over("XpmDataDrift"), "XpmDataDrift being over")[0]
        self.outcome.append(
            ("captions mended", f"the brake was released, and XpmDataDrift over after {over.at_s - begun.at_s:.0f} s")
        )

    def _collapsed_teacher(self) -> str:
        self.timeline.act(
            "TEACHER COLLAPSE: candidates whose knowledge of words is mixed up are proposed, two at a time"
        )
        begun = self.timeline.mark()
        names: list[str] = []

        def decided() -> list[Event]:
            return [one for one in begun.decisions() if one.facts["checkpoint"] in names]

        # Two in a row alert. A good candidate between them, by chance, is promoted, and the count begins anew.
        while not begun.alerts("XpmPromotionRefused"):
            if len(names) >= _MOST_COLLAPSED:
                raise DidNotHappen(
                    f"XpmPromotionRefused did not fire though {len(names)} collapsed teachers were refused"
                )
            for _ in range(2):
                names.append(propose_collapsed(self.config, seed=len(names) + 1).checkpoint)
            self._until(lambda: len(decided()) == len(names), "the gates' decision on each")
            promoted = [one.what for one in decided() if one.facts["action"] == "promote"]
            if promoted:
                raise DidNotHappen(f"a collapsed teacher was promoted: {promoted[0]}")
            self._within(_ALERT_WITHIN_S, lambda: begun.alerts("XpmPromotionRefused"))
        fired = begun.alerts("XpmPromotionRefused")[0]
        self.show("3-collapsed-teachers-refused")
        self.outcome.append(
            (
                "a collapsed teacher proposed",
                f"refused by the gates {', '.join(map(str, decided()[0].facts['gates']))}; XpmPromotionRefused fired "
                f"after {fired.at_s - begun.at_s:.0f} s",
            )
        )
        return names[-1]

    def _a_person_overrules(self, checkpoint: str) -> None:
        self.timeline.act("A PERSON promotes it all the same: xpm-stream checkpoints promote")
        begun = self.timeline.mark()
        entry = self._decide(lambda desk: desk.promote(checkpoint, because=["to show what comes of it"]))
        teacher = f"v{entry.number}"
        alarm = self._until(
            lambda: begun.windows(causes=("teacher", "both"), teacher=teacher), "a window that says the teacher changed"
        )[0]
        fired = self._until(lambda: begun.alerts("XpmTeacherDrift"), "XpmTeacherDrift")[0]
        self.show("4-promoted-by-hand")
        self.outcome.append(
            (
                "it is promoted by hand",
                f"window {begun.windows(teacher=teacher).index(alarm) + 1} of its labels blamed the teacher, "
                f"XpmTeacherDrift fired after {fired.at_s - begun.at_s:.0f} s",
            )
        )
        self.timeline.act("and takes it back: xpm-stream checkpoints revoke")
        begun = self.timeline.mark()
        self._decide(lambda desk: desk.revoke(entry.number, because=["its labels are nonsense"]))
        self._until(
            lambda: [one for one in begun.windows() if one.facts["teacher"] != teacher], "labels of another teacher"
        )
        over = self._until(lambda: begun.over("XpmTeacherDrift"), "XpmTeacherDrift being over")[0]
        self.show("5-revoked")
        self.outcome.append(
            (
                "it is revoked",
                "the teacher before labels again, and what was queued is made again; XpmTeacherDrift was over after "
                f"{over.at_s - begun.at_s:.0f} s",
            )
        )

    def _decide(self, decision: Callable[[Desk], PromotionEntry]) -> PromotionEntry:
        """Take a person's decision; again where the promoter wrote an entry at the same moment."""
        while True:
            try:
                return decision(Desk(self.config))
            except PromotionConflict:
                continue

    def _until(self, found: Callable[[], Found], what: str) -> Found:
        seen = self._within(self.patience_s, found)
        if not seen:
            raise DidNotHappen(f"within {self.patience_s:.0f} s this did not come: {what}")
        return seen

    def _within(self, seconds: float, found: Callable[[], Found]) -> Found:
        """What is found, or what is not, after so long; the stream goes on meanwhile."""
        ends = time.monotonic() + seconds
        while True:
            self.check()
            self.timeline.look()
            seen = found()
            if seen or time.monotonic() > ends:
                return seen
            if self._add is not None and self.backlog() < _SHARDS_AHEAD:
                self._add()
            time.sleep(_LOOK_EVERY_S)
