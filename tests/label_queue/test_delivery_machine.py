"""Labelers, trainers of one to three ranks, crashes, rollbacks and lost checkpoints in any order.

After every step the audit adds up, and nothing is buried that did not die alone so often.
"""

import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from queue_examples import copy_of_redis, expire_lease, expire_relabels, label, opened, restore_redis, shard

from xpm_stream.errors import EpochFenced, LeaseLost
from xpm_stream.label_queue import CommitBatch, Cursor, Reject, RelabelReject, TrainedLedger

SAMPLES_PER_SHARD = 12
EXAMPLES = int(os.environ.get("XPM_TEST_EXAMPLES", "20"))
FATES = ("label", "label", "label", "skip", "reject")


@dataclass
class Trainer:
    """One life of a trainer of some ranks: what they hold in memory, which a crash forgets."""

    queues: list  # of each rank
    trained: TrainedLedger  # the model's own account, checkpointed with it
    steps: list  # every sample this lineage learnt from, in order: the truth the ledger is checked against
    waiting: list = field(default_factory=list)  # read, not trained
    done: list = field(default_factory=list)  # trained or known, not acknowledged
    trials: dict = field(default_factory=dict)  # rank -> the suspect it tries now
    rolled_back: bool = False  # Redis is an older one than it was

    @property
    def queue(self):
        return self.queues[0]


