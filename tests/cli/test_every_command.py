"""Every command with --json: one document with its exit status."""

import json
import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.cli.desk import Desk
from tests.cli.test_app import COMMANDS
from tests.usecases.installations import PASSPHRASES

KEY = "--owner-key place/offline/owner.json"
IDENTITY = "--identity place/offline/identity.txt"
LEE = "age1fs5ut7jdp0sqvfx0fmsava30zg5um9uwsu3aydnpe4fuuzw3uq0qufwtmj"
# People continue the third incident of the story; the staff list only planned the first one.
THIRD = f"inc-{datetime.now(UTC).year}-0003"
LAWS = """
[deadlines]
jurisdictions = ["EU/EEA", "US-CA"]
parts = ["processor", "controller"]
"""
STAFF_LIST = """key,name,accounts,left
1,Ada Quill,agents:ada,
2,Ben Stone,agents:ben,2026-01-31
"""

# Typed commands, in this order, in one installation, each with its expected status.
STORY: tuple[tuple[str, int], ...] = (
    ("init other --source place --yes", 0),
    ("init other --source place --yes", 2),
    ("check", 2),  # the directory and the mail server do not exist
    ("readiness", 3),  # the check failed, so the answer is no
    ("doctor --to support.json", 0),
    ("status", 0),
    ("on-call show", 2),  # no rota is configured
    ("backup run", 0),
    ("backup list", 0),
    ("backup verify", 0),
    ("backup restore latest --to out --identity place/offline/identity.txt", 0),
    ("backup ls latest --identity place/offline/identity.txt", 0),
    ("backup find *.txt --identity place/offline/identity.txt", 0),
    ("backup diff latest latest --identity place/offline/identity.txt", 0),
    ("backup copy --to nowhere", 2),
    ("backup card --html card.html", 0),
    (
        "recover installation --vault place/vault --identity place/offline/identity.txt --into new",
        2,
    ),
    ("backup keys copy stick", 2),  # a new copy needs a name
    ("backup keys copy stick --name stick", 0),
    ("backup keys list", 0),
    ("backup keys forget stick", 0),
    ("backup owner show", 0),
    ("backup owner publish", 0),
    (f"backup owner add-domain hr {KEY}", 0),
    (f"backup owner add-writer desk-2 --domain hr --host-dir two {KEY}", 0),
    (f"backup owner new-epoch desk-2 --trusted-through 0 --host-dir three {KEY}", 0),
    (f"backup owner remove-writer desk-2 --trusted-through 0 {KEY}", 0),
    (f"backup owner new-generation main {KEY}", 0),
    (f"backup owner set-keeper --keeper-file place/keys/keeper.json {KEY}", 0),
    ("backup keep", 0),
    ("backup keep status", 0),
    ("backup keep hold inc-2026-0001", 0),
    ("backup keep release inc-2026-0001", 0),
    (f"backup owner retire-keeper --trust-none {KEY}", 0),
    (f"backup owner add-custodian --name Lee --recipient {LEE} {IDENTITY} {KEY}", 0),
    (f"backup owner retire-custodian Lee {IDENTITY} {KEY}", 0),
    (f"backup owner order-erasure hr --ordered-by dana --reason over --to order {KEY}", 0),
    (f"backup custodian attest order --yes --as lee --to attestation {IDENTITY}", 0),
    (f"backup owner erase hr order attestation --certificate erased.json {KEY}", 0),
    (f"backup owner lock-key --to owner.age {KEY}", 0),
    ("backup custodian challenge new --to challenge.json", 0),
    (f"backup custodian challenge answer challenge.json --to answer.json {IDENTITY}", 0),
    ("backup custodian challenge accept answer.json", 0),
    ("drill run main --identity place/offline/identity.txt", 0),
    ("drill list", 0),
    ("drill report main --to drill.html", 0),
    ("recover plan crm", 2),  # no service is configured
    ("recover open crm --exercise", 2),
    ("recover status inc-2000-0001", 2),
    ("recover report inc-2000-0001", 2),
    ("recover paper inc-2000-0001", 2),
    ("recover approve inc-2000-0001 recover --as lee", 2),
    ("recover answer inc-2000-0001 verify done", 2),
    ("recover accept inc-2000-0001 recover", 2),
    ("recover retry inc-2000-0001", 2),
    ("recover stop inc-2000-0001 --as dana", 2),
    ("recover resume inc-2000-0001 --as dana", 2),
    ("recover undo inc-2000-0001 --all --as dana", 2),
    ("recover close inc-2000-0001 --as dana", 2),
    ("continuity attest training --as lee --file staff-list.csv", 0),
    ("continuity attestations training", 0),
    ("continuity calendar", 0),
    ("continuity show --html continuity.html", 0),
    ("continuity import staff-list.csv", 2),  # the file has other columns
    ("people list", 0),
    ("people add erin --full-name Erin --mail erin@example.com --passphrase-file erin.txt", 0),
    ("people grant erin --role duty-manager --as lee", 0),
    # Only a browser adds passkeys, so there is none.
    ("people remove-passkey erin 3f9a1c20 --as lee", 2),
    ("people remove erin --as lee --second dana --second-passphrase-file dana.txt", 0),
    # The file is not a staff list.
    ("people import place/staff.csv --dry-run --column key=email", 2),
    ("people import staff-list.csv --dry-run", 0),
    ("people import staff-list.csv", 0),
    ("people factors", 3),  # no directory reports second factors
    ("people leavers", 3),  # without a directory, nobody knows whether Ben can still sign in
    ("incident carry-out inc-2000-0001", 2),
    ("playbook list", 0),
    ("playbook show lock", 0),
    ("playbook check lock", 0),
    ("playbook page lock", 0),
    ("playbook export lock --to lock.json", 0),
    ("playbook import lock.json --to mine.yaml", 0),
    ("notice list", 0),
    ("notice preview staff-heads-up", 0),
    ("notice preview staff-heads-up --audience staff", 0),
    ("notice check staff-heads-up", 0),
    ("lock alice --exercise", 0),
    ("incident close --as dana", 0),
    # The secret is missing, so the directory is not reached.
    ("incident plan leaver -i accounts=agents:alice", 4),
    ("incident open account-takeover -i accounts=alice --exercise --as dana", 5),
    ("incident list", 0),
    ("incident status", 5),
    ("incident note seen", 0),
    ("incident affected add --query customers", 4),  # an exercise reads no customer data
    ("incident affected show", 0),
    ("deadline places", 0),
    ("deadline show eu-gdpr-33-authority", 0),
    (f"deadline list {THIRD}", 0),
    (f"deadline fact {THIRD} awareness --because 'the log of the telephony'", 0),
    (f"deadline affected {THIRD} US-CA 1200", 0),
    (f"deadline answer {THIRD} eu-gdpr-34-individuals no --because 'all was encrypted'", 0),
    (f"deadline delay {THIRD} US-CA --document 'letter of 2 March'", 0),
    (f"deadline content {THIRD} what_happened 'An account was taken over.'", 0),
    (f"deadline form {THIRD} eu-gdpr-33-authority --to form.html", 3),  # the form still has gaps
    (f"deadline notified {THIRD} eu-gdpr-33-authority --receipt 'case 4711'", 0),
    (f"deadline notified {THIRD} us-ga-ag --receipt none", 2),  # no such obligation
    (f"deadline list {THIRD} --all", 0),
    (f"deadline calendar {THIRD} --to due.ics", 0),
    ("deadline feed", 0),
    ("deadline feed lee", 0),
    ("deadline feed lee --revoke", 0),
    ("deadline feed lee --revoke", 2),  # lee's feed is already revoked
    ("incident answer customers_affected yes --as lee", 5),
    ("incident approve --as lee", 4),  # lee was not shown the plan
    ("incident approve --digest DIGEST --as dana", 4),  # dana opened the incident
    ("incident approve --digest DIGEST --as lee", 5),
    ("incident accept lock", 2),  # the step is done
    ("incident settle 0 yes", 2),
    ("incident retry", 5),
    ("incident acknowledge --as dana", 0),  # nobody is being paged
    ("incident stop --as dana", 0),
    ("incident resume --as dana", 5),
    ("incident undo --all --as dana", 5),
    ("incident answer watch done", 5),
    ("incident add -i accounts=bob", 5),
    ("notice status", 0),
    ("notice read tell_customers", 0),
    ("notice read tell_customers --lang xx", 2),
    ("notice accounting --export told.csv", 0),
    ("notice pause tell_customers", 2),  # all messages have been sent
    ("notice resume tell_customers", 2),
    ("notice go tell_customers", 2),
    ("notice stop tell_customers", 2),
    ("notice correct nothing", 2),  # the step does not exist
    ("notice posted tell_customers", 2),  # the step wrote no letters
    ("notice held", 0),
    ("notice reports place/staff.csv", 0),  # the file is not a report, so it is skipped
    ("notice tell 3f9c12ab --own-address --because 'his heir'", 2),  # no recipient is held
    ("notice leave-out 3f9c12ab --because 'no heir'", 2),
    ("incident handover", 0),
    ("incident after-action", 0),
    ("incident close --as dana", 0),
    (f"incident reopen {THIRD} --as dana", 0),
    (f"incident close {THIRD} --as dana", 0),
    ("evidence list", 0),
    ("evidence verify inc-2000-0001", 2),
    ("evidence review inc-2000-0001", 2),
    ("evidence copy inc-2000-0001", 2),
    ("evidence open inc-2000-0001 /var/log/auth.log --reason why --into opened --as dana", 2),
    (f"evidence export {THIRD} --to handed", 2),  # an exercise freezes no evidence
    (f"evidence export {THIRD} --to handed --unmasked", 2),  # without a reason
    ("evidence stamp inc-2000-0001", 2),
    (f"evidence hold {THIRD} --reason 'a claim' --as dana", 0),
    (f"evidence dispose {THIRD} --reason 'retention is over' --as dana", 4),  # a legal hold applies
    # The person that set the hold must not release it.
    (f"evidence release {THIRD} --reason 'no claim' --as dana", 4),
    ("audit verify", 0),
    ("audit show", 0),
    (f"audit export {THIRD} --to exported", 0),
    ("report", 0),
    ("completion bash", 0),
    ("manual --to man1", 0),
    ("tabletop list", 0),
    ("tabletop start ransomware", 0),
    ("tabletop next", 0),
    ("tabletop answer B", 0),
    ("tabletop finish", 0),
    ("tabletop report inc-2000-0001", 2),
    ("status", 0),
)
# Text that the output of some commands must contain.
SAID = {
    "backup keep hold": "Held for inc-2026-0001: nothing expires.",
    "backup keep release": "No hold is left.",
    "people import staff-list.csv --dry-run": "2 would be added: A*** Q***, B*** S***",
    "people leavers": "B*** S***  unknown  agents",
    "people factors": "agents: ",
    "playbook import": "mine.yaml",
    "deadline places": "When was it reasonably certain that personal data was affected?",
    "deadline show": "72 hours, from awareness",
    f"deadline list {THIRD} --all": "met: notify competent supervisory authority",
    f"deadline fact {THIRD} awareness": "eu-gdpr-33-authority",
    "deadline form": "4 of 6 fields are empty",
    "deadline calendar": "due date",
    "deadline feed lee": "address",
    "tabletop answer": "The first call: 3 of 3 points.",
}
# Tested elsewhere: `serve` runs until a signal, `demo` for a minute.
ELSEWHERE = {("serve",), ("worker",), ("demo",)}


