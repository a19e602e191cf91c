"""Labels and losses of twenty steps are those that were stored: a refactor that changes what is learnt shows here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from golden_arms import ARMS, arm_config  # type: ignore[import-not-found]
from golden_run import STEPS, GoldenRun, run_arm  # type: ignore[import-not-found]
from golden_values import differences, read_golden  # type: ignore[import-not-found]

from xpm_stream.config.variants import VARIANTS
from xpm_stream.data.synthetic import CorpusPaths
from xpm_stream.learning.weighting import WEIGHTINGS
from xpm_stream.methods import METHODS

HOW_TO_UPDATE = "if that is meant, write them anew: python tests/golden/update_golden.py"
# Between them, every place that draws: noise in masks, dropout, strong views, jittered boxes, RoIs of base images.
REPEATED = ["xpm_released", "xpm_dropout_entropy", "soft_teacher"]

FirstRun = Callable[[str], GoldenRun]


@pytest.mark.parametrize("arm", ARMS)
def test_labels_and_losses_are_the_stored_ones(first_run: FirstRun, arm: str) -> None:
    stored = read_golden().get(arm)
    assert stored is not None, f"{arm} has no golden losses: python tests/golden/update_golden.py {arm}"
    changed = differences(stored, first_run(arm))
    assert not changed, "\n".join([f"{arm} is not as stored; {HOW_TO_UPDATE}", *changed])


@pytest.mark.parametrize("arm", REPEATED)
def test_the_same_steps_again_are_bit_equal(first_run: FirstRun, golden_corpus: CorpusPaths, arm: str) -> None:
    again = run_arm(arm, corpus=golden_corpus)
    assert differences(first_run(arm), again, exact=True) == []


def test_every_method_weighting_and_variant_has_an_arm(golden_corpus: CorpusPaths) -> None:
    configs = [arm_config(name, corpus=golden_corpus) for name in ARMS]
    assert {config.method for config in configs} == set(METHODS)
    xpm = [config.xpm for config in configs if config.method == "xpm"]
    assert {section.weighting for section in xpm if section.variant is None} == set(WEIGHTINGS)
    assert {section.variant for section in xpm} == {None, *VARIANTS}
    assert set(read_golden()) == set(ARMS), "python tests/golden/update_golden.py leaves out arms that are gone"


def test_golden_runs_learn_from_all_that_they_have() -> None:
    """A loss that stays zero, or a batch without labels, would hold nothing to its number."""
    for arm, stored in read_golden().items():
        for name, values in stored.losses.items():
            assert len(values) == STEPS
            assert len(set(values)) > STEPS // 2, f"{arm}: {name} repeats itself"
            assert any(value > 0 for value in values), f"{arm}: {name} is never above zero"
        assert all(label["instances"] for label in stored.labels), arm


def test_what_changed_is_named_with_its_first_step() -> None:
    run = GoldenRun(labels=[{"words": ["dog"], "instances": [], "proposals": []}], losses={"mask": [1.0] * STEPS})
    assert differences(run, run, exact=True) == []
    later = replace(run, losses={"mask": [1.0] * 15 + [1.5] * 5})
    assert differences(run, later) == ["mask: 5 of 20 steps, from step 16 on: 1 -> 1.5 (5.0e-01)"]
    rounded = replace(run, losses={"mask": [1.0 + 1e-6] * STEPS})
    assert differences(run, rounded) == []
    assert differences(run, rounded, exact=True) == ["mask: 20 of 20 steps, from step 1 on: 1 -> 1 (1.0e-06)"]
    assert differences(run, replace(run, losses={"box": [1.0]})) == ["box: new", "mask: gone"]
    cat = replace(run, labels=[{"words": ["cat"], "instances": [], "proposals": []}])
    assert differences(run, cat) == ["labels[0].words[0]: 'dog' -> 'cat'"]
