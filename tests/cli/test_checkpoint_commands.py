"""`xpm-stream checkpoints list, show, pull, diff`: on a run, on a bare registry, and on a web server."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from asking import Ask, Refused
from object_servers import web_server

from xpm_stream.config import RunConfig
from xpm_stream.registry import CheckpointStore, Lineage, ModelCard, Parent, PromotionLog, render_model_card
from xpm_stream.registry.holds import Holds

GATE = {"gate": "base_ap50", "outcome": "fail", "value": 41.0, "limit": 44.5, "why": "base AP50 41.0 [of 60 images]"}


@pytest.fixture
def registry(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """first (revoked), second (refused), third (champion, pinned), fourth (waits), fifth (not proposed)."""
    monkeypatch.setenv("XPM_STREAM_CACHE", str(tmp_path / "cache"))
    root = Path(str(config.registry.url))
    log, store = PromotionLog(root), CheckpointStore(root / "checkpoints")
    for step, name in enumerate(("first", "second", "third", "fourth", "fifth"), start=1):
        store.write(name, files(name, step), order=(1, step), metadata={"step": step})
        if name != "fifth":
            log.propose(name, epoch=1, step=step)
    log.append("promote", candidate=1, by="promoter")
    log.append("refuse", candidate=2, by="promoter", reasons=[GATE["why"]], checks={"gates": [GATE]})
    log.append("promote", candidate=3, by="promoter")
    log.append("revoke", target=1, by="alice", reasons=["trained on a leak"])
    Holds(root).pin("third", by="alice", reason="Table 2")
    measures = {
        "checkpoint": "third",
        "set_id": "abcdef0123",
        "base_ap50": 46.5,
        "num_canary": 80,
        "mean_reliability": None,
    }
    (root / "gates" / "abcdef0123").mkdir(parents=True)
    (root / "gates" / "abcdef0123" / "third.json").write_text(json.dumps(measures))
    return root


def files(name: str, step: int) -> dict[str, bytes]:
    """A checkpoint as the trainer writes it, small: step tells how far weights, words and settings are."""
    lineage = Lineage(
        parents=[Parent(checkpoint="first", promotion=1, labels_trained=12_345)] if step > 1 else [],
        shards=3,
        samples={"trained": 20_000},
        ledger_sha256="ab" * 32,
        code_version="0.1.0",
    )
    card = ModelCard(
        name=name,
        method="xpm",
        epoch=1,
        step=step,
        created_at_s=1e9,
        lineage=lineage,
        architecture={"backbone": "small"},
    )
    metrics = {
        "schema_version": 1,
        "step": step,
        "samples": {"trained": 12_345},
        "constrained": {"target": {"mask_ap50": 10.0 * step}},
        "mean_reliability": 0.25 * step,
    }
    words = ["dog", "cat", "kitten", "[red] fox"][: 1 + step]
    weights = {
        "backbone.conv.weight": np.full((4, 4), 1.0, np.float32),
        "backbone.conv.seen": np.array(step * 1000),
        "head.weight": np.array([3.0, 4.0 * step], np.float32),
    }
    return {
        "model.safetensors": safetensors.numpy.save(weights),
        "config.json": json.dumps({"method": "xpm", "model": {"backbone": "small", "image_size": 64 * step}}).encode(),
        "vocabulary.json": json.dumps({"vocabulary": {"words": words}}).encode(),
        "classes.json": b'{"base": ["dog"]}',
        "metrics.json": json.dumps(metrics).encode(),
        "README.md": render_model_card(card).encode(),
    }


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


@pytest.mark.parametrize("by", ["run", "registry", "web"])
def test_list_shows_what_became_of_each_checkpoint(
    ask: Ask, config: RunConfig, registry: Path, tmp_path: Path, by: str
) -> None:
    with web_server(registry, log=tmp_path / "log") as url:
        answer = ask("checkpoints", "list", {"run": config.folder, "registry": registry, "web": url}[by])
    shown = {line[0]: line[1:3] for line in lines(answer.out)[1:]}
    expected = {
        "first": ["revoked", "1"],
        "second": ["refused", "2"],
        "third": ["champion", "3"],
        "fourth": ["waiting", "4"],
        "fifth": ["not", "proposed"],
    }
    if by == "web":  # without listings only what the log names is known
        expected.pop("fifth")
    assert shown == expected
    assert ("Table 2" in answer.out) == (by != "web")
    assert (answer.status, answer.err) == (0, "")


def test_a_server_that_lists_folders_with_links_that_sort_them_is_read(
    ask: Ask, registry: Path, tmp_path: Path
) -> None:
    with web_server(registry, log=tmp_path / "log", extra=["apache"]) as url:
        listed = ask("checkpoints", "list", url)
        shown = ask("checkpoints", "show", url)
    assert [line[0] for line in lines(listed.out)[1:]] == ["first", "second", "third", "fourth", "fifth"], listed.err
    assert "Table 2" in listed.out
    assert ["gates", "abcdef01.base_ap50", "46.5"] in lines(shown.out), shown.err


def test_a_server_with_a_page_of_its_own_for_a_folder_is_no_empty_registry(
    ask: Ask, refused: Refused, registry: Path, tmp_path: Path
) -> None:
    with web_server(registry, log=tmp_path / "log", extra=["index"]) as url:
        assert [line[0] for line in lines(ask("checkpoints", "list", url).out)[1:]] == [
            "first",
            "second",
            "third",
            "fourth",
        ]
    (registry / "checkpoints" / ".broken").touch()
    with web_server(registry, log=tmp_path / "log", listing=True) as url:
        assert "500" in refused("checkpoints", "list", url), "a server that fails was taken for one without listings"


def test_a_server_with_a_page_for_whatever_is_missing_is_no_damaged_checkpoint(
    refused: Refused, registry: Path, tmp_path: Path
) -> None:
    with web_server(registry, log=tmp_path / "log", extra=["pages"]) as url:
        told = refused("checkpoints", "list", f"{url}/wrong")
    assert "a web page in place of manifest.json: is the address right?" in told


def test_list_as_json_has_files_and_digests(ask: Ask, registry: Path) -> None:
    listed = json.loads(ask("checkpoints", "list", registry, "--json").out)
    assert [(one["info"]["name"], one["status"]) for one in listed][2] == ("third", "champion")
    assert listed[2]["pinned"] == "Table 2"
    assert set(listed[2]["info"]["files"]["model.safetensors"]) == {"size", "sha256"}


def test_list_of_a_run_without_teachers_says_so(ask: Ask, config: RunConfig) -> None:
    assert "has no checkpoints yet" in ask("checkpoints", "list", config.folder).out


@pytest.mark.parametrize("by", ["registry", "web"])
def test_show_says_facts_lineage_gates_measures_and_files(ask: Ask, registry: Path, tmp_path: Path, by: str) -> None:
    with web_server(registry, log=tmp_path / "log") as url:
        where = {"registry": str(registry), "web": url}[by]
        champion, second = ask("checkpoints", "show", where).out, ask("checkpoints", "show", where, "2").out
        copied = ask("checkpoints", "show", f"{where}/checkpoints/fifth").out
    assert champion.splitlines()[0].split()[:4] == ["third", "champion,", "entry", "3"]
    said = lines(champion)
    for wanted in (
        ["backbone", "small"],
        ["└──", "first,", "promotion", "1,", "12,345", "labels", "trained"],
        ["samples", "trained", "20,000"],
        ["base", "1:", "dog"],
        ["from", "captions", "3:", "cat,", "kitten,", "[red]", "fox"],
        ["constrained.target.mask_ap50", "30"],
    ):
        assert wanted in said, champion
    assert any(line[:3] == ["classes.json", "17", "B"] for line in said)
    assert (["gates", "abcdef01.base_ap50", "46.5"] in said) == (by == "registry")
    assert "x base_ap50  base AP50 41.0 [of 60 images]" in " ".join(second.split("\n")).replace("         ", "  ")
    assert copied.splitlines()[0].split()[0] == "fifth"


def test_show_as_json_has_the_same(ask: Ask, registry: Path) -> None:
    said: dict[str, Any] = json.loads(ask("checkpoints", "show", registry, "2", "--json").out)
    assert said["listed"]["status"] == "refused"
    assert said["gates"] == [GATE]
    assert said["card"]["Lineage"]["facts"]["caption shards"] == "3"
    assert said["measures"]["constrained.target.mask_ap50"] == 20.0
    assert said["words"] == ["dog", "cat", "kitten"]


def test_pull_prints_the_folder_alone_and_copies_where_told(
    ask: Ask, refused: Refused, config: RunConfig, registry: Path, tmp_path: Path
) -> None:
    answer = ask("checkpoints", "pull", config.folder)
    folder = Path(answer.out.removesuffix("\n"))
    assert (folder.parent, answer.err) == (tmp_path / "cache" / "checkpoints", "")
    assert (folder / "model.safetensors").read_bytes() == files("third", 3)["model.safetensors"]
    to = tmp_path / "models" / "mine"
    assert ask("checkpoints", "pull", registry, "second", "--to", to).out == f"{to}\n"
    assert (to / "config.json").stat().st_nlink == 1, "what people may edit is no link into the registry"
    assert {path.name for path in to.iterdir()} == {*files("second", 2), "manifest.json", "decisions.json"}
    assert [path.name for path in to.parent.iterdir()] == ["mine"]
    assert ask("checkpoints", "pull", registry, "second", "--to", to).out == f"{to}\n", "there already"
    assert "choose a new folder" in refused("checkpoints", "pull", registry, "--to", to)
    assert (to / "config.json").read_bytes() == files("second", 2)["config.json"]


def test_pull_draws_a_bar_on_a_terminal(registry: Path) -> None:
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "xpm_stream.cli.main", "checkpoints", "pull", str(registry)]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=follower, env=environment) as pull:
        drawn = b""
        os.close(follower)
        try:
            while chunk := os.read(leader, 4096):
                drawn += chunk
        except OSError:  # what Linux says at the end
            pass
        os.close(leader)
        assert pull.stdout is not None
        assert Path(pull.stdout.read().decode().strip()).is_dir()
    assert pull.returncode == 0
    assert b"third" in drawn
    assert "━".encode() in drawn


def test_diff_shows_settings_words_measures_and_how_far_each_module_moved(ask: Ask, registry: Path) -> None:
    answer = ask("checkpoints", "diff", f"{registry}@1", "@champion")
    said = lines(answer.out)
    for wanted in (
        ["A", "first", "B", "third"],
        ["model.image_size", "64", "192"],
        ["words", "of", "B", "only", "2:", "kitten,", "[red]", "fox"],
        ["constrained.target.mask_ap50", "10", "30", "+20"],
        ["samples.trained", "12,345", "12,345", "0"],
        ["mean_reliability", "0.25", "0.75", "+0.5"],
        ["backbone", "1", "16", "4", "0", "0.0%", "conv.weight"],  # the counter beside it is no weight
        ["head", "1", "2", "5", "8", "160.0%", "█" * 10, "weight"],  # 3, 4 -> 3, 12
    ):
        assert wanted in said, answer.out
    told = {line[0] for line in said if line}
    assert not told & {"model.backbone", "step", "schema_version"}, "the same, or no measure"


def test_diff_as_json_and_of_the_same(ask: Ask, registry: Path) -> None:
    found = json.loads(ask("checkpoints", "diff", registry, f"{registry}@first", "--json").out)
    assert (found["a"], found["b"]) == ("third", "first")
    assert found["config"] == {"model.image_size": [192, 64]}
    assert found["words_removed"] == ["kitten", "[red] fox"]
    head = next(module for module in found["modules"] if module["module"] == "head")
    assert (head["norm"], head["change"]) == (pytest.approx(np.hypot(3, 12)), pytest.approx(8.0))
    copied = ask("checkpoints", "pull", registry, "second").out.strip()  # named NAME@DIGEST
    assert ask("checkpoints", "diff", f"{registry}@1", copied).out.splitlines()[0] == "A first   B second"
    same = ask("checkpoints", "diff", registry, "@third").out
    assert same.count("the same") == 3


def test_diff_of_weights_that_are_not_finite_or_of_another_network_says_so(
    ask: Ask, refused: Refused, registry: Path
) -> None:
    store = CheckpointStore(registry / "checkpoints")
    torn = {"backbone.conv.weight": np.full((4, 4), np.nan, "f4"), "head.weight": np.array([np.nan, np.inf], "f4")}
    store.write("collapsed", files("collapsed", 3) | {"model.safetensors": safetensors.numpy.save(torn)})
    said = ask("checkpoints", "diff", registry, "@collapsed")
    assert [line.split()[0] for line in said.out.splitlines() if "not finite" in line] == ["backbone", "head"]
    assert (said.status, said.err) == (0, "")
    assert "not finite" in ask("checkpoints", "diff", f"{registry}@collapsed", "@collapsed").out, "NaN equals nothing"
    modules = json.loads(ask("checkpoints", "diff", registry, "@collapsed", "--json").out, parse_constant=pytest.fail)
    assert [one["change"] for one in modules["modules"]] == [None, None]
    wide = {"backbone.conv.weight": np.ones((4, 4), np.float32), "head.weight": np.ones(9, np.float32)}
    store.write("wide", files("wide", 3) | {"model.safetensors": safetensors.numpy.save(wide)})
    other = ask("checkpoints", "diff", registry, "@wide").out
    assert "the same in the tensors that can be compared" in other
    assert "tensors of another shape: head.weight" in other
    assert "no place is named" in refused("checkpoints", "diff", "@1", "@2")


def test_a_slip_in_b_is_told_before_a_comes(refused: Refused, registry: Path, tmp_path: Path) -> None:
    assert "no checkpoint 'secnod'" in refused("checkpoints", "diff", registry, "@secnod")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("by", ["run", "web"])
def test_a_revision_may_follow_the_place_and_history_needs_no_run(
    ask: Ask, refused: Refused, config: RunConfig, registry: Path, tmp_path: Path, by: str
) -> None:
    with web_server(registry, log=tmp_path / "log") as url:
        where = {"run": str(config.folder), "web": url}[by]
        assert ask("checkpoints", "show", f"{where}@2").out.startswith("second  refused")
        assert Path(ask("checkpoints", "pull", f"{where}@2").out).name.startswith("second@")
        history = ask("checkpoints", "history", where).out
        alone = f"{where if by == 'web' else registry}/checkpoints/third"
        assert "the history is its registry's" in refused("checkpoints", "history", alone)
    decided = [line.split()[3] for line in history.splitlines() if "  by " in line]
    assert decided == ["promote", "refuse", "promote", "revoke"]
    assert history.endswith("candidate 4, fourth: not decided yet\n")


def test_mistakes_are_told_in_a_line(refused: Refused, ask: Ask, registry: Path, tmp_path: Path) -> None:
    assert "is no run folder" in refused("checkpoints", "list", tmp_path / "nowhere")
    assert "no entry 7: its log has entries 1 to 4" in refused("checkpoints", "show", registry, "7")
    assert "cannot read http://127.0.0.1:1" in refused("checkpoints", "pull", "http://127.0.0.1:1/registry")
    (registry / "gates" / "abcdef0123" / "first.json").write_bytes(b'{"base_ap50": 4')
    assert "gates/abcdef0123/first.json in" in refused("checkpoints", "show", registry, "1")
    (registry / "checkpoints" / "third" / "README.md").write_bytes(b"changed")
    assert "README.md of checkpoint 'third'" in refused("checkpoints", "show", registry)
    assert "README.md of checkpoint 'third'" in refused("checkpoints", "pull", registry)


def test_none_of_them_needs_torch_or_redis() -> None:
    program = (
        "import sys, xpm_stream.cli.main, xpm_stream.cli.checkpoint_views, xpm_stream.cli.pull_bar, "
        "xpm_stream.registry.comparing; print({'torch', 'redis'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout == "set()\n"