@pytest.fixture
def story_installation(desk: Desk, quiet_installation: Path) -> Path:
    """Return an installation with obligations and a staff list."""
    config_file = quiet_installation / "standfast.toml"
    config_file.write_text(config_file.read_text() + LAWS)
    (desk.folder / "staff-list.csv").write_text(STAFF_LIST)
    for person, phrase in {"erin": "a passphrase of her own", **PASSPHRASES}.items():
        (desk.folder / f"{person}.txt").write_text(phrase)
        (desk.folder / f"{person}.txt").chmod(0o600)
    return quiet_installation


def typed_words(desk: Desk, line: str) -> list[str]:
    """Return the words of a line; DIGEST becomes the digest of the status."""
    return shlex.split(line.replace("DIGEST", desk.asked()) if "DIGEST" in line else line)


def test_every_command_prints_one_document(
    desk: Desk, story_installation: Path, subtests: pytest.Subtests
) -> None:
    typed: set[tuple[str, ...]] = set()
    for line, status in STORY:
        words = typed_words(desk, line)
        person = words[words.index("--as") + 1] if "--as" in words else "dana"
        desk.sign_in_with(PASSPHRASES[person])
        with subtests.test(line):
            answer = desk.run(*words, "--json")
            assert answer.status == status, answer
            document = json.loads(answer.out)
            assert isinstance(document, dict)
            assert document.get("exit_status", status) == status
            assert answer.err == ""
            assert status == 0 or "exit_status" in document
        typed.update(tuple(words[:length]) for length in (1, 2, 3, 4))
    assert set(COMMANDS) - typed == ELSEWHERE


def test_every_command_prints_calm_lines(desk: Desk, story_installation: Path) -> None:
    heard = set()
    for line, status in STORY:
        words = typed_words(desk, line)
        person = words[words.index("--as") + 1] if "--as" in words else "dana"
        desk.sign_in_with(PASSPHRASES[person])
        answer = desk.run(*words)
        assert answer.status == status, (line, answer)
        said = answer.out + answer.err
        assert said.strip(), line
        assert "Traceback" not in said
        assert "customer1@example.net" not in said
        assert "Ada Quill" not in said
        assert "\x1b" not in said
        for start, text in SAID.items():
            if line.startswith(start):
                assert text in said, (line, answer)
                heard.add(start)
    assert heard == set(SAID)
