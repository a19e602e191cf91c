"""The quality bench: every method, weighting and noise rate on the synthetic corpus, as the paper's tables.

    python -m benchmarks.quality --form short                       # seven minutes on 2 cores
    python -m benchmarks.quality --form long --markdown docs/results.md README.md --plots docs/images

Trials run side by side, one thread each. Every trial's result is kept in the work folder: a bench that was stopped goes
on where it was.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

from benchmarks.markdown import MarkerMissing, write_between_markers
from benchmarks.quality.arms import ARMS, BY_NAME, GROUPS, Arm
from benchmarks.quality.figures import Figures
from benchmarks.quality.form import FORMS, Form
from benchmarks.quality.results import TrialResult
from benchmarks.quality.tables import TITLES, all_tables
from benchmarks.quality.trial import corpus_folder, run_trial, trial_folder

Trial = tuple[int, str]  # seed, arm


def chosen_arms(form: Form, *, groups: Sequence[str], names: Sequence[str]) -> list[Arm]:
    """The arms to run, with all they start from, starts first."""
    wanted = groups or form.groups
    chosen = [arm for arm in ARMS if (arm.name in names if names else wanted is None or arm.group in wanted)]
    needed: dict[str, Arm] = {}
    for arm in chosen:
        chain = [arm]
        while (start := chain[-1].start) is not None:
            chain.append(BY_NAME[start])
        needed |= {link.name: link for link in reversed(chain)}
    return list(needed.values())


def finished_trials(form: Form, arms: Sequence[Arm], *, work: Path) -> dict[Trial, TrialResult]:
    """What an earlier run of the bench left in its work folder."""
    paths = {
        (seed, arm.name): trial_folder(work, arm, seed=seed) / "result.json" for arm in arms for seed in form.seeds
    }
    return {trial: TrialResult.read(path) for trial, path in paths.items() if path.exists()}


def run_trials(form: Form, arms: Sequence[Arm], *, work: Path, processes: int) -> list[TrialResult]:
    """Run what has no result yet; a trial starts when the one it begins from is done."""
    done = finished_trials(form, arms, work=work)
    in_order = sorted(arms, key=lambda arm: GROUPS.index(arm.group))
    waiting = [(seed, arm.name) for arm in in_order for seed in form.seeds if (seed, arm.name) not in done]
    _draw_corpora(form, waiting, work=work, processes=processes)
    total, begun = len(waiting), time.monotonic()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, max_tasks_per_child=1) as pool:
        running: dict[Future[TrialResult], Trial] = {}
        while waiting or running:
            ready = [trial for trial in waiting if _ready(trial, done)][: processes - len(running)]
            for seed, name in ready:
                waiting.remove((seed, name))
                running[pool.submit(run_trial, name, form=form, seed=seed, work=work)] = (seed, name)
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                trial = running.pop(future)
                done[trial] = future.result()
                _say(done[trial], number=total - len(waiting) - len(running), total=total, since=begun)
    return list(done.values())


def _ready(trial: Trial, done: dict[Trial, TrialResult]) -> bool:
    start = BY_NAME[trial[1]].start
    return start is None or (trial[0], start) in done


def _draw_corpora(form: Form, trials: Sequence[Trial], *, work: Path, processes: int) -> None:
    for seed, name in trials:
        arm = BY_NAME[name]
        form.write_corpus(corpus_folder(work, arm, seed=seed), seed=seed, settings=arm.corpus, workers=processes)


def _say(result: TrialResult, *, number: int, total: int, since: float) -> None:
    scores = result.final.scores.generalized
    ap = " ".join(f"{name} {scores[name].mask_ap50 or 0:.1f}" for name in ("base", "target", "all"))
    minutes = (time.monotonic() - since) / 60
    print(
        f"{minutes:5.1f} min  {number}/{total}  {result.arm}, seed {result.seed}: generalized mask AP50 {ap}",
        flush=True,
    )


def _fill(page: Path, tables: Mapping[str, str]) -> None:
    """Write each table that the page has a place for."""
    wanted = re.findall(r"<!-- quality (\w+) -->", page.read_text(encoding="utf-8"))
    if not wanted:
        raise MarkerMissing(
            f"{page} has no place for a table: add `<!-- quality NAME -->` and `<!-- /quality NAME -->`"
        )
    for name in wanted:
        if name in tables:
            write_between_markers(page, name=f"quality {name}", text=tables[name])
        else:
            print(f"{page}: no results for `quality {name}`: left as it was", file=sys.stderr)


def main(given: Sequence[str] | None = None) -> None:
    """Run the bench and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--form", choices=sorted(FORMS), default="short")
    parser.add_argument("--seeds", type=int, nargs="+", help="instead of the form's")
    parser.add_argument("--groups", nargs="+", default=[], help=f"only these groups of arms: {', '.join(GROUPS)}")
    parser.add_argument("--arms", nargs="+", default=[], help="only these arms, and what they start from")
    parser.add_argument(
        "--work", type=Path, help="folder of corpora, checkpoints and results; default: runs/quality-FORM"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--markdown", type=Path, nargs="+", default=[], help="also write tables into these pages' markers"
    )
    parser.add_argument("--plots", type=Path, help="also draw the curves into this folder")
    parser.add_argument("--no-run", action="store_true", help="only show what has been run")
    asked = parser.parse_args(given)
    form = FORMS[asked.form]
    if asked.seeds:
        form = replace(form, seeds=tuple(asked.seeds))
    arms = chosen_arms(form, groups=asked.groups, names=asked.arms)
    work = asked.work or Path("runs") / f"quality-{form.name}"
    if asked.no_run:
        results = list(finished_trials(form, arms, work=work).values())
    else:
        results = run_trials(form, arms, work=work.absolute(), processes=asked.processes)
    chosen = {arm.name for arm in arms}
    figures = Figures(result for result in results if result.arm in chosen)
    tables = all_tables(figures)
    seeds = len(form.seeds)
    for name, text in tables.items():
        print(f"\n{name}: {TITLES[name]}\n\n{text}")
    for page in asked.markdown:
        _fill(page, tables)
    if asked.plots:
        from benchmarks.quality.plots import draw_all  # only this needs a plotting library

        for path in draw_all(figures, asked.plots):
            print(f"\ndrawn: {path}")
    print(f"\n{form.name} form, {seeds} seed{'s' * (seeds > 1)}; each cell: mean (lowest to highest seed)")