class DeliveryMachine(RuleBasedStateMachine):
    url = ""

    @initialize()
    def begin(self):
        self.namespace = f"m{uuid4().hex[:10]}"
        self.queue = opened(self.url, self.namespace, max_attempts=2, max_relabels=2)
        self.client = self.queue.edge.client
        self.leases, self.zombies, self.relabel_leases = [], [], []
        self.shards = 0
        self.checkpoints = [(TrainedLedger(), [], 0)]  # ledger, steps, epoch
        self.died_alone = {}  # stream entry -> lives that ended in its trial; what Redis forgets cannot bury
        self.old_trainers = []
        self.redis_copy = None
        self.lost_since_copy = False
        self.add_shard()
        self.start_trainer()

    def open(self):
        return opened(self.url, self.namespace, max_attempts=2, max_relabels=2)

    # -- labelers

    @rule()
    @precondition(lambda self: self.shards < 4)
    def add_shard(self):
        self.queue.add_shards([shard(f"s{self.shards}")])
        self.shards += 1

    @contextmanager
    def cut(self, cut):
        """Each request arrives twice, and the client sees the second answer."""
        plain = self.queue.edge.run

        def run(name, **options):
            plain(name, **options)
            return plain(name, **options)

        if cut:
            self.queue.edge.run = run
        yield
        self.queue.edge.run = plain

    @rule(cut=st.booleans())
    def lease_a_shard(self, cut=False):
        leased = self.queue.stats().shards_leased
        with self.cut(cut):
            lease = self.queue.acquire("labeler")
        assert self.queue.stats().shards_leased <= leased + (lease is not None), "a lease nobody knows of"
        if lease is not None:
            assert lease.cursor.ordinal <= SAMPLES_PER_SHARD
            self.leases.append(lease)

    def batch_for(self, lease, fates):
        start = lease.cursor.ordinal
        stop = min(start + len(fates), SAMPLES_PER_SHARD)
        labels, skips, rejects = [], [], []
        for ordinal, fate in zip(range(start, stop), fates, strict=False):
            if fate == "label":
                labels.append(label(lease.shard.sample(ordinal)))
            elif fate == "skip":
                skips.append(ordinal)
            else:
                rejects.append(Reject(ordinal=ordinal, reason="broken"))
        finished = stop == SAMPLES_PER_SHARD
        cursor = Cursor(stop, stop * 512)
        return CommitBatch(cursor=cursor, labels=labels, skips={"none": skips}, rejects=rejects, finished=finished)

    @rule(data=st.data(), fates=st.lists(st.sampled_from(FATES), min_size=1, max_size=6), cut=st.booleans())
    def commit(self, data, fates, cut):
        if not self.leases:
            self.lease_a_shard()
        if not self.leases:
            return
        lease = self.leases.pop(data.draw(st.integers(0, len(self.leases) - 1)))
        batch = self.batch_for(lease, fates)
        try:
            after = self.queue.commit(lease, batch)
            if cut:  # the answer was lost and the labeler asks again
                assert self.queue.commit(lease, batch) == after
        except LeaseLost:
            return
        self.zombies.append(lease)
        if not after.finished:
            self.leases.append(after)

    @rule(data=st.data())
    @precondition(lambda self: self.leases)
    def kill_or_stop_a_labeler(self, data):
        lease = self.leases.pop(data.draw(st.integers(0, len(self.leases) - 1)))
        self.zombies.append(lease)
        how = data.draw(st.sampled_from(("released", "put off", "killed")))
        if how == "released":
            self.queue.release(lease)
        elif how == "put off":
            with suppress(LeaseLost):
                self.queue.fail_shard(lease, reason="away", waits_s=[0.001] * 99)
        else:
            expire_lease(self.queue, lease.shard.key) if self.knows(lease.shard.key) else None

    def knows(self, shard_key):
        row = {row.key: row for row in self.queue.shard_rows()}.get(shard_key)
        return row is not None and row.state == "leased"

    @rule(data=st.data(), fails=st.sampled_from([False, False, True]))
    @precondition(lambda self: self.leases)
    def a_labeler_tries_one_sample_or_fails_its_shard(self, data, fails):
        lease = self.leases.pop(data.draw(st.integers(0, len(self.leases) - 1)))
        try:
            lease = self.queue.try_sample(lease)
            if fails:
                self.queue.fail_shard(lease, reason="gone")
            else:
                self.leases.append(lease)
        except LeaseLost:
            return

    @rule(data=st.data(), fates=st.lists(st.sampled_from(FATES), min_size=1, max_size=6))
    @precondition(lambda self: self.zombies)
    def a_zombie_labeler_commits(self, data, fates):
        lease = self.zombies[data.draw(st.integers(0, len(self.zombies) - 1))]
        try:
            self.queue.commit(lease, self.batch_for(lease, fates))
        except LeaseLost:
            return

    def lease_relabel_work(self, count, cut):
        with self.cut(cut):
            lease = self.queue.take_relabels("labeler", count=count)
        if lease is not None:
            ours = self.client.hvals(self.queue.keys.relabel_leases).count(lease.lease_id.encode())
            assert ours == len(lease.work), "relabel work leased that nobody knows of"
            self.relabel_leases.append(lease)

    @rule(data=st.data(), cut=st.booleans())
    def commit_relabel_work(self, data, cut):
        if data.draw(st.booleans()) or not self.relabel_leases:
            self.lease_relabel_work(4, cut)
        if not self.relabel_leases:
            return
        lease = self.relabel_leases[data.draw(st.integers(0, len(self.relabel_leases) - 1))]
        assert len(lease.work) == 1 or not any(one.tried for one in lease.work), "suspects are leased alone"
        arguments = {"labels": [], "skips": {"none": []}, "rejects": [], "later": {}}
        for one in lease.work:
            fate = data.draw(st.sampled_from((*FATES, "later")))
            if fate == "label":
                arguments["labels"].append(label(one.sample, promotion=2))
            elif fate == "skip":
                arguments["skips"]["none"].append(one.sample)
            elif fate == "later":
                arguments["later"][one.sample] = 0.0
            else:
                reject = Reject(ordinal=one.sample.ordinal, reason="broken")
                arguments["rejects"].append(RelabelReject(sample=one.sample, reject=reject))
        self.queue.commit_relabels(lease, **arguments)
        if cut:
            assert self.queue.commit_relabels(lease, **arguments) == 0

    def relabel_leases_expire(self):
        expire_relabels(self.queue)

    # -- the trainer

    def start_trainer(self, ranks=1):
        ledger, steps, epoch = self.checkpoints[-1]
        queues = [self.open() for _ in range(ranks)]
        self.trainer = Trainer(queues=queues, trained=ledger.copy(), steps=list(steps))
        self.epoch = self.trainer.queue.raise_epoch(at_least=epoch)
        self.trainer.queue.settle(self.trainer.trained)
        for other in queues[1:]:
            other.join_epoch(self.epoch)

    def kill_the_trainer_and_start_another(self, ranks=1):
        self.old_trainers.append(self.trainer)
        assert len(self.trainer.trials) <= 1 or self.trainer.rolled_back, "one suspect at a time over all ranks"
        for delivery in self.trainer.trials.values():
            self.died_alone[delivery.entry_id] = self.died_alone.get(delivery.entry_id, 0) + 1
        self.start_trainer(ranks)

    @rule(ranks=st.integers(1, 3))
    def the_trainer_is_killed_and_started_with_other_ranks(self, ranks):
        self.kill_the_trainer_and_start_another(ranks)

    @rule()
    @precondition(lambda self: len(self.checkpoints) > 1)
    def lose_the_newest_checkpoint(self):
        self.checkpoints = self.checkpoints[: max(1, len(self.checkpoints) - 1)]
        self.lost_since_copy = True
        self.kill_the_trainer_and_start_another()

    def fenced(self, write):
        """What a trainer does; an older Redis makes it start again."""
        try:
            return write(self.trainer)
        except EpochFenced:
            self.kill_the_trainer_and_start_another()
            return None

    def rank_of(self, number):
        """A rank of the trainer of now: its name and its queue."""
        number %= len(self.trainer.queues)
        return f"rank{number}", self.trainer.queues[number]

    @rule(count=st.integers(1, 8), swallowed=st.booleans(), rank=st.integers(0, 2))
    def read(self, count, swallowed, rank):
        name, queue = self.rank_of(rank)

        def go(trainer):
            if swallowed:
                queue._read_script(name, count=2)
            trainer.waiting += queue.read(name, count=count)

        self.fenced(go)

    @rule(lives=st.integers(1, 5))
    def trainers_die_again_and_again(self, lives):
        for _ in range(lives):
            self.read(count=20, swallowed=False, rank=0)
            self.a_rank_tries_a_suspect(rank=0)
            self.kill_the_trainer_and_start_another()

    @rule(rank=st.integers(0, 2))
    def a_rank_tries_a_suspect(self, rank):
        name, queue = self.rank_of(rank)

        def go(trainer):
            suspects = [one for one in trainer.waiting if one.suspect and one.sample not in trainer.trained]
            if not suspects or name in trainer.trials:
                return
            suspect = min(suspects, key=lambda one: one.tried)
            outcome = queue.try_alone(name, suspect)
            event(f"trial: {outcome}")
            assert (outcome == "busy") <= (bool(trainer.trials) or trainer.rolled_back)
            assert (outcome == "alone") <= (not trainer.trials or trainer.rolled_back)
            assert (outcome == "dead") <= (self.died_alone.get(suspect.entry_id, 0) >= 2), "buried for nothing"
            if outcome != "busy":
                trainer.waiting.remove(suspect)
            if outcome == "alone":
                trainer.trials[name] = suspect

        self.fenced(go)

    @rule(trained=st.sampled_from([True, True, False]))
    @precondition(lambda self: self.trainer.trials)
    def a_suspect_is_survived(self, trained):
        def go(trainer):
            name, suspect = trainer.trials.popitem()
            if not trained:
                trainer.waiting.append(suspect)
            else:
                if trainer.trained.add(suspect.sample):
                    trainer.steps.append(suspect.sample)
                trainer.done.append(suspect)
            trainer.queues[int(name[4:])].end_trial(name, suspect, trained=trained)

        self.fenced(go)

    @rule(count=st.integers(1, 8))
    def train(self, count):
        for _ in range(min(count, len(self.trainer.waiting))):
            delivery = self.trainer.waiting.pop(0)
            if self.trainer.trained.add(delivery.sample):
                self.trainer.steps.append(delivery.sample)
            self.trainer.done.append(delivery)

    @rule(acknowledged=st.sampled_from([True, True, False]))
    def checkpoint(self, acknowledged):
        self.checkpoints.append((self.trainer.trained.copy(), list(self.trainer.steps), self.epoch))
        if acknowledged:

            def go(trainer):
                trainer.queue.acknowledge(trainer.done)
                trainer.done = []

            self.fenced(go)

    @rule(count=st.integers(1, 4))
    def give_stale_labels_back(self, count):
        def go(trainer):
            trainer.waiting += trainer.queue.read("rank0", count=count)
            stale, trainer.waiting = trainer.waiting[:count], trainer.waiting[count:]
            known = [delivery for delivery in stale if delivery.sample in trainer.trained]
            trainer.done += known
            fresh = [delivery for delivery in stale if delivery not in known]
            trainer.waiting += trainer.queue.give_back(fresh, reason="stale").exhausted

        self.fenced(go)

    @rule(for_good=st.booleans())
    def a_label_fails(self, for_good):
        def go(trainer):
            trainer.waiting += trainer.queue.read("rank0", count=1)
            if not trainer.waiting:
                return
            delivery = trainer.waiting.pop(0)
            if delivery.sample in trainer.trained:
                trainer.done.append(delivery)
            elif for_good:
                trainer.queue.dead_letter(delivery, reason="broken")
            elif (again := trainer.queue.fail(delivery, reason="broken")) is not None:
                trainer.waiting.append(again)

        self.fenced(go)

    def a_zombie_trainer_acknowledges_what_it_never_saved(self):
        zombie = self.old_trainers[-1] if self.old_trainers else None
        # In a Redis restored to a copy of its own time an old trainer is the trainer again, and then saves before it
        # acknowledges like any other.
        known = self.client.hget(self.queue.keys.meta, "trainer")
        if zombie and (zombie.done or zombie.waiting) and zombie.queue._epoch[1].encode() != known:
            with pytest.raises(EpochFenced):
                zombie.queue.acknowledge(zombie.done + zombie.waiting)

    # -- operators and Redis itself

    def replay_the_dead(self):
        self.queue.replay(list(self.queue.dead_letters()))

    def retry_failed_shards(self):
        self.queue.retry_shards()

    def purge_the_dead(self):
        self.queue.purge(list(self.queue.dead_letters())[:1])

    def save_redis(self):
        self.redis_copy = copy_of_redis(self.client, self.namespace)
        self.lost_since_copy = False

    def restore_an_older_redis(self):
        if self.redis_copy is None:
            return
        restore_redis(self.client, self.namespace, self.redis_copy)
        self.shards = sum(1 for _ in self.queue.shard_rows())
        self.zombies += self.leases
        self.trainer.trials, self.trainer.rolled_back = {}, True  # an older Redis knows of older trials
        self.died_alone = dict.fromkeys(self.died_alone, 9)  # nor how often: counts may have come back
        if self.lost_since_copy:
            # Both have gone back: what the lost checkpoint had trained is in neither, until a trainer settles. The
            # running one must start again anyway: the copy is older than its epoch.
            with pytest.raises(EpochFenced):
                self.trainer.queue.read("rank0", count=1)
            self.kill_the_trainer_and_start_another()

    @rule(data=st.data())
    def something_goes_wrong(self, data):
        """One rule for all of these, so that most steps are work and not trouble."""
        event = data.draw(
            st.sampled_from(
                [
                    self.kill_the_trainer_and_start_another,
                    self.a_zombie_trainer_acknowledges_what_it_never_saved,
                    self.relabel_leases_expire,
                    self.replay_the_dead,
                    self.purge_the_dead,
                    self.retry_failed_shards,
                    self.save_redis,
                    self.restore_an_older_redis,
                ]
            )
        )
        event()

    # -- what must hold

    @invariant()
    def nothing_is_missing_or_doubled(self):
        if not hasattr(self, "checkpoints"):
            return
        report = self.queue.audit(self.checkpoints[-1][0])
        assert report.ok, report.problems()
        stats = self.queue.stats()
        assert stats.unacked_bytes >= 0
        assert stats.relabel_bytes >= 0
        assert (stats.unacked_bytes > 0) == (stats.unacked_labels > 0)
        assert sum(row.samples for row in report.rows) == sum(
            row.trained + row.queued + row.relabels + row.skipped + row.dead for row in report.rows
        )

    @invariant()
    def no_lineage_trains_a_sample_twice(self):
        if hasattr(self, "trainer"):
            assert len(self.trainer.steps) == len(set(self.trainer.steps)) == len(self.trainer.trained)

    def teardown(self):
        """Whatever happened, the rest of the corpus comes through."""
        if not hasattr(self, "trainer"):
            return
        for row in self.queue.shard_rows():
            if row.state == "leased":
                expire_lease(self.queue, row.key)
        expire_relabels(self.queue)
        self.queue.retry_shards()
        while (lease := self.queue.acquire("last")) is not None:
            self.queue.commit(lease, self.batch_for(lease, ["label"] * SAMPLES_PER_SHARD))
        self.kill_the_trainer_and_start_another()
        while not self.queue.stats().drained:
            if (work := self.queue.take_relabels("last", count=100)) is not None:
                self.queue.commit_relabels(work, labels=[label(one.sample) for one in work.work])
            self.trainer.waiting += self.trainer.queue.read("rank0", count=100)
            self.train(1000)
            self.checkpoint(acknowledged=True)
        report = self.queue.audit(self.trainer.trained)
        assert report.ok
        totals = report.totals()
        assert totals["samples"] == self.shards * SAMPLES_PER_SHARD
        assert totals["trained"] + totals["skipped"] + totals["dead"] == totals["samples"]
        assert self.queue.stats().unacked_bytes == 0
        self.no_lineage_trains_a_sample_twice()
        for key in self.client.scan_iter(match=f"{{{self.namespace}}}:*", count=1000):
            self.client.delete(key)
        for queue in (self.queue, *self.trainer.queues, *(one for old in self.old_trainers for one in old.queues)):
            queue.close()


# A test that runs out of time in the middle of an example is reported as one that fails now and then.
@pytest.mark.slow
@pytest.mark.timeout(300 + 10 * EXAMPLES)
def test_nothing_is_lost_or_trained_twice_whatever_happens(server):
    machine = type("Machine", (DeliveryMachine,), {"url": server.url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
