"""One cell from its start to its verdict: the stream of a small corpus, its faults, and who starts roles again."""

from __future__ import annotations

import asyncio
import shutil
import time
import traceback
from pathlib import Path
from typing import Final

from benchmarks.faults.plan import Cell
from benchmarks.faults.processes import CellFailed, Launched, until
from benchmarks.faults.strikes import DISK_ERRORS, PATIENCE_S, strike
from benchmarks.faults.verdict import CellResult, judge
from benchmarks.faults.world import PARTS, Slot, World
from xpm_stream.errors import PromotionConflict, XpmStreamError

_LONGEST_S: Final = 180.0
_STALE_LABELS: Final = 48  # are on the queue when a newer teacher comes
_FEW_STALE_LABELS: Final = 24
_NEW_TEACHER_EVERY_S: Final = 0.5
_MOST_TEACHERS: Final = 16
_SUPERVISED_EVERY_S: Final = 0.02


async def run_cell(cell: Cell, *, folder: Path) -> CellResult:
    """Run a cell; its folder stays only if it failed."""
    started = time.monotonic()
    world = World(cell, folder=folder)
    run = _CellRun(world)
    try:
        async with asyncio.timeout(_LONGEST_S):
            await world.open()
            await run.to_the_end()
            # In a thread: the other cells' clocks run on.
            result = await asyncio.to_thread(judge, world, recoveries=run.recoveries)
    except TimeoutError:
        result = CellResult.failed(cell, f"not finished within {_LONGEST_S:.0f} s ({run.place})", run.recoveries)
    except (ExceptionGroup, CellFailed, XpmStreamError, OSError) as errors:
        error = _first(errors)
        if not isinstance(error, CellFailed):
            (folder / "harness.txt").write_text("".join(traceback.format_exception(errors)), encoding="utf-8")
        result = CellResult.failed(cell, f"{type(error).__name__}: {error} ({run.place})", run.recoveries)
    finally:
        await world.close()
    result.seconds = time.monotonic() - started
    if result.ok:
        shutil.rmtree(folder)
    else:
        result.folder = str(folder)
    return result


def _first(errors: Exception) -> Exception:
    while isinstance(errors, ExceptionGroup):
        errors = errors.exceptions[0]
    return errors


