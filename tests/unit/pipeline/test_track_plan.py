"""Which stems are delivered, and the residual beside them."""

import pytest

from ironclad_assets.contracts.v1.options import ALL_STEMS, JobOptions
from ironclad_assets.errors import Refusal
from ironclad_assets.pipeline.track_plan import MIXTURE, plan_tracks

FOUR = ("drums", "bass", "other", "vocals")


@pytest.mark.parametrize(
    ("wanted", "delivered"),
    [
        (None, FOUR),
        (ALL_STEMS, FOUR),
        ((), ()),
        (("vocals", "drums"), ("drums", "vocals")),
    ],
)
def test_only_the_stems_asked_for_are_delivered_in_the_engines_order(
    wanted: tuple[str, ...] | None, delivered: tuple[str, ...]
) -> None:
    """STEM-001."""
    plans = plan_tracks(FOUR, options=JobOptions(stems=wanted))
    assert tuple(plan.name for plan in plans if plan.kind == "stem") == delivered
    assert plans[0].name == "instrumental"


def test_a_stem_that_is_not_there_is_refused_with_what_there_is() -> None:
    with pytest.raises(Refusal, match="no stem guitar; the engine makes drums, bass, other, vocals") as caught:
        plan_tracks(FOUR, options=JobOptions(stems=("guitar", "vocals")))
    assert caught.value.code.code == "unknown_target"


def test_the_residual_is_the_mixture_without_every_stem_whichever_are_delivered() -> None:
    plan = plan_tracks(FOUR, options=JobOptions(stems=("vocals",), residual=True))[-1]
    assert (plan.name, plan.kind, plan.stems) == ("residual", "stem", ())
    assert (plan.add, plan.subtract, plan.method) == ((MIXTURE,), FOUR, "subtract")


def test_a_stem_called_residual_leaves_no_name_for_the_residual() -> None:
    with pytest.raises(Refusal, match="stem of its own called residual"):
        plan_tracks(("vocals", "residual"), options=JobOptions(residual=True))


def test_other_models_have_other_stems() -> None:
    six = (*FOUR, "guitar", "piano")
    plans = plan_tracks(six, options=JobOptions(targets=("guitar+piano",), stems=("piano",)))
    assert [(plan.name, plan.stems) for plan in plans] == [("guitar+piano", ("guitar", "piano")), ("piano", ("piano",))]
