"""`standfast people`, and the sources of passphrases."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backup.ownership.owner_session import Owner
from standfast.ledger.approvals.passkeys import signed_bytes
from standfast.usecases.approvals.step_decisions import signing_key
from standfast.usecases.setup.installation_opening import open_installation
from standfast.webauthn import read_registration
from tests.cli.desk import Answer, Desk
from tests.passkey_device import Device
from tests.usecases.installations import PASSPHRASES

LONG = "a long walk by the sea"


def add(desk: Desk, name: str, *more: str) -> Answer:
    return desk.run(
        *("people", "add", name, "--full-name", "Erin Vale", "--mail", "erin@example.com"), *more
    )


def second(desk: Desk, person: str) -> tuple[str, ...]:
    """Return the options of a second signature, by one of PASSPHRASES."""
    file = desk.folder / person
    file.write_text(PASSPHRASES[person])
    file.chmod(0o600)
    return ("--second", person, "--second-passphrase-file", str(file))


def test_first_day_enrolment_may_approve(desk: Desk, installation: Path) -> None:
    desk.sign_in_with(LONG)
    answer = add(desk, "erin", "--role", "duty-manager", "--role", "legal")
    assert answer.status == 0
    assert "can approve immediately" in answer.out
    listed = desk.json("people", "list")["people"]
    assert [(one["person"], one["roles"]) for one in listed] == [
        ("erin", ["duty-manager", "legal"])
    ]


def test_suggested_command_prompts_for_the_rest(desk: Desk, installation: Path) -> None:
    desk.sign_in_with(LONG)
    words = ("people", "add", "erin", "--role", "duty-manager")
    desk.monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    refused = desk.run(*words)
    assert (refused.status, "--full-name and --mail: not given" in refused.err) == (2, True)
    typed = iter(["Erin Vale", "erin@example.com"])
    desk.monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    desk.monkeypatch.setattr("builtins.input", lambda: next(typed))
    assert desk.run(*words).status == 0
    assert "erin@example.com" in desk.run("people", "list", "--contacts").out


def test_fresh_approver_is_listed_with_start_time(
    desk: Desk, quiet_installation: Path, tmp_path: Path
) -> None:
    desk.run("incident", "open", "lock", "--input", "accounts=agents:nobody")
    desk.sign_in_with(LONG)
    file = tmp_path / "dana"
    file.write_text(PASSPHRASES["dana"])
    file.chmod(0o600)
    added = add(desk, "erin", "--as", "dana", "--as-passphrase-file", str(file))
    assert "can approve after one day" in added.out
    assert "erin  no role       can approve from 2" in desk.run("people", "list").out


def test_contacts_are_shown_on_request_and_recorded(desk: Desk, quiet_installation: Path) -> None:
    assert "@" not in desk.run("people", "list").out
    assert "mail" not in str(desk.json("people", "list"))
    assert "dana@example.com" in desk.run("people", "list", "--contacts").out
    looks = [e for e in desk.json("audit", "show")["events"] if e["action"] == "contacts.viewed"]
    assert [look["detail"] for look in looks] == [{"count": 3}]


def test_named_signer_is_the_enroller(desk: Desk, quiet_installation: Path, tmp_path: Path) -> None:
    danas, erins = tmp_path / "dana", tmp_path / "erin"
    for file, text in ((danas, PASSPHRASES["dana"]), (erins, LONG)):
        file.write_text(text + "\n")
        file.chmod(0o600)
    files = ("--as-passphrase-file", str(danas), "--passphrase-file", str(erins))
    answer = add(desk, "erin", "--as", "dana", *files)
    assert answer.status == 0, answer
    assert desk.json("people", "list")["people"][1]["enrolled_by"] == "dana"
    wrong = ("--as-passphrase-file", str(erins), "--passphrase-file", str(erins))
    assert add(desk, "finn", "--as", "dana", *wrong).status == 4


def test_later_enrolment_needs_a_signature(
    desk: Desk, quiet_installation: Path, tmp_path: Path
) -> None:
    """Otherwise anybody at a terminal could enrol their own approver."""
    desk.run("incident", "open", "lock", "--input", "accounts=agents:nobody")
    desk.sign_in_with(LONG)
    refused = add(desk, "erin")
    assert refused.status == 4
    assert "Add --as PERSON" in refused.err
    assert "erin" not in desk.run("people", "list").out
    file = tmp_path / "dana"
    file.write_text(PASSPHRASES["dana"])
    file.chmod(0o600)
    signed = add(desk, "erin", "--as", "dana", "--as-passphrase-file", str(file))
    assert signed.status == 0, signed
    assert "erin is enrolled by dana and can approve after one day" in signed.out


@pytest.mark.parametrize(
    ("name", "more", "why"),
    [
        ("Erin Vale", (), "lower-case letters"),
        ("erin", ("--role", "Duty Manager"), "not valid"),
        ("erin", ("--role", "duty-manger"), "did you mean `duty-manager`?"),
        ("erin", ("--account", "erin"), "DIRECTORY:ACCOUNT"),
        ("erin", ("--account", "nowhere:erin"), "the directories here are: agents"),
        ("erin", ("--mail", "erin"), "--mail: not a valid mail address"),
        ("erin", ("--full-name", " "), "--full-name: not valid"),
        ("dana", (), "used before"),
    ],
)
def test_invalid_person_is_not_enrolled(
    name: str, more: tuple[str, ...], why: str, desk: Desk, quiet_installation: Path
) -> None:
    desk.sign_in_with(LONG)
    answer = add(desk, name, *more)
    assert answer.status == 2
    assert why in answer.err
    assert "erin@" not in answer.err
    assert len(desk.json("people", "list")["people"]) == 3


def test_a_short_passphrase_is_refused(desk: Desk, installation: Path) -> None:
    desk.sign_in_with("short")
    answer = add(desk, "erin")
    assert (answer.status, "at least 12 characters" in answer.err) == (2, True)


def test_passphrase_without_terminal_needs_a_source(desk: Desk, installation: Path) -> None:
    desk.monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    answer = add(desk, "erin")
    assert answer.status == 2
    assert "--passphrase-file FILE, set STANDFAST_PASSPHRASE" in answer.err


def test_a_new_passphrase_is_typed_twice(desk: Desk, installation: Path) -> None:
    typed = iter([LONG, "another one entirely", LONG, LONG])
    desk.monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    desk.monkeypatch.setattr("getpass.getpass", lambda _: next(typed))
    assert "the two entries differ" in add(desk, "erin").err
    assert add(desk, "erin").status == 0


def test_world_readable_passphrase_is_refused(desk: Desk, installation: Path) -> None:
    file = desk.folder / "passphrase"
    file.write_text(LONG)
    file.chmod(0o644)
    answer = add(desk, "erin", "--passphrase-file", str(file))
    assert answer.status == 2
    assert "chmod o-rwx" in answer.err
    missing = add(desk, "erin", "--passphrase-file", "missing")
    assert (missing.status, "cannot be read" in missing.err) == (2, True)


def test_removed_person_cannot_approve(desk: Desk, quiet_installation: Path) -> None:
    assert desk.run("people", "remove", "lee").status == 2, "signature is missing"
    desk.sign_in_with(PASSPHRASES["dana"])
    refused = desk.run("people", "remove", "lee", "--as", "dana")
    assert (refused.status, "--second PERSON" in refused.err) == (4, True)
    removed = desk.json("people", "remove", "lee", "--as", "dana", *second(desk, "kim"))
    assert (removed["removed_by"], bool(removed["mail_problem"])) == ("dana", True)
    assert [p["person"] for p in desk.json("people", "list")["people"]] == ["dana", "kim"]
    assert desk.run("people", "remove", "nobody", "--as", "dana").status == 2
    assert desk.run("people", "remove", "lee", "--as", "dana").status == 2


def test_last_approver_is_removed_by_the_owner(desk: Desk, quiet_installation: Path) -> None:
    desk.sign_in_with(PASSPHRASES["dana"])
    kim = second(desk, "kim")
    assert desk.run("people", "remove", "lee", "--as", "dana", *kim).status == 0
    assert desk.run("people", "remove", "kim", "--as", "dana", *kim).status == 4
    owner = ("--owner-key", quiet_installation / "offline/owner.json")
    assert desk.run("people", "remove", "kim", "--as", "dana", *owner).status == 2, "one signature"
    removed = desk.json("people", "remove", "kim", *owner)
    assert removed["removed_by"].startswith("owner:")
    foreign = desk.folder / "owner.json"
    foreign.write_bytes(Owner(repository=bytes(16), key=Ed25519PrivateKey.generate()).to_bytes())
    assert desk.run("people", "remove", "dana", "--owner-key", foreign).status == 4


def test_owner_enrols_once_a_place_is_set_up(desk: Desk, quiet_installation: Path) -> None:
    desk.run("incident", "open", "lock", "--input", "accounts=agents:nobody")
    desk.sign_in_with(LONG)
    owner = ("--owner-key", str(quiet_installation / "offline/owner.json"))
    enrolled = add(desk, "erin", "--role", "duty-manager", *owner, "--json").document
    assert enrolled["may_approve_at_once"]
    assert enrolled["enrolled_by"].startswith("owner:")


def test_forgotten_role_is_granted_later(desk: Desk, quiet_installation: Path) -> None:
    desk.sign_in_with(LONG)
    assert "people grant erin --role" in add(desk, "erin").out
    grant = ("people", "grant", "erin", "--role", "duty-manager")
    assert desk.run(*grant).status == 2
    desk.run("incident", "open", "lock", "--input", "accounts=agents:nobody")
    desk.sign_in_with(PASSPHRASES["dana"])
    assert desk.run(*grant, "--as", "dana").status == 4, "dana lacks that role"
    desk.sign_in_with(PASSPHRASES["lee"])
    assert desk.json(*grant, "--as", "lee")["roles"] == ["duty-manager"]
    assert desk.run("people", "grant", "erin", "--as", "lee").status == 2
    assert desk.run("people", "grant", "erin", "--role", "chef", "--as", "lee").status == 2


def test_passkeys_are_listed_and_removed(desk: Desk, quiet_installation: Path) -> None:
    device, challenge = Device(), bytes(32)
    with open_installation(
        quiet_installation / "standfast.toml", env={}, actor="os:test"
    ) as installation:
        new = read_registration(device.make(challenge), challenge=challenge, origin=device.origin)
        now, key = installation.clock(), signing_key(installation, "lee", PASSPHRASES["lee"])
        signed = key.sign(signed_bytes("lee", new, device.origin, now)).hex()
        id_ = installation.ledger.passkeys.add(
            "lee", new, origin=device.origin, signature=signed, now=now
        ).id
    listed = {one["person"]: one["passkeys"] for one in desk.json("people", "list")["people"]}
    assert [one["id"] for one in listed["lee"]] == [id_]
    assert listed["dana"] == []
    assert f"1 passkey: {id_[:8]}" in desk.run("people", "list").out
    assert desk.run("people", "remove-passkey", "lee", id_[:8]).status == 2
    desk.sign_in_with(PASSPHRASES["dana"])
    assert desk.run("people", "remove-passkey", "dana", id_[:8], "--as", "dana").status == 2
    nobody = desk.run("people", "remove-passkey", "nobody", id_[:8], "--as", "dana")
    assert (nobody.status, "'nobody': not enrolled" in nobody.err) == (2, True)
    removed = desk.run("people", "remove-passkey", "lee", id_[:8], "--as", "dana")
    assert (removed.status, "can no longer sign" in removed.out) == (0, True)
    assert desk.json("people", "list")["people"][-1]["passkeys"] == []
