from __future__ import annotations

import io
import json
import os

import msgspec
import pytest
from rich.console import Console

from xpm_stream.errors import DataError
from xpm_stream.monitoring.summary import (
    FINAL_STUDENT,
    FIRST_TEACHER,
    ClassScores,
    ModelScores,
    PromotionRecord,
    RunSummary,
    SampleCounts,
    SplitScores,
    describe_machine,
    describe_versions,
    read_summary,
    write_summary,
)
from xpm_stream.monitoring.summary_tables import markdown_table, print_summary, render_summary


def model(checkpoint, *, base, target):
    def scores(mask, box):
        return SplitScores(mask_ap50=mask, box_ap50=box, num_instances=10)

    return ModelScores(
        checkpoint=checkpoint,
        num_images=40,
        constrained={"base": scores(base, base + 1), "target": scores(target, None)},
        generalized={
            "base": scores(base, base + 2),
            "target": scores(target, None),
            "all": scores((base + target) / 2, None),
        },
    )


@pytest.fixture
def summary():
    return RunSummary(
        name="quickstart",
        method="xpm",
        seed=3,
        models={
            FIRST_TEACHER: model("steps/1", base=60.0, target=4.04),
            FINAL_STUDENT: model("steps/9", base=59.5, target=26.5),
        },
        promotions=[
            PromotionRecord(number=1, action="promote", checkpoint="steps/1", epoch=0, step=500, created_at_s=100.0),
            PromotionRecord(
                number=2,
                action="refuse",
                checkpoint="steps/9",
                epoch=1,
                step=1300,
                created_at_s=225.0,
                labels=412,
                accuracy={"base": 61.25, "target": None},
                mean_reliability=0.714,
                reasons=["base AP fell by 2.0 points"],
            ),
        ],
        seconds={"base_training": 134.4, "stream": 3725.0},
        samples=SampleCounts(
            read=1000, labelled=950, trained=940, queued=10, skipped={"no_object_nouns": 45, "broken_image": 4}, dead=1
        ),
    )


def rendered(summary, *, width=80, **options):
    console = Console(width=width, file=io.StringIO(), record=True, color_system="truecolor", force_terminal=True)
    print_summary(summary, console=console, **options)
    return console.export_text(clear=False, styles=False), console.export_text(styles=True)


def line_of(text, *words):
    return next(line for line in text.splitlines() if all(word in line for word in words))


def test_what_is_written_is_read_back_and_is_plain_json(summary, tmp_path):
    path = write_summary(summary, tmp_path / "run" / "summary.json")
    assert read_summary(path) == summary
    plain = json.loads(path.read_text())
    assert plain["models"]["final_student"]["generalized"]["target"]["mask_ap50"] == 26.5
    assert plain["units"]["ap"].startswith("percent")
    assert plain["samples"]["skipped"] == {"no_object_nouns": 45, "broken_image": 4}
    assert [item.name for item in path.parent.iterdir()] == ["summary.json"]


def test_gain_is_student_minus_teacher_and_unknown_stays_unknown(summary):
    assert summary.gain("target") == pytest.approx(22.46)
    assert summary.gain("base", setting="constrained", measure="box_ap50") == pytest.approx(-0.5)
    assert summary.gain("target", measure="box_ap50") is None
    assert summary.gain("all", setting="constrained") is None
    alone = msgspec.structs.replace(summary, models={FIRST_TEACHER: summary.models[FIRST_TEACHER]})
    assert alone.gain("target") is None


def test_the_books_balance_or_say_by_how_much(summary):
    assert summary.samples.unaccounted == 0
    short = msgspec.structs.replace(summary.samples, trained=937)
    assert short.unaccounted == 3
    text, _ = rendered(msgspec.structs.replace(summary, samples=short))
    assert line_of(text, "unaccounted for").split()[2] == "3"


def test_the_final_table_shows_both_settings_with_signed_gains(summary):
    text, styled = rendered(summary)
    assert line_of(text, "constrained", "base").split()[2:5] == ["60.0", "59.5", "-0.5"]
    assert line_of(text, "  target ").split() == ["target", "4.0", "26.5", "+22.5", "–", "–", "–"]
    assert line_of(text, "  all ").split()[:4] == ["all", "32.0", "43.0", "+11.0"]
    assert "\x1b[32m+22.5" in styled
    assert "\x1b[31m-0.5" in styled


