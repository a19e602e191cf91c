"""Every arm of the quality bench in one visible list: what it starts from, and what it changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from xpm_stream.config.method_sections import WeightingName

Captions = Literal["all", "base", "none", "shuffled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One line of a table. A first teacher has no `start`; a student learns from `start`, and from its weights."""

    name: str
    label: str  # as the tables say it
    group: str  # what may be left out together
    start: str | None = None
    sets: tuple[str, ...] = ()
    captions: Captions = "all"  # nouns of which classes the student is told; shuffled: those of another image
    rounds: float = 1.0  # length, in the form's `round_steps`
    promotions: int = 0  # within the trial: the student becomes teacher at equal distances
    stream: Literal["whole", "shift"] = "whole"  # shift: early target classes leave at half time, late ones come
    judge_promoted: bool = False  # evaluate each promoted teacher too
    corpus: dict[str, Any] = field(default_factory=dict)


def _noisy(rate: float) -> dict[str, Any]:
    return {"wrong_noun_rate": rate}


# The paper as this loop runs it, and XPM without its noise estimation: both with argmax (Eq. 2).
_PAPER: Final = ("xpm.variant=paper",)
_EQ_2: Final = ("xpm.assignment=argmax", "xpm.assignment_context=logit", "xpm.box_voting=false")
_PLAIN: Final = (*_EQ_2, "xpm.weighting=none")
# Of weights 1 and 0.25 for the sum of four grounding losses, the one that gave the better OVR with seed 0.
_GROUNDED: Final = ("teacher.grounding_weight=0.25", "teacher.batch_captions=16")
WEIGHTINGS: Final = get_args(WeightingName)
SECOND_WEIGHTINGS: Final = ("none", "stochastic", "label", "label_within_word", "label_annealed")

