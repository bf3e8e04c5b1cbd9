"""Course of each page: installation, preparation, placeholders.

A page without an entry is followed in an empty folder.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from demo.tour_context import PASSPHRASES
from tests.pages import guide_acts, incident_acts, installation_acts
from tests.pages.blocks import Block, blocks
from tests.pages.installation_acts import configure, demo_place
from tests.pages.not_run import reason_not_run
from tests.pages.typist import Act, Typist, steps
from tests.usecases import installations


@dataclass(frozen=True, kw_only=True)
class Course:
    """Preparation and placeholders of one page."""

    after: str | None = None  # the page that is followed before, in the same folder
    prepare: Act = lambda _: None
    before: Mapping[str, Act] = field(default_factory=dict)  # by a command's beginning
    by_hand: Mapping[str, Act] = field(default_factory=dict)  # instead of a command
    instead: Mapping[str, str] = field(default_factory=dict)  # placeholders and folders
    takes: Mapping[str, Callable[[Typist, Block], None]] = field(default_factory=dict)
    passphrases: Mapping[str, str] = field(default_factory=lambda: PASSPHRASES)
    unavailable: Mapping[str, str] = field(default_factory=dict)  # a command, and its error here


def follow(typist: Typist, page: str) -> None:
    """Type the commands of a page in their order."""
    course = COURSES.get(page, Course())
    course.prepare(typist)
    page_signs_in = any("STANDFAST_PASSPHRASE" in block.text for block in blocks(page))
    passphrases = {} if page_signs_in else course.passphrases
    for block in blocks(page):
        if block.has_commands:
            if reason_not_run(block) is None:
                _type_block(typist, block, course, passphrases)
        elif block.language in course.takes:
            course.takes[block.language](typist, block)


def _type_block(
    typist: Typist, block: Block, course: Course, passphrases: Mapping[str, str]
) -> None:
    instead = {
        text: replacement.replace("FOLDER", str(typist.folder))
        for text, replacement in course.instead.items()
    }
    for step in steps(block, instead):
        if step.command in course.by_hand:
            course.by_hand[step.command](typist)
            continue
        for beginning, act in course.before.items():
            if step.line.startswith(beginning):
                act(typist)
        answer = typist.type(step.command, passphrases)
        if step.command in course.unavailable:
            assert answer.status != 0, f"{block}\n$ {step.command}\nnow runs: remove the entry"
            assert course.unavailable[step.command] in answer.out + answer.err, f"{block}\n{answer}"
        else:
            step.check(answer, block)


def _takes_settings(typist: Typist, block: Block) -> None:
    configure(typist, block.text)


COURSES: dict[str, Course] = {
    "README.md": Course(
        prepare=installation_acts.files_to_back_up,
        by_hand={
            "make demo": installation_acts.demo_with_an_incident,
            "python3 -m venv glass && glass/bin/pip install cryptography zstandard blake3 pyrage": (
                installation_acts.environment_of_break_glass
            ),
        },
        instead={
            "python offline/": "python my-place/offline/",
            "VAULT offline offline/": "my-place/vault my-place/offline my-place/offline/",
            "TARGET POINT": "from-glass host-1/0000000001",
        },
    ),
    "deploy/s3/README.md": Course(prepare=installation_acts.keeper_machine),
    "docs/accounts.md": Course(
        prepare=demo_place,
        instead={"NAME:test-account": "agents:ana.pena", "PERSON": "dana"},
    ),
    "docs/backups.md": Course(
        after="docs/tutorial.md",
        prepare=installation_acts.back_in_the_tutorial,
        before={"standfast backup keep --dry-run": installation_acts.grant_keeper},
    ),
    "docs/continuity.md": Course(
        prepare=incident_acts.attendance_list,
        instead={"2026-11-28": incident_acts.yesterday()},
    ),
    "docs/drills.md": Course(
        prepare=installation_acts.drilled_place,
        instead={
            "run crm ": "run customer-records ",
            "report crm": "report customer-records",
            "run recordings --sample 2": "run main --sample 90",
            "HEX": "$(cat ledger-key)",
            "drills/reports/000011-RUN.json": "previous.json",
        },
        before={"standfast-verify": incident_acts.ledger_key_and_report},
        unavailable={
            "standfast drill run crm-base --until 2026-03-02T14:20+01:00": "the name of a set",
        },
    ),
    "docs/evidence.md": Course(
        prepare=incident_acts.evidence_place,
        takes={"yaml": incident_acts.freeze_playbook},
        instead={
            "/var/log/auth.log": "FOLDER/demo-place/centre/logs/sign-ins.log",
            "m.keller@example.com": "oscar.ortiz",
            "in-clear …": "in-clear --seal-key … --timeline timeline.jsonl --ledger-key …",
            "--seal-key …": "--seal-key $(cat seal-key)",
            "--ledger-key …": "--ledger-key $(cat ledger-key)",
        },
        before={
            "standfast evidence open": incident_acts.encrypted_evidence,
            "standfast evidence hold": incident_acts.close_incident,
            "standfast evidence export": incident_acts.evidence_in_clear,
            "python standfast_verify.py in-clear --seal-key": incident_acts.files_for_the_examiner,
            "python standfast_verify.py in-clear …": incident_acts.stamp_for_the_examiner,
        },
    ),
    "docs/monitoring.md": Course(prepare=installation_acts.folder_of_keys),
    "docs/open-incidents.md": Course(
        prepare=incident_acts.open_incident,
        instead={
            "carol,agents:dave": "ana.garcia,agents:gael.pascal",
            "m.keller": "oscar.ortiz",
            "2026-11-25T03:00": "2100-01-01T00:00",
        },
    ),
    "docs/recover-a-service.md": Course(
        prepare=installation_acts.place_to_recover,
        before={"standfast recover status": installation_acts.recover_data},
        instead={"--set crm": "--set main", "identity.txt": "offline/custodian.txt"},
        passphrases=installations.PASSPHRASES,
        unavailable={  # the set has no dumps of a PostgreSQL server
            "standfast backup restore latest crm-server/globals.sql --set main --to roles "
            "--identity offline/custodian.txt": "crm-server/globals.sql",
            "standfast backup restore latest crm-server/globals.sql --set main --globals "
            "   --into file:keys/crm-server-address --identity offline/custodian.txt": (
                "keys/crm-server-address"
            ),
        },
    ),
    "docs/recover-installation.md": Course(
        prepare=installation_acts.backed_up_place,
        instead={
            "/mnt/vault": "my-place/vault",
            "offline/identity.txt": "my-place/offline/identity.txt",
            "/srv/standfast": "recovered",
        },
    ),
    "docs/senders.md": Course(prepare=demo_place),
    "docs/sources.md": Course(
        prepare=installation_acts.place_with_an_identity,
        instead={"SET": "main", "--set crm": "--set main"},
        unavailable={
            "standfast backup restore latest --set main --into file:keys/restore-address "
            "--identity identity.txt": "restore-address",
        },
    ),
    "docs/triggers.md": Course(prepare=incident_acts.paged_place, instead={"-0007": "-0001"}),
    "docs/tutorial.md": Course(
        by_hand={"standfast demo --again": installation_acts.demo_with_an_incident},
        takes={"toml": _takes_settings},
    ),
    "docs/write-a-notice.md": Course(
        after="docs/write-a-playbook.md",
        takes={
            "toml": guide_acts.take_notice_settings,
            "": guide_acts.take_notice_text,
            "yaml": guide_acts.extend_playbook,
        },
        before={
            "standfast notice preview staff-mailbox  # exits": guide_acts.mistype_variable,
            "standfast notice preview staff-mailbox --audience": guide_acts.correct_notice,
            "standfast notice check staff-mailbox  # exits": guide_acts.add_banned_phrase,
            "standfast playbook check": guide_acts.correct_notice,
        },
    ),
    "docs/write-a-playbook.md": Course(
        prepare=installation_acts.demo_with_an_incident,
        takes={"toml": _takes_settings, "yaml": guide_acts.take_playbook},
        before={"standfast playbook check wrong": guide_acts.break_playbook},
    ),
}
