"""`xpm-stream report`: everything a run says of itself, collected and written as one page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import yaml
from pydantic import BaseModel

from xpm_stream.config import RunConfig, config_of_run
from xpm_stream.errors import CheckpointError, QueueError, RegistryError, XpmStreamError
from xpm_stream.label_queue import AuditReport
from xpm_stream.label_queue.redis_errors import masked_url
from xpm_stream.monitoring.concerns import concerns_of
from xpm_stream.monitoring.report_data import (
    Audit,
    AuditLine,
    ReportData,
    Setting,
    Training,
    audit_concerns,
)
from xpm_stream.monitoring.report_pictures import MaskPictures, best_and_worst
from xpm_stream.monitoring.standing import Absent, RunStanding
from xpm_stream.monitoring.summary import ModelScores, describe_versions
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.store import without_credentials
from xpm_stream.stages.run_account import account_of, last_training_state
from xpm_stream.stages.run_folder import RunFolder
from xpm_stream.stages.run_standing import stand

_PICTURED: Final = 32  # images labelled, of which the best and the worst are shown
_LONGEST_VALUE: Final = 160  # characters of a setting


def write_report(
    run: Path, *, out: Path | None = None, pictures: bool = True, on_stage: Callable[[str], None] = lambda _: None
) -> Path:
    """Write the page about a run; return where it is.

    Raises:
        ConfigError: it is no run folder, or its configuration cannot be used.
    """
    from xpm_stream.monitoring.report_page import render_report  # matplotlib and jinja2

    data = collect_report(run, pictures=pictures, on_stage=on_stage)
    on_stage("drawing")
    target = out or run / "report.html"
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    partial.write_text(render_report(data), encoding="utf-8")
    partial.replace(target)  # a reader never sees half of it
    return target


def collect_report(run: Path, *, pictures: bool, on_stage: Callable[[str], None] = lambda _: None) -> ReportData:
    """Collect what the page shows.

    Raises:
        ConfigError: it is no run folder, or its configuration cannot be used.
    """
    config = config_of_run(run)
    on_stage("looking at roles, queue, promotions and drift windows")
    standing = stand(config)
    on_stage("auditing")
    audit, training = _account(config, standing)
    drawn: MaskPictures | Absent = Absent("left out: the report was written with --no-pictures")
    if pictures:
        on_stage("labelling images with the champion")
        drawn = _pictures(config, standing)
    return ReportData(
        standing=standing,
        concerns=sorted([*audit_concerns(audit), *concerns_of(standing)], key=lambda one: not one.needs_person),
        training=training,
        audit=audit,
        pictures=drawn,
        scores=_scores(RunFolder.of(config).evaluations),
        settings=list(changed_settings(config)),
        versions=describe_versions(),
    )


def changed_settings(config: RunConfig) -> Iterator[Setting]:
    """Yield the keys that are not at their defaults, secrets left out."""
    yield from _changed(config, RunConfig(), "")


def _changed(section: BaseModel, default: BaseModel | None, place: str) -> Iterator[Setting]:
    for name in type(section).model_fields:
        value, usual = getattr(section, name), getattr(default, name, None)
        if isinstance(value, BaseModel):
            yield from _changed(value, usual if isinstance(usual, BaseModel) else None, f"{place}{name}.")
        elif value != usual:
            yield Setting(key=f"{place}{name}", value=_value_text(value), default=_value_text(usual))


def _value_text(value: object) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000).partition("\n...")[0]
    text = re.sub(r"\w+://[^\s,'\"\]}]+", lambda url: _without_secrets(url[0]), text.strip())
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def _without_secrets(url: str) -> str:
    """Return a URL without password, and without a query, which may sign it."""
    return re.sub(r"\?.*", "?…", without_credentials(masked_url(url)))


def _account(config: RunConfig, standing: RunStanding) -> tuple[Audit | Absent, Training | Absent]:
    training: Training | Absent
    try:
        state, _ = last_training_state(config)
        begun = CheckpointStore(f"{RunFolder.of(config).registry_url(config)}/resume").latest() is not None
        training = Training(
            step=state.step,
            samples_trained=state.samples_trained,
            samples_relabelled=state.samples_relabelled,
            samples_replayed=state.samples_replayed,
        )
        if not begun:
            training = Absent("the trainer has made no checkpoint yet")
    except (RegistryError, OSError) as error:
        training = Absent(f"the trainer's last checkpoint cannot be read: {error}")
    if isinstance(standing.queue, Absent):
        return Absent(f"no audit is possible: {standing.queue.why}"), training
    try:
        return _audit(account_of(config).audit), training
    except (QueueError, CheckpointError) as error:
        return Absent(f"the audit could not be made: {error}"), training


def _audit(report: AuditReport) -> Audit:
    lines = [
        AuditLine(
            shard=_without_secrets(row.url),
            pass_index=int(row.shard_key.partition(":")[0]),
            state=row.state,
            samples=row.samples,
            trained=row.trained,
            queued=row.queued,
            relabels=row.relabels,
            skipped=row.skipped,
            dead=row.dead,
            missing=len(row.missing),
            doubled=len(row.doubled),
        )
        for row in report.rows
    ]
    skipped: dict[str, int] = {}
    dead: dict[str, int] = {}
    for row in report.rows:
        for sums, of_row in ((skipped, row.skipped_by_reason), (dead, row.dead_by_reason)):
            for reason, count in of_row.items():
                sums[reason] = sums.get(reason, 0) + count
    return Audit(
        totals=report.totals(),
        lines=sorted(lines, key=lambda line: line.ok),
        problems=[_without_secrets(problem) for problem in report.problems()],
        in_motion=report.in_motion,
        skipped_by_reason=skipped,
        dead_by_reason=dead,
    )


def _scores(folder: Path) -> list[ModelScores] | Absent:
    if not folder.is_dir():
        return Absent("no checkpoint was evaluated (xpm-stream evaluate CHECKPOINT --run RUN --json FILE)")
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=ModelScores))
        except msgspec.DecodeError as error:
            return Absent(f"evaluations/{path.name} cannot be read: {error}")
    return found or Absent("evaluations/ is empty: no checkpoint was evaluated")


def _pictures(config: RunConfig, standing: RunStanding) -> MaskPictures | Absent:
    champion = standing.champion_entry
    if champion is None:
        return Absent("there is no champion to label images with")
    from xpm_stream.stages.showing import labelled_examples  # torch

    checkpoint = f"{RunFolder.of(config).registry_url(config)}/checkpoints/{champion.checkpoint}"
    try:
        return best_and_worst(labelled_examples(config, checkpoint=checkpoint, examples=_PICTURED))
    except (XpmStreamError, OSError) as error:  # a page without pictures is better than no page
        return Absent(f"no pictures could be made: {error}")
