"""The faults: what each does to a role that stands at a crash point, and to the world around it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from benchmarks.faults.plan import Fault
from benchmarks.faults.processes import CellFailed, Launched, until
from benchmarks.faults.progress import Held, next_progress
from benchmarks.faults.world import LEASE_S, Slot, World
from xpm_stream.stages.run_account import account_of

PATIENCE_S: Final = 45.0  # far above the goal: a busy machine makes a late recovery, and only a hang is a failure
DISK_ERRORS: Final = ("CheckpointError", "RegistryError")  # what a role on a full disk may end with
_FULL_FOR_S: Final = 1.5
_SWALLOWED_S: Final = 1.0

Seconds = float | None  # none: the next round's fault came before there was any progress to be seen


async def strike(world: World, slot: Slot, victim: Launched) -> Seconds:
    """Do the cell's fault to the victim, which stands at its point (or was killed there); return the recovery time.

    Afterwards the victim goes on, or its successor does.
    """
    return await _STRIKES[world.cell.fault](world, slot, victim)


async def _nothing_missing(world: World, slot: Slot) -> None:
    """With no trainer at work, everything acknowledged is in the last durable checkpoint: nobody has to repair it."""
    if slot.kind == "trainer":
        account = await asyncio.to_thread(account_of, world.direct_config)
        # Labelers are at work: what they move meanwhile may be seen in two places, but never in none.
        if account.audit.missing:
            raise CellFailed(f"the audit while the trainer is away: {account.audit.problems()}")


async def _killed(world: World, slot: Slot, victim: Launched) -> Seconds:
    await _nothing_missing(world, slot)
    over = time.monotonic()
    gone_on = next_progress(world, slot, held=Held.of(world, slot) if slot.kind == "labeler" else None)
    world.start(slot)
    return await _recovery(slot, victim, gone_on, since=over)


async def _frozen(world: World, slot: Slot, victim: Launched) -> Seconds:
    if slot.kind == "labeler":
        return await _frozen_labeler(world, slot, victim)
    await _nothing_missing(world, slot)
    frozen = time.monotonic()
    gone_on = next_progress(world, slot)
    epoch = world.counters()["epoch"]
    successor = world.start(slot)
    if slot.kind == "trainer":
        await until(lambda: world.counters().get("epoch", 0) > epoch, what="the next epoch", within_s=PATIENCE_S)
    recovered = None
    if slot.kind == "promoter" or world.draw.successor_works_first:
        recovered = await _recovery(slot, victim, gone_on, since=frozen)
    victim.signal(signal.SIGCONT)
    if slot.kind == "promoter":
        victim.signal(signal.SIGTERM)  # else it would take its successor's work, as any promoter may
    await until(lambda: victim.ended, what=f"the {slot.kind} that came back ending", within_s=PATIENCE_S)
    fenced = slot.kind == "trainer" and victim.exit_status == 1 and victim.error.startswith("EpochFenced")
    if victim.exit_status != 0 and not fenced:
        raise CellFailed(f"the {slot.kind} that came back ended with {victim.exit_status}: {victim.output}")
    if recovered is None and not (successor.stopped or successor.ended):
        recovered = await _recovery(slot, victim, gone_on, since=frozen)
    return recovered


async def _frozen_labeler(world: World, slot: Slot, victim: Launched) -> Seconds:
    frozen = time.monotonic()
    held = Held.of(world, slot)
    recovered = None
    if not held:
        await asyncio.sleep(LEASE_S)
    elif world.draw.successor_works_first:
        await until(lambda: held.gone_on(world), what="the work of a frozen labeler going on", within_s=PATIENCE_S)
        recovered = time.monotonic() - frozen
    else:
        await until(lambda: held.taken_over(world), what="a frozen labeler's lease taken over", within_s=PATIENCE_S)
    victim.signal(signal.SIGCONT)
    if held and recovered is None:
        await until(lambda: held.gone_on(world), what="the work of a frozen labeler going on", within_s=PATIENCE_S)
        recovered = time.monotonic() - frozen
    if held.shards:
        await until(
            lambda: '"message": "lease lost' in victim.said,
            what=f"the labeler that came back dropping its batch ({victim.output})",
            within_s=PATIENCE_S,
        )
    return recovered


async def _redis_restarted(world: World, slot: Slot, victim: Launched) -> Seconds:
    world.redis.kill()
    await asyncio.sleep(world.draw.outage_s)
    await world.redis.start()
    return await _go_on(world, slot, victim)


async def _redis_cut(world: World, slot: Slot, victim: Launched) -> Seconds:
    proxy = world.proxy
    assert proxy is not None
    before = proxy.swallowed
    if world.draw.lose_answers:
        proxy.swallow()
        victim.signal(signal.SIGCONT)
        deadline = time.monotonic() + _SWALLOWED_S
        while proxy.swallowed == before and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
    proxy.cut()
    victim.signal(signal.SIGCONT)
    await asyncio.sleep(world.draw.outage_s)
    await proxy.start()
    return await _go_on(world, slot, victim)


async def _redis_rolled_back(world: World, slot: Slot, victim: Launched) -> Seconds:
    world.redis.kill()
    world.redis.roll_back(world.draw.kept_fraction)
    await world.redis.start()
    world.add_parts_again()
    return await _go_on(world, slot, victim)


async def _disk_full(world: World, slot: Slot, victim: Launched) -> Seconds:
    victim.limit_files(world.draw.file_limit_bytes)
    victim.signal(signal.SIGCONT)
    deadline = time.monotonic() + _FULL_FOR_S
    while not victim.ended and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    victim.limit_files(None)
    if victim.ended and victim.exit_status != 0:
        said = victim.error
        if victim.exit_status != 1 or not said.startswith(DISK_ERRORS):
            raise CellFailed(f"on a full disk the {slot.kind} ended with {victim.exit_status}: {victim.output}")
        over = time.monotonic()
        gone_on = next_progress(world, slot)
        world.start(slot)
        return await _recovery(slot, victim, gone_on, since=over)
    return await _go_on(world, slot, victim)


async def _redis_disk_full(world: World, slot: Slot, victim: Launched) -> Seconds:
    world.redis.fill_disk()
    victim.signal(signal.SIGCONT)
    await asyncio.sleep(max(_FULL_FOR_S, world.draw.outage_s))
    world.redis.free_disk()
    await until(world.redis.writes, what="Redis writing again", within_s=PATIENCE_S)
    return await _go_on(world, slot, victim)


async def _go_on(world: World, slot: Slot, victim: Launched) -> Seconds:
    """From here on nothing stands in the victim's way."""
    over = time.monotonic()
    gone_on = next_progress(world, slot)
    victim.signal(signal.SIGCONT)
    slot.under_fault = False  # a trainer whose epoch Redis forgot ends, and is started again
    return await _recovery(slot, victim, gone_on, since=over)


async def _recovery(slot: Slot, victim: Launched, gone_on: Callable[[], bool], *, since: float) -> Seconds:
    """Seconds until there is progress; none if the next fault comes first."""
    slot.under_fault = False

    def over() -> str:
        if gone_on():
            return "progress"
        holder = slot.holder
        return "fault" if holder is not None and holder is not victim and (holder.killed or holder.stopped) else ""

    ending = await until(over, what=f"progress of the {slot.kind} after {victim.what}", within_s=PATIENCE_S)
    return time.monotonic() - since if ending == "progress" else None


_STRIKES: Final[Mapping[Fault, Callable[[World, Slot, Launched], Awaitable[Seconds]]]] = {
    "kill": _killed,
    "freeze": _frozen,
    "redis restart": _redis_restarted,
    "redis cut": _redis_cut,
    "redis rolled back": _redis_rolled_back,
    "disk full": _disk_full,
    "redis disk full": _redis_disk_full,
}
