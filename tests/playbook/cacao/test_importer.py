import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from standfast.errors import PlaybookInvalid
from standfast.playbook.cacao import is_cacao
from standfast.playbook.cacao.importer import Imported, import_cacao
from standfast.playbook.model import Playbook, Step
from standfast.playbook.parser.playbook_file import load
from standfast.playbook.validation.playbook_rules import Known, check
from tests.playbook.cacao.build import AGENT, END, START, action, document, manual, named, text

A, B, C, D = (named("action", number) for number in range(1, 5))


def imported(workflow: dict[str, Any], first: str, **more: Any) -> tuple[Playbook, Imported]:
    done = import_cacao(text(workflow, first, **more), "x.json")
    playbook = load(done.text, "x.yaml")
    assert [str(problem) for problem in check(playbook, Known())] == []
    return playbook, done


def graph(playbook: Playbook) -> dict[str, tuple[str, ...]]:
    return {step.name: tuple(sorted(step.needs)) for step in playbook.steps}


def problems(raw: str) -> list[str]:
    with pytest.raises(PlaybookInvalid) as raised:
        import_cacao(raw, "x.json")
    return [f"{one.message} | {one.hint}" for one in raised.value.problems]


def step(playbook: Playbook, name: str) -> Step:
    return playbook.step(name)


def test_steps_one_after_the_other_need_each_other() -> None:
    playbook, done = imported({A: manual(B, "First"), B: manual(END, "Second")}, A)
    assert (playbook.name, playbook.title) == ("stop-the-thief", "Stop the Thief")
    assert playbook.use_when == "When somebody steals."
    assert graph(playbook) == {"first": (), "second": ("first",)}
    assert done.warnings == ()


def test_step_after_a_parallel_waits_for_every_branch() -> None:
    both = named("parallel", 1)
    workflow = {
        both: {"type": "parallel", "next_steps": [A, C], "on_completion": D},
        A: manual(B, "A"),
        B: manual(named("end", 1), "B"),
        C: manual(named("end", 2), "C"),
        D: manual(END, "D"),
        named("end", 1): {"type": "end"},
        named("end", 2): {"type": "end"},
    }
    playbook, _ = imported(workflow, both)
    assert graph(playbook) == {"a": (), "c": (), "b": ("a",), "d": ("b", "c")}


def test_nested_parallel_is_awaited() -> None:
    outer, inner = named("parallel", 1), named("parallel", 2)
    workflow = {
        outer: {"type": "parallel", "next_steps": [inner, A], "on_completion": D},
        inner: {"type": "parallel", "next_steps": [B, C]},
        **{one: manual(END, name) for one, name in ((A, "A"), (B, "B"), (C, "C"), (D, "D"))},
    }
    playbook, _ = imported(workflow, outer)
    assert graph(playbook)["d"] == ("a", "b", "c")


def test_input_condition_joins_both_branches() -> None:
    choice = named("if-condition", 1)
    workflow = {
        choice: {
            "type": "if-condition",
            "condition": "__severity__:value = 'high'",
            "on_true": A,
            "on_false": B,
            "on_completion": C,
        },
        **{one: manual(END, name) for one, name in ((A, "A"), (B, "B"), (C, "C"))},
    }
    variables = {"__severity__": {"type": "string", "external": True}}
    playbook, done = imported(workflow, choice, playbook_variables=variables)
    assert step(playbook, "a").when == 'inputs.severity == "high"'
    assert step(playbook, "b").when == 'not (inputs.severity == "high")'
    assert (step(playbook, "c").when, graph(playbook)["c"]) == (None, ("a", "b"))
    assert playbook.input("severity").required
    assert done.warnings == ()


def test_any_other_condition_is_put_before_a_person() -> None:
    choice = named("if-condition", 1)
    workflow = {
        choice: {
            "type": "if-condition",
            "name": "Is it bad?",
            "condition": "[ipv4-addr:value = '10.0.0.1']",
            "on_true": A,
        },
        A: manual(END, "A"),
    }
    playbook, done = imported(workflow, choice)
    asked = step(playbook, "is_it_bad")
    assert asked.options == ("yes", "no")
    assert "10.0.0.1" in asked.question
    assert (step(playbook, "a").when, step(playbook, "a").needs) == (
        'answers.is_it_bad == "yes"',
        ("is_it_bad",),
    )
    assert any("becomes a question" in warning for warning in done.warnings)


def test_switch_uses_inputs_and_asks_people() -> None:
    one = named("switch-condition", 1)
    cases = {"red": A, "blue": B, "default": C}
    steps = {A: manual(END, "A"), B: manual(END, "B"), C: manual(END, "C")}
    workflow = {one: {"type": "switch-condition", "switch": "__col__:value", "cases": cases}}
    variables = {"__col__": {"type": "string", "value": "red"}}
    playbook, _ = imported(workflow | steps, one, playbook_variables=variables)
    assert step(playbook, "a").when == 'inputs.col == "red"'
    assert step(playbook, "c").when == 'inputs.col != "red" and inputs.col != "blue"'
    workflow[one]["switch"] = "the colour that you see"
    playbook, _ = imported(workflow | steps, one)
    assert step(playbook, "switch_condition").options == ("red", "blue", "none of these")
    assert step(playbook, "c").when == 'answers.switch_condition == "none of these"'


