"""The shipped obligations are complete, sourced and understood."""

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

import jsonschema
import pytest

from standfast.deadlines.applicability import OBLIGATED_PARTIES, Part, Sector, binds, threshold_of
from standfast.deadlines.clock_starts import QUESTIONS, start_of
from standfast.deadlines.obligations import Kind, Obligation, Recipient, is_same_notice, read

LINES = (resources.files("standfast.deadlines") / "obligations.jsonl").read_text().splitlines()
SCHEMA = json.loads(
    (resources.files("standfast.deadlines") / "obligations.schema.json").read_text()
)


@pytest.fixture(scope="module")
def shipped() -> Mapping[str, Obligation]:
    return {obligation.id: obligation for obligation in read(LINES)}


def test_all_123_obligations_are_read(shipped: Mapping[str, Obligation]) -> None:
    assert len(shipped) == len(LINES) == 123


@pytest.mark.parametrize("line", LINES, ids=lambda line: json.loads(line)["id"])
def test_each_line_fits_the_schema(line: str) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(line))


def test_each_obligation_has_source_and_reading_date(
    shipped: Mapping[str, Obligation],
) -> None:
    for obligation in shipped.values():
        assert obligation.sources, obligation.id
        assert obligation.citation, obligation.id
        assert obligation.read_on.startswith("2026-"), obligation.id


def test_each_clock_starts_with_a_known_fact(
    shipped: Mapping[str, Obligation],
) -> None:
    for obligation in shipped.values():
        start = start_of(obligation, shipped)
        assert start.facts or start.notices, obligation.id
        assert set(start.facts) <= QUESTIONS.keys(), obligation.id


def test_each_question_is_asked_for_some_clock(shipped: Mapping[str, Obligation]) -> None:
    asked = {
        name for obligation in shipped.values() for name in start_of(obligation, shipped).facts
    }
    assert asked == QUESTIONS.keys()


def test_each_obligated_party_is_known_and_used(
    shipped: Mapping[str, Obligation],
) -> None:
    everybody = frozenset(Part), frozenset(Sector)
    assert all(binds(obligation, *everybody) for obligation in shipped.values())
    assert {
        obligation.obligated_party for obligation in shipped.values()
    } == OBLIGATED_PARTIES.keys()


def test_each_threshold_is_a_number_or_a_question(shipped: Mapping[str, Obligation]) -> None:
    for obligation in shipped.values():
        threshold = threshold_of(obligation)
        assert bool(obligation.threshold) == bool(threshold.has_number or threshold.question)


@pytest.mark.parametrize(
    ("obligation", "least", "most", "question"),
    [
        ("us-hipaa-406-media", 501, None, ""),
        ("us-hipaa-408-hhs-500", 500, None, ""),
        ("us-hipaa-408-hhs-annual", None, 499, ""),
        ("us-co-cra", 1000, None, ""),  # sources disagree: the number that brings it sooner
        ("us-ia-ag", 500, None, ""),
        ("us-tx-ag", 250, None, ""),
        ("us-la-ag", 1, None, ""),
        ("us-tx-cra", 10_001, None, ""),
        (
            "jp-appi-preliminary",
            1001,
            None,
            "Is there sensitive data, risk of financial harm, or unlawful purpose?",
        ),
        (
            "us-bank-service-provider",
            None,
            None,
            (
                "Is this so: material disruption or degradation for 4 or more hours (actual or "
                "reasonably likely)?"
            ),
        ),
    ],
)
def test_thresholds_are_read_as_the_law_means_them(
    shipped: Mapping[str, Obligation],
    obligation: str,
    least: int | None,
    most: int | None,
    question: str,
) -> None:
    threshold = threshold_of(shipped[obligation])
    assert (threshold.least, threshold.most, threshold.question) == (least, most, question)


def test_two_limits_of_one_report_share_a_notice(
    shipped: Mapping[str, Obligation],
) -> None:
    one, other = (
        shipped["eu-dora-19-initial-classification"],
        shipped["eu-dora-19-initial-backstop"],
    )
    assert is_same_notice(one, other)
    assert not is_same_notice(one, shipped["eu-dora-19-intermediate"])
    assert not is_same_notice(shipped["jp-appi-final"], shipped["jp-appi-preliminary"])


def test_every_kind_of_limit_is_there(shipped: Mapping[str, Obligation]) -> None:
    assert {obligation.limit.kind for obligation in shipped.values()} == set(Kind)
    assert {obligation.recipient for obligation in shipped.values()} == set(Recipient)


def changed(**keys: Any) -> str:
    return json.dumps(json.loads(LINES[0]) | keys)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (changed(surprise=1), "surprise"),
        (changed(status="perhaps"), "'perhaps': not one of"),
        (changed(recipient={"class": "aunt", "name": "x"}), "'aunt': not one of"),
        (changed(deadline={"kind": "hard", "value": 1, "unit": None, "from": "x", "also": None}),
         "a value and a unit"),
        (changed(deadline={"kind": "hard", "value": 0, "unit": "hours", "from": "x", "also": None}),
         "positive number"),
        ("{", "line 2"),
        (LINES[0], "is repeated"),
    ],
)  # fmt: skip
def test_half_understood_line_is_refused_with_number(line: str, says: str) -> None:
    with pytest.raises(ValueError, match=r"line 2") as refused:
        read([LINES[0], line])
    assert says in str(refused.value)
