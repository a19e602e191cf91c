"""A watcher sees every label without taking part: nothing it does changes the queue, and it knows what it missed."""

import msgspec
from queue_examples import all_labels, copy_of_redis, fill, label, restore_redis

from xpm_stream.errors import MessageError, SchemaTooNew
from xpm_stream.label_queue.watching_labels import LabelWatcher, StreamPlace, time_of


def ordinals(page):
    return [one.message.sample.ordinal for one in page.labels]


def read_all(watcher, **limits):
    found = []
    while True:
        page = watcher.read(**limits)
        found += ordinals(page)
        if page.ends:
            return found


def counts(watcher):
    return watcher.seen, watcher.missed


def test_labels_are_read_in_order_in_pages_of_a_number_and_of_bytes(queue):
    fill(queue, labels=50)
    size = queue.stats().unacked_bytes // 50
    watcher = LabelWatcher(queue, StreamPlace())
    page = watcher.read(count=20)
    assert (ordinals(page), page.ends) == (list(range(20)), False)
    page = watcher.read(max_bytes=10 * size + 30)
    assert (ordinals(page), page.ends) == (list(range(20, 30)), False)
    page = watcher.read(max_bytes=1)
    assert ordinals(page) == [30], "one label larger than a page comes alone"
    assert read_all(watcher) == list(range(31, 50))
    page = watcher.read()
    assert (page.labels, page.ends) == ([], True)
    assert counts(watcher) == (50, 0)
    assert all(abs(page.now_s - time_of(one.entry_id)) < 60 for one in page.labels)


def test_a_watcher_changes_nothing(queue):
    fill(queue, labels=30)
    queue.raise_epoch()
    queue.read("r", count=10)
    before = copy_of_redis(queue.edge.client, queue.keys.namespace), queue.stats()
    read_all(LabelWatcher(queue, StreamPlace()), count=7)
    after = copy_of_redis(queue.edge.client, queue.keys.namespace), queue.stats()
    assert after[0] == before[0]
    assert after[1].delivered_labels == before[1].delivered_labels == 10


def test_labels_that_were_deleted_unseen_are_counted_exactly(queue):
    lease = fill(queue, labels=20)
    watcher = LabelWatcher(queue, StreamPlace())
    assert len(watcher.read(count=5).labels) == 5
    queue.raise_epoch()
    queue.acknowledge(queue.read("r", count=12))  # 5 of these were seen
    assert ordinals(watcher.read(count=3)) == [12, 13, 14]
    assert counts(watcher) == (8, 0), "what is missed is known at the stream's end"
    assert read_all(watcher) == list(range(15, 20))
    assert counts(watcher) == (13, 7)
    queue.commit(lease, all_labels(lease, 40))
    queue.acknowledge(queue.read("r", count=100))
    assert read_all(watcher) == []
    assert counts(watcher) == (13, 27)
    assert sum(counts(watcher)) == queue.stats().labels_committed


def test_relabelled_and_replayed_labels_are_seen_again_and_not_missed(queue):
    fill(queue, labels=3)
    watcher = LabelWatcher(queue, StreamPlace())
    assert read_all(watcher) == [0, 1, 2]
    queue.raise_epoch()
    first, second, _ = queue.read("r", count=3)
    queue.give_back([first], reason="stale")
    work = queue.take_relabels("labeler", count=1)
    queue.commit_relabels(work, labels=[label(first.sample)], skips={}, rejects=[])
    queue.dead_letter(second, reason="undecodable")
    queue.replay(list(queue.dead_letters()))
    assert sorted(read_all(watcher)) == [0, 1]
    assert counts(watcher) == (5, 0)
    assert watcher.place_after("0-1", unread=0).lost_by_redis == 0, "Redis counts a replayed label, too"


def test_another_process_goes_on_where_one_stopped(queue, open_queue):
    lease = fill(queue, labels=10)
    first = LabelWatcher(queue, StreamPlace())
    page = first.read(count=6)
    place = first.place_after(page.labels[3].entry_id, unread=2)
    assert (place.seen, place.missed) == (4, 0)
    queue.commit(lease, all_labels(lease, 12))
    second = LabelWatcher(open_queue(), place)
    assert read_all(second) == list(range(4, 12))
    assert counts(second) == (12, 0)


def test_what_cannot_be_decoded_is_an_error_in_its_place(queue):
    fill(queue, labels=1)
    client, stream = queue.edge.client, queue.keys.labels
    newer = msgspec.msgpack.encode([2, {"everything": "else"}])
    for fields in ({"s": "0:a:1", "m": b"nonsense"}, {"s": "0:a:2", "m": newer}, {"other": "thing"}):
        client.xadd(stream, fields)
        client.hincrby(queue.keys.counters, "labels", 1)
    watcher = LabelWatcher(queue, StreamPlace())
    found = [one.message for one in watcher.read().labels]
    assert [isinstance(one, MessageError) for one in found] == [False, True, True, True]
    assert isinstance(found[2], SchemaTooNew)
    assert counts(watcher) == (4, 0)


def test_a_redis_that_comes_back_older_does_not_make_labels_missed(queue):
    lease = fill(queue, labels=5)
    copy = copy_of_redis(queue.edge.client, queue.keys.namespace)
    queue.commit(lease, all_labels(lease, 8))
    watcher = LabelWatcher(queue, StreamPlace())
    read_all(watcher)
    restore_redis(queue.edge.client, queue.keys.namespace, copy)
    assert read_all(watcher) == []
    queue.commit(lease, all_labels(lease, 7))
    assert read_all(watcher) == [5, 6], "labelled anew, and put on the stream anew"
    assert counts(watcher) == (10, 0)
    place = watcher.place_after("0-1", unread=0)
    assert (place.seen, place.lost_by_redis) == (10, 3)


def test_an_emptied_redis_with_an_earlier_clock_is_read_from_its_beginning(queue):
    fill(queue, labels=2)
    watcher = LabelWatcher(queue, StreamPlace(entry_id="99999999999999-0", seen=700))
    assert read_all(watcher) == [0, 1]
    assert counts(watcher) == (702, 0)


def test_an_empty_namespace_is_an_empty_page(queue):
    page = LabelWatcher(queue, StreamPlace()).read()
    assert (page.labels, page.ends, page.put) == ([], True, 0)