def test_executable_command_needs_an_allowed_name() -> None:
    encoded = base64.b64encode(b"ip route add blackhole __ip__:value").decode()
    workflow = {
        A: action(B, {"type": "bash", "command_b64": encoded}, name="Block it"),
        B: action(C, {"type": "http-api", "command": "POST /x HTTP/1.1"}, name="Tell the API"),
        C: action(END, {"type": "sigma", "command": "rule"}, name="Hunt"),
    }
    variables = {"__ip__": {"type": "ipv4-addr", "external": True}}
    playbook, done = imported(workflow, A, playbook_variables=variables)
    block = step(playbook, "block_it")
    assert block.action == "run.command"
    assert block.arguments == {"command": "block_it", "parameters": {"ip": "{{ inputs.ip }}"}}
    assert block.approval is not None
    assert step(playbook, "tell_the_api").action == "http.request"
    assert step(playbook, "hunt").instructions == "sigma: rule"
    told = "\n".join(done.warnings)
    assert "[commands.block_it]" in told
    assert "ip route add blackhole" in told
    assert "[requests.tell_the_api]" in told
    assert "sigma becomes a manual step" in told
    here = Known(commands=frozenset(), requests=frozenset({"tell_the_api"}))
    (problem,) = check(playbook, here)
    assert "step `block_it`: there is no command `block_it`" in problem.message
    assert "[commands.block_it]" in problem.hint


@pytest.mark.parametrize(
    ("kind", "action_of_ours"),
    [
        ("bash", "run.command"),
        ("ssh", "run.command"),
        ("powershell", "run.command"),
        ("http-api", "http.request"),
        ("openc2-http", "http.request"),
        ("caldera-cmd", None),
        ("elastic", None),
        ("jupyter", None),
        ("kestrel", None),
        ("sigma", None),
        ("yara", None),
    ],
)
def test_unknown_command_becomes_a_manual_step(kind: str, action_of_ours: str | None) -> None:
    command = {"type": kind, "command": "POST /x HTTP/1.1"}
    playbook, done = imported({A: action(END, command, name="Do it")}, A)
    ours = step(playbook, "do_it")
    assert ours.action == action_of_ours
    told = "\n".join(done.warnings)
    if action_of_ours:
        assert ours.approval is not None
        assert f"[{'commands' if action_of_ours == 'run.command' else 'requests'}.do_it]" in told
    else:
        assert "POST /x HTTP/1.1" in ours.instructions
        assert f"{kind} becomes a manual step" in told


def test_too_long_text_is_cut_with_a_warning() -> None:
    loop = named("while-condition", 1)
    workflow = {
        A: manual(B, "Short") | {"commands": [{"type": "manual", "command": "x" * 9_000}]},
        B: manual(loop, "Long") | {"commands": [{"type": "manual", "command": "x" * 9_001}]},
        loop: {"type": "while-condition", "condition": "c" * 901, "on_true": C, "on_completion": D},
        C: manual(END, "Within") | {"commands": [{"type": "manual", "command": "y" * 300}]},
        D: manual(END, "Last"),
    }
    playbook, done = imported(workflow, A)
    assert len(step(playbook, "long").instructions) == 9_000
    assert "y" * 300 in step(playbook, "while_condition").instructions
    cut = [one for one in done.warnings if "its text is cut after" in one]
    assert [one.partition(":")[0] for one in cut] == [f"$.workflow['{n}']" for n in (B, loop)]


def test_loops_and_nested_playbooks_become_manual() -> None:
    loop, inner = named("while-condition", 1), named("playbook-action", 1)
    workflow = {
        loop: {
            "type": "while-condition",
            "name": "Until quiet",
            "condition": "__n__:value > '0'",
            "on_true": A,
            "on_completion": inner,
        },
        A: manual(END, "Call again"),
        inner: {
            "type": "playbook-action",
            "playbook_id": named("playbook", 7),
            "on_completion": END,
        },
    }
    variables = {"__n__": {"type": "integer", "value": "3"}}
    playbook, done = imported(workflow, loop, playbook_variables=variables)
    assert "Call again" in step(playbook, "until_quiet").instructions
    assert graph(playbook) == {"until_quiet": (), "playbook_action": ("until_quiet",)}
    assert len(done.warnings) == 2


def test_success_and_failure_go_their_ways() -> None:
    workflow = {
        A: manual("", "Ask", on_success=B, on_failure=C),
        B: manual(D, "Good"),
        C: manual(D, "Bad"),
        D: manual(END, "After"),
    }
    playbook, _ = imported(workflow, A)
    assert step(playbook, "ask").options == ("done", "failed")
    assert step(playbook, "good").when == 'answers.ask == "done"'
    assert step(playbook, "bad").when == 'answers.ask != "done"'
    assert (step(playbook, "after").when, graph(playbook)["after"]) == (None, ("bad", "good"))


