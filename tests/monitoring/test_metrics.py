"""The metrics table follows Prometheus' conventions and is what is exported and documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from xpm_stream.errors import LeaseLost
from xpm_stream.monitoring.metric_tables import GROUPS, Group
from xpm_stream.monitoring.metrics import Metrics, render_metrics_page, specs_of

REPOSITORY = Path(__file__).resolve().parents[2]
SPECS = [spec for group in GROUPS for spec in specs_of(group).values()]


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_names_are_unique_and_carry_prefix_unit_and_total() -> None:
    names = [spec.name for spec in SPECS]
    assert len(names) == len(set(names))
    for spec in SPECS:
        assert re.fullmatch(r"xpm_[a-z0-9_]+", spec.name)
        assert spec.name.endswith("_total") == (spec.kind is Counter), spec.name
        assert not re.search(r"_(ms|millis|minutes|mb|percent)(_|$)", spec.name), f"{spec.name}: use base units"
        if spec.kind is not Histogram and "seconds" in spec.name:
            assert spec.name.endswith(("_seconds", "_seconds_total")), spec.name


def test_every_metric_has_help_and_bounded_labels() -> None:
    bounded = {"reason", "kind", "loss", "action", "state", "teacher_slot", "version", "role"}
    bounded |= {"reference", "status", "quantity", "statistic", "cause", "quantile", "gate", "outcome"}
    for spec in SPECS:
        assert spec.help.endswith("."), spec.name
        assert set(spec.labels) <= bounded, spec.name
        assert "version" not in spec.labels or spec.name == "xpm_build_info"


def test_histograms_of_fractions_cover_zero_to_one_in_equal_steps() -> None:
    of_one_moment = {
        "xpm_trainer_matching_accuracy_ratio",
        "xpm_trainer_reading_accuracy_ratio",
        "xpm_drift_reliability_quantile_ratio",
    }
    fractions = [spec for spec in SPECS if spec.name.endswith("_ratio") and spec.name not in of_one_moment]
    assert len(fractions) >= 3
    for spec in fractions:
        assert spec.kind is Histogram
        assert spec.buckets == tuple(round(0.05 * edge, 2) for edge in range(1, 21))
    assert all(list(spec.buckets) == sorted(set(spec.buckets)) for spec in SPECS)


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.__name__)
def test_attributes_are_of_the_annotated_type(group: type[Group]) -> None:
    metrics = Metrics("monitor")
    built = getattr(metrics, group.__name__.removesuffix("Metrics").lower())
    for name, spec in specs_of(group).items():
        assert type(getattr(built, name)) is spec.kind
        assert f"Annotated[{spec.kind.__name__}," in group.__annotations__[name]


def test_a_process_exports_its_own_role_from_the_start_and_no_other() -> None:
    labeler = samples(Metrics("labeler"))
    assert labeler["xpm_labeler_samples_read_total", ()] == 0
    assert not any(name.startswith(("xpm_trainer_", "xpm_promoter_", "xpm_queue_")) for name, _ in labeler)
    promoter = samples(Metrics("promoter"))
    assert promoter["xpm_promoter_decisions_total", (("action", "refuse"),)] == 0
    assert promoter["xpm_build_info", (("role", "promoter"), ("version", __import__("xpm_stream").__version__))] == 1


def test_a_group_is_exported_once_it_is_used() -> None:
    metrics = Metrics("trainer")
    metrics.queue.unacked_bytes.set(512)
    metrics.queue.shards.labels("leased").set(3)
    exported = samples(metrics)
    assert exported["xpm_queue_unacked_bytes", ()] == 512
    assert exported["xpm_queue_shards", (("state", "leased"),)] == 3


def test_two_processes_worth_of_metrics_do_not_share_anything() -> None:
    one, other = Metrics("labeler"), Metrics("labeler")
    one.labeler.samples_read.inc(5)
    assert samples(other)["xpm_labeler_samples_read_total", ()] == 0


def test_errors_are_counted_by_class() -> None:
    metrics = Metrics("labeler")
    metrics.count_error(LeaseLost("shard 3"))
    metrics.count_error(LeaseLost("shard 4"))
    assert samples(metrics)["xpm_errors_total", (("kind", "LeaseLost"),)] == 2


def test_losses_and_the_teacher_in_use_are_shown() -> None:
    trainer, labeler = Metrics("trainer"), Metrics("labeler")
    trainer.trainer.observe_losses({"mask": 0.25, "cross_modal": 2.0})
    assert samples(trainer)["xpm_trainer_loss", (("loss", "mask"),)] == 0.25
    labeler.labeler.use_teacher(7, promoted_at_s=0.0)
    first, second = samples(labeler), samples(labeler)
    assert first["xpm_labeler_teacher_version", ()] == 7
    assert 1.7e9 < first["xpm_labeler_teacher_age_seconds", ()] < second["xpm_labeler_teacher_age_seconds", ()]


def test_the_metrics_page_is_in_step_with_the_table() -> None:
    page = (REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert page == render_metrics_page(), "write docs/metrics.md again; the page says how"


def test_the_page_says_every_exported_name() -> None:
    metrics = Metrics("monitor")
    for group in GROUPS:
        getattr(metrics, group.__name__.removesuffix("Metrics").lower())
    documented = set(re.findall(r"^\| `(xpm_\w+)`", render_metrics_page(), re.MULTILINE))
    exported = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in metrics.registry.collect()
        if family.name.startswith("xpm_")
    }
    assert exported == documented
    assert {Counter, Gauge, Histogram} == {spec.kind for spec in SPECS}
