"""What the promotion gates measure on good students and on collapsed ones, with the quality bench's checkpoints.

    python -m benchmarks.quality --form long --arms student-2 weighting-stochastic-noise-0.4 shuffled-40 shuffled-150
    python -m benchmarks.gates --page docs/gates.md

The second command needs the work folder that the first one leaves.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.markdown import table, write_between_markers
from benchmarks.quality.arms import BY_NAME
from benchmarks.quality.form import FORMS, Form
from benchmarks.quality.trial import CHECKPOINT, corpus_folder, trial_folder
from xpm_stream.data.synthetic import CorpusPaths
from xpm_stream.registry.checkpoints import CheckpointStore
from xpm_stream.registry.gates import GateMeasures, compare, verdict_of
from xpm_stream.registry.store import open_store
from xpm_stream.stages.canary_set import canary_set
from xpm_stream.stages.gate_measures import GateMeter

_PAIRS: Final = (  # champion, candidate, what it is
    ("teacher", "student", "first teacher -> its student"),
    ("student", "student-2", "student -> second round's"),
    ("student", "weighting-stochastic-noise-0.4", "student -> one that learned from 40 % wrong nouns"),
    ("student", "shuffled-40", "student -> 40 steps with captions of other images"),
    ("student", "shuffled-150", "student -> 150 steps with captions of other images"),
)


def measure_seed(form: Form, *, work: Path, seed: int) -> list[list[str]]:
    """Return a row for each pair of one seed."""
    arms = list(dict.fromkeys(name for pair in _PAIRS for name in pair[:2]))
    corpus = CorpusPaths.load(corpus_folder(work, BY_NAME["teacher"], seed=seed))
    with tempfile.TemporaryDirectory() as folder:
        config = form.config(corpus, folder=Path(folder), seed=seed, sets=())
        store, checkpoints = open_store(f"{folder}/registry"), CheckpointStore(f"{folder}/registry/checkpoints")
        meter = GateMeter(config, store=store, checkpoints=checkpoints, canary=canary_set(store, config, urls=[]))
        measured: dict[str, GateMeasures] = {}
        for arm in arms:
            files = CheckpointStore(str(trial_folder(work, BY_NAME[arm], seed=seed))).read(CHECKPOINT)
            checkpoints.write(arm, files)
            measured[arm] = meter.measure(arm)
        rows = []
        for champion, candidate, label in _PAIRS:
            before, now = measured[champion], measured[candidate]
            agreement = meter.agreement(champion, candidate)
            gates = compare(now, before, agreement=agreement, config=config.promotion.gates)
            failed = ", ".join(gate.gate for gate in gates if gate.outcome == "fail")
            rows.append(
                [
                    f"{label}, seed {seed}",
                    f"{before.base_ap50:.1f} -> {now.base_ap50:.1f}",
                    f"{agreement:.2f}",
                    f"{before.mean_reliability:.3f} -> {now.mean_reliability:.3f}",
                    f"{before.word_entropy:.2f} -> {now.word_entropy:.2f}",
                    verdict_of(gates)[0] + (f": {failed}" if failed else ""),
                ]
            )
        return rows


def main(given: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--form", choices=sorted(FORMS), default="long")
    parser.add_argument("--work", type=Path, help="work folder of the quality bench; default: runs/quality-FORM")
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--page", type=Path, help="also write the table into this page's marker `gates measured`")
    asked = parser.parse_args(given)
    form = FORMS[asked.form]
    work = asked.work or Path("runs") / f"quality-{form.name}"
    of_seeds = [measure_seed(form, work=work, seed=seed) for seed in asked.seeds or form.seeds]
    rows = [row for of_pair in zip(*of_seeds, strict=True) for row in of_pair]
    head = ["champion -> candidate", "base AP50", "agreement", "mean reliability", "word entropy", "verdict"]
    text = table(head, rows)
    print(text)
    if asked.page:
        write_between_markers(asked.page, name="gates measured", text=text)


if __name__ == "__main__":
    main()