class _CellRun:
    """The parts of a cell that go on at the same time."""

    def __init__(self, world: World) -> None:
        self.recoveries: list[float] = []
        self.place = "starting"
        self._world = world
        self._cell = world.cell
        self._victims = world.slot("labeler-0" if self._cell.role == "labeler" else self._cell.role)
        self._struck = 0
        self._done = False

    async def to_the_end(self) -> None:
        """Stream the corpus, with the faults in between, until everything is trained."""
        self._victims.arm = self._armed(0)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._supervise())
            tasks.create_task(self._new_teachers())
            strikes = tasks.create_task(self._strike_all())
            await self._begin()
            await strikes
            await self._finish()
            self._done = True

    # -- the stream

    async def _begin(self) -> None:
        """Labels of a first teacher wait on the queue when a second comes and the trainer starts: they are stale."""
        world = self._world
        world.start(world.slot("promoter"))
        world.propose_teacher()
        await until(world.log.champion, what="the first promotion", within_s=PATIENCE_S)
        for slot in world.slots:
            if slot.kind == "labeler":
                world.start(slot)
        await until(
            lambda: world.counters().get("unacked", 0) >= _STALE_LABELS, what="the first labels", within_s=PATIENCE_S
        )
        second = world.propose_teacher()
        await until(
            lambda: second.number not in {candidate.number for candidate in world.log.pending_candidates()},
            what="the second promotion",
            within_s=PATIENCE_S,
        )
        if world.draw.revoke:
            await self._revoke_first()
        world.start(world.slot("trainer"))

    async def _revoke_first(self) -> None:
        while True:
            try:
                self._world.log.append("revoke", target=1, by="operator")
            except PromotionConflict:  # the promoter wrote at the same moment
                await asyncio.sleep(0.01)
            else:
                return

    async def _new_teachers(self) -> None:
        """While a point of stale labels (or of promotions) is still to be met, let there be some."""
        wanted = ("relabel", "give_back", "promoter")
        while any(word in self._cell.point for word in wanted) and self._struck < len(self._world.draw.arrivals):
            await asyncio.sleep(_NEW_TEACHER_EVERY_S)
            if self._world.slot("trainer").wanted and self._teachers_pending() == 0:
                self._world.propose_teacher()
            if len(self._world.log.candidates()) >= _MOST_TEACHERS:
                return

    def _teachers_pending(self) -> int:
        return len(self._world.log.pending_candidates())

    async def _finish(self) -> None:
        """Add what is left of the corpus, and wait for every role's good end."""
        world = self._world
        self.place = "finishing"
        while world.parts_left:
            self._world.add_part()
        streaming = [slot for slot in world.slots if slot.kind != "promoter"]
        await until(
            lambda: all(slot.finished for slot in streaming) and not world.work_left(),
            what="the corpus finished by all roles",
            within_s=90,
        )
        status = await world.stop(world.slot("promoter"))
        if status != 0:
            raise CellFailed(f"the promoter ended with {status} when asked to")

    # -- the faults

    def _armed(self, number: int) -> str | None:
        arrivals = self._world.draw.arrivals
        if number >= len(arrivals):
            return None
        stop = "" if self._cell.fault == "kill" else ":stop"
        return f"{self._cell.point}:{arrivals[number]}{stop}"

    async def _strike_all(self) -> None:
        slot = self._victims
        for number in range(len(self._world.draw.arrivals)):
            self.place = f"round {number + 1}, before {slot.arm}"
            if number > 0 and "relabel" in self._cell.point:
                await self._stale_labels_for(slot)
            victim = await self._reached(slot)
            rival = self._world.slot("labeler-1")
            if number > 0 and not rival.wanted:
                self._world.start(rival)
            self.place = f"round {number + 1}, after {slot.arm}"
            slot.under_fault = True
            slot.arm = self._armed(number + 1)
            try:
                recovered = await strike(self._world, slot, victim)
            finally:
                slot.under_fault = False
            if recovered is not None:
                self.recoveries.append(recovered)
            self._struck += 1
            if slot.arm is not None:
                if slot.holder is victim:
                    await self._replace(slot, victim)
                if number == 0 and self._world.parts_left == PARTS - 1:
                    self._world.add_part()

    async def _reached(self, slot: Slot) -> Launched:
        """Wait until the slot's holder stands at its point, or was killed there."""

        def reached() -> bool:
            if slot.holder is None:
                return False
            finished = all(other.finished for other in self._world.slots if other.kind != "promoter")
            if finished and not self._world.work_left():
                if not self._world.parts_left:
                    raise CellFailed(f"{slot.arm} was never reached")
                self._world.add_part()
            return slot.struck

        await until(reached, what=f"reaching {slot.arm}", within_s=90)
        assert slot.holder is not None
        return slot.holder

    async def _stale_labels_for(self, slot: Slot) -> None:
        """Let labels wait for a trainer until they are stale, and no other labeler be there to label them again."""
        world = self._world
        for name in ("trainer", "labeler-1"):
            if not world.slot(name).finished:
                await world.stop(world.slot(name))
        await until(
            lambda: slot.struck or world.counters().get("unacked", 0) >= _FEW_STALE_LABELS or not world.work_left(),
            what="labels that wait",
            within_s=PATIENCE_S,
        )
        if slot.struck:  # relabel work was left of the round before, and it labels nothing more that could wait
            world.start(world.slot("trainer"))
            return
        teacher = world.propose_teacher()
        await until(
            lambda: teacher.number not in {candidate.number for candidate in world.log.pending_candidates()},
            what="another promotion",
            within_s=PATIENCE_S,
        )
        world.start(world.slot("trainer"))

    async def _replace(self, slot: Slot, victim: Launched) -> None:
        """Start a successor that meets the next round's fault; a labeler that came back is asked to end before."""
        if self._cell.fault == "freeze" and not slot.finished:
            status = await self._world.stop(slot)
            if status != 0:
                raise CellFailed(f"the {slot.kind} that came back ended with {status}: {victim.output}")
        victim.kill()
        self._world.start(slot)

    # -- supervision

    async def _supervise(self) -> None:
        """Start again what ended with an error it may end with; anything else is a failure."""
        while not self._done:
            for slot in self._world.slots:
                holder = slot.holder
                if holder is None or not holder.ended or not slot.wanted or slot.under_fault:
                    continue
                self._look_at(slot, holder)
            await asyncio.sleep(_SUPERVISED_EVERY_S)

    def _look_at(self, slot: Slot, holder: Launched) -> None:
        by_fault = holder.killed and slot is self._victims and self._cell.fault == "kill"
        if by_fault:
            return
        if holder.exit_status == 0 and slot.kind != "promoter":
            if self._world.work_left():  # shards were added, or Redis was put back, when it had finished
                self._world.start(slot)
            return
        rolled_back, full = self._cell.fault == "redis rolled back", self._cell.fault == "disk full"
        epoch_forgotten = rolled_back and holder.error.startswith("EpochFenced")
        disk_full = full and slot is self._victims and holder.error.startswith(DISK_ERRORS)
        if holder.exit_status != 1 or not (epoch_forgotten or disk_full):
            raise CellFailed(
                f"{slot.name} ended with {holder.exit_status}: {holder.error or holder.said[-300:]} ({holder.output})"
            )
        self._world.start(slot)