ARMS: Final[tuple[Arm, ...]] = (
    # The core: one teacher, one round, a second round.
    Arm(name="teacher", label="teacher (base masks only)", group="core"),
    Arm(name="student", label="XPM here, one round", group="core", start="teacher"),
    Arm(name="student-2", label="XPM here, second round", group="core", start="student"),
    Arm(name="no-captions", label="no captions", group="core", start="teacher", captions="none"),
    Arm(name="base-nouns", label="base nouns only", group="core", start="teacher", captions="base"),
    Arm(name="argmax", label="L_X + L_M, argmax (Eq. 2)", group="core", start="teacher", sets=_PLAIN),
    Arm(name="paper", label="XPM, `xpm.variant: paper`", group="core", start="teacher", sets=_PAPER),
    # Parts.
    Arm(
        name="background",
        label="the default, background in L_X",
        group="parts",
        start="teacher",
        sets=("xpm.background_in_cross_modal=true",),
    ),
    Arm(
        name="exclusive",
        label="L_X + L_M, exclusive assignment",
        group="parts",
        start="teacher",
        sets=("xpm.box_voting=false", "xpm.weighting=none"),
    ),
    Arm(
        name="only-lx",
        label="L_X alone, argmax",
        group="parts",
        start="teacher",
        sets=(*_PLAIN, "xpm.mask_weight=0"),
    ),
    Arm(
        name="released",
        label="XPM, `xpm.variant: released`",
        group="parts",
        start="teacher",
        sets=("xpm.variant=released",),
    ),
    # Rivals of the paper.
    Arm(name="ovr", label="OVR (joint grounding)", group="rivals", sets=("method=ovr", *_GROUNDED)),
    Arm(name="sb", label="SB", group="rivals", sets=("method=sb", *_GROUNDED)),
    Arm(name="ba-rpn", label="BA-RPN", group="rivals", sets=("method=ba_rpn", *_GROUNDED)),
    Arm(name="omp", label="OMP", group="rivals", sets=("method=omp", *_GROUNDED)),
    Arm(name="soft-teacher", label="Soft-Teacher", group="rivals", start="teacher", sets=("method=soft_teacher",)),
    Arm(
        name="unbiased-teacher",
        label="Unbiased-Teacher",
        group="rivals",
        start="teacher",
        sets=("method=unbiased_teacher",),
    ),
    Arm(name="cap2det", label="Cap2Det", group="rivals", start="teacher", sets=("method=cap2det",)),
    Arm(name="ovr-student", label="XPM here on OVR's teacher", group="rivals", start="ovr"),
    # Table 3: weightings, exclusive assignment throughout; with wrong nouns too.
    *(
        Arm(
            name=f"weighting-{weighting}{suffix}",
            label=weighting,
            group=group,
            start="teacher",
            sets=(f"xpm.weighting={weighting}",),
            corpus=corpus,
        )
        for group, suffix, corpus in (("weightings", "", {}), ("noisy-weightings", "-noise-0.4", _noisy(0.4)))
        for weighting in WEIGHTINGS
        if not (weighting == "stochastic" and not corpus)  # that is `student`
    ),
    # Second rounds from the default's student: a teacher that tells right labels from wrong better. True captions, then
    # wrong nouns still.
    Arm(
        name="second-label",
        label="label",
        group="second",
        start="student",
        sets=("xpm.weighting=label",),
    ),
    *(
        Arm(
            name=f"second-{weighting}-noise-0.4",
            label=weighting,
            group="second",
            start="weighting-stochastic-noise-0.4",
            sets=(f"xpm.weighting={weighting}",),
            corpus=_noisy(0.4),
        )
        for weighting in SECOND_WEIGHTINGS
    ),
    # Figure 6: wrong nouns.
    Arm(name="student-noise-0.2", label="XPM here", group="noise", start="teacher", corpus=_noisy(0.2)),
    Arm(name="argmax-noise-0.2", label="argmax", group="noise", start="teacher", sets=_PLAIN, corpus=_noisy(0.2)),
    Arm(name="argmax-noise-0.4", label="argmax", group="noise", start="teacher", sets=_PLAIN, corpus=_noisy(0.4)),
    Arm(name="paper-noise-0.4", label="paper", group="noise", start="teacher", sets=_PAPER, corpus=_noisy(0.4)),
    # The whole system against the paper's loop, as many steps: promotions and new labels, or one teacher throughout.
    Arm(
        name="promoted-noise-0.4",
        label="XPM here, five promotions",
        group="noise",
        start="teacher",
        rounds=2,
        promotions=5,
        corpus=_noisy(0.4),
    ),
    Arm(
        name="argmax-300-noise-0.4",
        label="argmax, one teacher",
        group="noise",
        start="teacher",
        sets=_PLAIN,
        rounds=2,
        corpus=_noisy(0.4),
    ),
    # Nothing is learnt here: the second student is judged on pictures drawn in a style it never saw.
    Arm(
        name="sketch",
        label="second round, judged on sketches",
        group="style",
        start="student-2",
        rounds=0,
        captions="none",
        corpus={"style": "sketch"},
    ),
    # What promotion gates are for: a good student goes on with captions of other images.
    *(
        Arm(
            name=f"shuffled-{steps}",
            label=f"{steps} steps with captions of other images",
            group="gates",
            start="student",
            captions="shuffled",
            rounds=steps / 150,
        )
        for steps in (40, 150)
    ),
    # Continual: the same number of steps with one teacher and with five promotions.
    Arm(name="one-teacher", label="XPM here, 300 steps, one teacher", group="continual", start="teacher", rounds=2),
    Arm(
        name="two-promotions",
        label="XPM here, 300 steps, two promotions",
        group="continual",
        start="teacher",
        rounds=2,
        promotions=2,
    ),
    Arm(
        name="promoted",
        label="XPM here, 300 steps, five promotions",
        group="continual",
        start="teacher",
        rounds=2,
        promotions=5,
        judge_promoted=True,
    ),
    Arm(
        name="shift",
        label="words change at half time",
        group="continual",
        start="teacher",
        rounds=2,
        promotions=5,
        stream="shift",
        judge_promoted=True,
        corpus={"late_class_rate": 0.5},
    ),
    Arm(
        name="shift-replay",
        label="the same, eight trained images a step replayed",
        group="continual",
        start="teacher",
        sets=("trainer.replay_images=8",),
        rounds=2,
        promotions=5,
        stream="shift",
        judge_promoted=True,
        corpus={"late_class_rate": 0.5},
    ),
)
# What matters most first: a bench that is stopped has whole tables.
GROUPS: Final = (
    "core",
    "continual",
    "style",
    "rivals",
    "noisy-weightings",
    "second",
    "noise",
    "parts",
    "weightings",
    "gates",
)
BY_NAME: Final = {arm.name: arm for arm in ARMS}