def test_inconsistent_document_is_refused_with_path_and_hint() -> None:
    workflow = {
        A: manual(named("action", 9), "A"),
        B: manual(C, "B"),
        C: action(B, {"type": "bash", "command": "rm __path__:value"}, agent=named("group", 4)),
    }
    told = problems(text(workflow, A))
    assert any(
        one.startswith(f"$.workflow['{A}'].on_completion: leads to no step | did you mean")
        for one in told
    )
    assert any("leads back to an earlier step" in one for one in told)
    assert any("uses the variable __path__, which is not declared" in one for one in told)
    assert any(f"$.workflow['{C}'].agent: names no agent" in one for one in told)
    told = problems(text({A: manual(END, "A"), B: manual(END, "B")}, A))
    assert told == [
        f"$.workflow['{B}']: nothing leads to this step | remove it, or add an edge to it"
    ]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"spec_version": "1.0"}, "$.spec_version"),
        ({"workflow": {}}, "$.workflow"),
        ({"workflow_start": "start"}, "$.workflow_start"),
        ({"created": "yesterday"}, "$.created"),
        ({"playbook_variables": {"ip": {"type": "string"}}}, "$.playbook_variables"),
    ],
)
def test_schema_violation_is_reported_with_its_path(change: dict[str, Any], path: str) -> None:
    told = problems(json.dumps({**document({A: manual(END, "A")}, A), **change}))
    assert any(one.startswith(f"{path}: ") for one in told)


def test_oversized_or_ambiguous_file_is_refused() -> None:
    good = text({A: manual(END, "A")}, A)
    assert "larger than 1 MiB" in problems(good + " " * 2**20)[0]
    assert "nested deeper" in problems('{"a":' * 100 + "1" + "}" * 100)[0]
    assert "nested deeper" in problems("[" * 100_000)[0] or "not JSON" in problems("[" * 100_000)[0]
    assert "twice" in problems('{"type": "playbook", "type": "playbook"}')[0]
    assert "not JSON" in problems('{"type": ')[0]
    assert "NaN" in problems('{"type": NaN}')[0]


def test_a_cacao_file_is_told_by_its_content() -> None:
    assert is_cacao(text({A: manual(END, "A")}, A))
    assert not is_cacao("playbook: x\nversion: 1\n")
    assert not is_cacao('{"playbook": "x"}')


IDS = [START, END, A, B, C, named("parallel", 1), named("if-condition", 1), "x", ""]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from(IDS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)
KEYS = [
    "type", "name", "description", "on_completion", "on_success", "on_failure", "on_true",
    "on_false", "next_steps", "cases", "switch", "condition", "commands", "agent", "delay",
    "step_variables", "out_args", "playbook_id",
]  # fmt: skip
KINDS = st.sampled_from([
    "start", "end", "action", "parallel", "if-condition", "while-condition", "switch-condition",
    "playbook-action",
])  # fmt: skip
TARGETS = st.sampled_from(IDS[:-2])
STEPS = st.fixed_dictionaries(
    {"type": KINDS},
    optional={
        "name": st.text(max_size=60),
        "on_completion": TARGETS,
        "on_true": TARGETS,
        "on_false": TARGETS,
        "next_steps": st.lists(TARGETS, min_size=1, max_size=3),
        "cases": st.dictionaries(st.text(max_size=10), TARGETS, min_size=1, max_size=3),
        "switch": st.sampled_from(["__x__:value", "__x__", "colour"]) | st.text(max_size=10),
        "condition": st.sampled_from(["__x__:value = 'a'", "__x__:value = 3"])
        | st.text(max_size=20),
        "agent": st.just(AGENT),
        "playbook_id": st.just(named("playbook", 3)),
        "commands": st.lists(
            st.fixed_dictionaries(
                {
                    "type": st.sampled_from(["manual", "bash", "http-api", "yara"]),
                    "command": st.text(max_size=60),
                }
            ),
            min_size=1,
            max_size=2,
        ),
    },
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(TARGETS, STEPS, max_size=7), TARGETS, st.text(max_size=30))
def test_any_workflow_is_imported_or_refused(
    workflow: dict[str, Any], first: str, name: str
) -> None:
    raw = text(workflow, first, name=name, playbook_variables={"__x__": {"type": "string"}})
    try:
        done = import_cacao(raw, "x.json")
    except PlaybookInvalid:
        return
    playbook = load(done.text, "x.yaml")
    assert [str(problem) for problem in check(playbook, Known())] == []


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6),
    VALUES,
    st.sampled_from(
        ["workflow", "playbook_variables", "agent_definitions", "name", "playbook_extensions"]
    ),
)
def test_any_text_is_imported_or_refused(odd: dict[str, Any], other: Any, key: str) -> None:
    whole = document({A: {**manual(END, "A"), **odd}}, A) | {key: other}
    for made in (whole, document({A: {**manual(END, "A"), **odd}}, A), other):
        with suppress(PlaybookInvalid):
            import_cacao(json.dumps(made), "x.json")