def test_the_promotion_table_shows_decisions_times_and_reasons(summary):
    text, _ = rendered(summary)
    assert line_of(text, "v1", "promote").split()[:4] == ["v1", "–", "0:00", "promote"]
    assert line_of(text, "v2", "refuse").split() == ["v2", "1,300", "2:05", "refuse", "412", "61.2%", "–", "0.71"]
    assert "v2: base AP fell by 2.0 points" in text


def test_time_and_samples_are_shown_with_their_reasons(summary):
    text, _ = rendered(summary)
    assert "2 min 14 s" in line_of(text, "base training")
    assert "1 h 02 min" in line_of(text, "stream")
    assert "45" in line_of(text, "skipped: no object nouns")


def test_commands_to_try_can_be_copied_as_they_stand_even_on_a_narrow_screen(summary):
    command = "xpm-stream predict photo.jpg --words 'dog, umbrella' --out pictures --checkpoint runs/quickstart"
    text, _ = rendered(summary, width=60, commands=[(command, "your own picture")])
    assert f"  {command}" in text.splitlines()
    assert "  # your own picture" in text


def test_one_renderable_loses_no_letter_of_a_command_on_a_narrow_screen(summary):
    command = "xpm-stream show /runs/" + "x" * 70
    console = Console(width=60, file=io.StringIO(), record=True)
    console.print(render_summary(summary, commands=[(command, "more pictures")]))
    assert "".join(command.split()) in "".join(console.export_text().split())


def test_a_run_with_nothing_in_it_still_renders(summary):
    bare = msgspec.structs.replace(
        summary,
        models={},
        promotions=[],
        seconds={},
        samples=SampleCounts(read=0, labelled=0, trained=0),
        notes=["empty"],
    )
    text, _ = rendered(bare)
    assert "note: empty" in text
    assert "Promotions" not in text


def test_no_line_of_the_report_is_wider_than_80_columns(summary):
    rich_record = msgspec.structs.replace(
        summary.promotions[1], accuracy={"base": 61.2, "target": 39.1, "other": 20.0}, labels=1_234_567, step=90_000
    )
    text, _ = rendered(msgspec.structs.replace(summary, promotions=[rich_record]))
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_markdown_holds_the_same_figures(summary):
    lines = markdown_table(summary).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2] == "| first teacher | 60.0 | 4.0 | 60.0 | 4.0 | 32.0 |"
    assert lines[4] == "| **gain** | **-0.5** | **+22.5** | **-0.5** | **+22.5** | **+11.0** |"
    assert markdown_table(summary, measure="box_ap50").splitlines()[3] == "| final student | 60.5 | – | 61.5 | – | – |"


def test_a_missing_broken_or_newer_summary_is_refused_by_name(summary, tmp_path):
    with pytest.raises(DataError, match=r"cannot read summary .*absent\.json"):
        read_summary(tmp_path / "absent.json")
    broken = tmp_path / "broken.json"
    broken.write_text('{"name": 5}')
    with pytest.raises(DataError, match=r"broken\.json is not a run summary: .*name"):
        read_summary(broken)
    newer = write_summary(msgspec.structs.replace(summary, schema_version=9), tmp_path / "newer.json")
    with pytest.raises(DataError, match="has schema 9"):
        read_summary(newer)


def test_the_machine_and_versions_are_described_without_naming_the_machine():
    machine, versions = describe_machine(), describe_versions()
    assert 1 <= machine.cpu_cores <= os.cpu_count()
    assert machine.memory_gb is None or machine.memory_gb > 0
    assert os.uname().nodename not in (machine.system, machine.processor)
    assert versions["numpy"][0].isdigit()
    assert set(versions) >= {"python", "torch", "torchvision"}


def test_figures_of_single_classes_stay_in_the_evaluations(summary, tmp_path):
    scores = summary.models[FINAL_STUDENT]
    of_class = ClassScores(split="base", generalized=SplitScores(mask_ap50=1.0, box_ap50=2.0))
    judged = msgspec.structs.replace(scores, classes={"dog": of_class}, absent_classes=["unicorn"], protocol="lvis")
    assert msgspec.json.decode(msgspec.json.encode(judged), type=ModelScores) == judged
    kept = msgspec.structs.replace(summary, models=summary.models | {FINAL_STUDENT: judged})
    read = read_summary(write_summary(kept, tmp_path / "summary.json")).models[FINAL_STUDENT]
    assert read == msgspec.structs.replace(judged, classes={})
