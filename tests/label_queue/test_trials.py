"""Labels that trainers died with are tried one at a time, and only a trial that nobody survived counts."""

import pytest
from queue_examples import fill

from xpm_stream.errors import EpochFenced
from xpm_stream.label_queue import LabelQueue, TrainedLedger


@pytest.fixture
def restarted(open_queue):
    """A new trainer each time; returns it with everything the one before held."""

    def restart(**settings) -> tuple[LabelQueue, list]:
        queue = open_queue(**settings)
        queue.raise_epoch()
        return queue, queue.read("r", count=100)

    return restart


def suspected(queue, restarted, *, labels=2):
    fill(queue, labels=labels)
    for _ in range(3):
        trainer, held = restarted()
    return trainer, held


def test_the_third_time_a_label_is_handed_out_it_is_a_suspect(queue, restarted):
    fill(queue, labels=2)
    found = [restarted()[1] for _ in range(3)]
    assert [[one.suspect for one in held] for held in found] == [[False, False], [False, False], [True, True]]


def test_each_trial_nobody_survived_counts_and_after_so_many_the_label_is_dead(queue, restarted):
    trainer, (killer, other) = suspected(queue, restarted)
    for tried in (1, 2, 3):
        assert trainer.try_alone("r", killer) == "alone"
        trainer, (killer, other) = restarted()
        assert (killer.tried, other.tried) == (tried, 0)
    assert trainer.try_alone("r", killer) == "dead"
    (letter,) = trainer.dead_letters()
    assert (letter.reason, letter.attempts, letter.sample) == ("kills_trainer", 3, killer.sample)
    assert letter.place.endswith(f"@{killer.entry_id}")
    assert trainer.try_alone("r", other) == "alone"
    assert trainer.audit(TrainedLedger()).ok


def test_a_suspect_that_is_trained_is_beyond_suspicion_until_three_more_trainers_died(queue, restarted):
    trainer, (one, _) = suspected(queue, restarted)
    assert trainer.try_alone("r", one) == "alone"
    trainer.end_trial("r", one, trained=True)
    trainer.end_trial("r", one, trained=True)
    suspects = []
    for _ in range(3):
        trainer, held = restarted()
        suspects.append([delivery.suspect for delivery in held])
    assert suspects == [[False, True], [False, True], [True, True]]
    assert [delivery.tried for delivery in held] == [0, 0]


def test_a_suspect_that_was_tried_and_not_trained_is_as_suspect_as_before(queue, restarted):
    trainer, (one, _) = suspected(queue, restarted)
    trainer.try_alone("r", one)
    trainer.end_trial("r", one, trained=False)
    trainer.end_trial("r", one, trained=False)
    _, (again, _) = restarted()
    assert again.suspect
    assert again.tried == 0


def test_one_rank_tries_at_a_time_and_the_others_are_told_so(queue, restarted, open_queue):
    trainer, (one, two) = suspected(queue, restarted)
    other = open_queue()
    other.join_epoch(trainer._epoch[0])
    assert trainer.try_alone("r", one) == "alone"
    assert trainer.try_alone("r", one) == "alone", "a repeat after a cut connection"
    assert other.try_alone("r1", two) == "busy"
    trainer.end_trial("r", one, trained=True)
    assert other.try_alone("r1", two) == "alone"
    _, held = restarted()
    assert [delivery.tried for delivery in held] == [0, 1]


@pytest.mark.parametrize("how", ["acknowledge", "give_back", "dead_letter"])
def test_a_label_that_left_the_stream_holds_nobody_up_and_leaves_nothing_behind(queue, restarted, open_queue, how):
    trainer, (one, two) = suspected(queue, restarted)
    trainer.try_alone("r", one)
    leave = {
        "acknowledge": lambda: trainer.acknowledge([one]),
        "give_back": lambda: trainer.give_back([one], reason="stale"),
        "dead_letter": lambda: trainer.dead_letter(one, reason="broken"),
    }
    leave[how]()
    other = open_queue()
    other.join_epoch(trainer._epoch[0])
    assert other.try_alone("r1", two) == "alone"
    trainer.end_trial("r", one, trained=True)
    other.end_trial("r1", two, trained=True)
    other.acknowledge([two])
    assert trainer.try_alone("r", one) == "gone"
    assert queue.edge.client.hlen(queue.keys.failures) == 0


def test_the_trial_of_a_dead_trainer_holds_up_nobody(queue, restarted, open_queue):
    trainer, (one, _) = suspected(queue, restarted)
    trainer.try_alone("r", one)
    newer = open_queue()
    newer.raise_epoch()
    held = newer.read("another", count=9)
    assert newer.try_alone("another", held[1]) == "alone"
    for write in (lambda: trainer.try_alone("r", one), lambda: trainer.end_trial("r", one, trained=True)):
        with pytest.raises(EpochFenced):
            write()
