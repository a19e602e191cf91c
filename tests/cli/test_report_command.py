"""`xpm-stream report` on a real run folder: what the page says is what queue, log, checkpoint and audit say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from asking import Ask, Refused
from sample_runs import make_run

from xpm_stream.label_queue import connect
from xpm_stream.stages.reporting import changed_settings
from xpm_stream.stages.run_account import account_of


@pytest.fixture
def run(tmp_path: Path) -> Path:
    make_run(
        tmp_path / "run",
        data={"shards": ["s3://key:secret@bucket/{a,b}.tar", "https://host/c.tar?Signature=abc123sig"]},
        registry={"url": str(tmp_path / "run" / "registry")},
    )
    return tmp_path / "run"


def named(html: str, attribute: str) -> dict[str, str]:
    return dict(re.findall(rf'data-{attribute}="([^"]+)">([^<]*)<', html))


def test_the_page_says_what_the_sources_say(ask: Ask, run: Path, tmp_path: Path) -> None:
    answer = ask("report", run, "--no-pictures", "--out", tmp_path / "page.html")
    assert answer.status == 0, answer.err
    assert answer.out.strip() == str(tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    from xpm_stream.config import config_of_run

    config = config_of_run(run)
    with connect(config.redis, config.queue, run_folder=run) as queue:
        stats = queue.stats()
    totals = account_of(config).audit.totals()
    figures = named(html, "tile")
    assert figures["unacked labels"] == f"{stats.unacked_labels:,}" == "10"
    assert figures["dead letters"] == f"{stats.dead_letters:,}" == "1"
    assert figures["samples trained"] == "15"
    assert figures["champion"] == "v4"
    audited = named(html, "audit")
    names = ("samples", "trained", "queued", "relabels", "skipped", "dead")
    assert {name: audited[name] for name in names} == {name: f"{totals[name]:,}" for name in names}
    assert audited["samples"] == "30"


def test_by_default_the_page_lies_in_the_run_folder_and_a_second_one_replaces_it(ask: Ask, run: Path) -> None:
    for _ in range(2):
        assert ask("report", run, "--no-pictures").status == 0
    assert (run / "report.html").stat().st_size > 50_000
    assert list(run.glob("*.partial")) == []


def test_nothing_confidential_of_configuration_or_shard_urls_is_on_the_page(ask: Ask, run: Path) -> None:
    ask("report", run, "--no-pictures")
    html = (run / "report.html").read_text()
    assert "data.shards" in html
    assert "secret" not in html
    assert "abc123sig" not in html


def test_a_password_in_the_redis_url_is_masked() -> None:
    from xpm_stream.config.loading import parse_config

    config = parse_config({"redis": {"url": "rediss://user:p%40ss@host:1/0?password=other"}}, source="test")
    (setting,) = changed_settings(config)
    assert setting.key == "redis.url"
    assert "ss@" not in setting.value
    assert "other" not in setting.value
    assert "host:1/0" in setting.value


def test_pictures_that_cannot_be_made_are_said_and_the_page_is_written_all_the_same(ask: Ask, run: Path) -> None:
    assert ask("report", run).status == 0  # the champion's checkpoint is not there
    assert "No pictures could be made" in (run / "report.html").read_text()


def test_a_run_without_queue_and_windows_has_a_page_that_says_so(ask: Ask, tmp_path: Path) -> None:
    make_run(tmp_path / "run", records=[], queue=False)
    assert ask("report", tmp_path / "run", "--no-pictures").status == 0
    html = (tmp_path / "run" / "report.html").read_text()
    assert "No drift window is recorded" in html
    assert "No audit is possible: the run has no queue yet" in html
    assert not (tmp_path / "run" / "redis").exists(), "looking must not make a queue"


def test_redis_that_is_away_is_said_within_seconds(ask: Ask, tmp_path: Path) -> None:
    make_run(tmp_path / "run", queue=False, redis={"url": "redis://127.0.0.1:1", "retry_for_s": 0.5})
    assert ask("report", tmp_path / "run", "--no-pictures").status == 0
    html = (tmp_path / "run" / "report.html").read_text()
    assert "No audit is possible: " in html
    assert "127.0.0.1:1" in html


def test_a_damaged_window_is_named_in_its_place(ask: Ask, run: Path) -> None:
    (run / "registry" / "drift" / "windows" / "00000003.json").write_text("{")
    assert ask("report", run, "--no-pictures").status == 0
    assert "cannot be read: 00000003.json" in (run / "report.html").read_text()


def test_a_folder_that_is_no_run_is_refused(refused: Refused, tmp_path: Path) -> None:
    assert f"{tmp_path} is no run folder: it has no config.yaml" in refused("report", tmp_path)
    assert f"there is no run folder {tmp_path / 'none'}" in refused("report", tmp_path / "none")
