"""Commands of owner and custodians, each tested by access afterwards."""

import json
import shutil
from functools import cache
from pathlib import Path

import pyrage
import pytest

from tests.cli.desk import Desk


@pytest.fixture
def owner(installation: Path) -> tuple[str, Path]:
    return ("--owner-key", installation / "offline/owner.json")


@pytest.fixture
def identity(installation: Path) -> Path:
    return installation / "offline/identity.txt"


def new_identity(folder: Path, name: str) -> tuple[str, Path]:
    """Make an identity of a person: the public key and the file."""
    secret = pyrage.x25519.Identity.generate()
    file = folder / f"{name}.txt"
    file.write_text(f"{secret}\n")
    return str(secret.to_public()), file


def restores(desk: Desk, point: str, identity: Path) -> bool:
    """Return whether an identity restores a point unchanged."""
    out = desk.folder / f"out-{len(list(desk.folder.glob('out-*')))}"
    answer = desk.run("backup", "restore", point, "--to", out, "--identity", identity)
    if answer.status:
        assert not list(out.rglob("note.txt"))
        return False
    assert (out / "source/note.txt").read_text() == "a note"
    return True


def test_roster_shows_roles_and_no_secret(desk: Desk, installation: Path, identity: Path) -> None:
    desk.run("backup", "run")
    answer = desk.run("backup", "owner", "show")
    assert answer.status == 0
    for part in ("Repository", "host-1", "generation 0", "age1", "No keeper"):
        assert part in answer.out
    document = desk.json("backup", "owner", "show")
    assert document["writers"][0]["newest"]["point"] == "host-1/0000000001"
    said = answer.out + json.dumps(document)
    owner_key = json.loads((installation / "offline/owner.json").read_text())["owner_key"]
    assert owner_key not in said
    assert "AGE-SECRET-KEY" not in said


def test_added_host_backs_up_and_restores(
    desk: Desk, installation: Path, owner: tuple[str, Path], identity: Path
) -> None:
    words = ("backup", "owner", "add-writer", "desk-2", "--domain", "main", "--host-dir", "two")
    document = desk.json(*words, *owner)
    assert (document["writer"], document["root"]) == ("desk-2", 1)
    assert len(document["next"]) == 5
    host_key = json.loads((desk.folder / "two/host.json").read_text())["signing_key"]
    assert host_key not in json.dumps(document)
    text = (installation / "standfast.toml").read_text()
    config = installation / "two.toml"
    config.write_text(text.replace("[backup]", f'[backup]\nhost = "{desk.folder}/two"\n', 1))
    if "[backup]\n" not in text:
        config.write_text(f'{text}\n[backup]\nhost = "{desk.folder}/two"\n')
    (installation / "state").mkdir(exist_ok=True)
    desk.use(config)
    assert "desk-2/0000000001" in desk.run("backup", "run").out
    assert restores(desk, "desk-2/1", identity)
    again = desk.run(*words, *owner)
    assert again.status == 2
    assert "writer desk-2: it exists" in again.err


def test_new_epoch_refuses_the_old_host(
    desk: Desk, installation: Path, owner: tuple[str, Path], identity: Path
) -> None:
    desk.run("backup", "run")
    desk.run("backup", "verify")
    witness = desk.folder / "witness.jsonl"
    shutil.copy(installation / "backup-witness.jsonl", witness)
    desk.run("backup", "run")
    words = ("backup", "owner", "new-epoch", "host-1", "--host-dir", "rebuilt", *owner)
    asked = desk.run(*words)
    assert asked.status == 2
    assert "--trusted-through" in asked.err
    both = desk.run(*words, "--trusted-through", "1", "--witness", witness)
    assert both.status == 2
    mistaken = desk.run(*words, "--witness", installation / "standfast.toml")
    assert (mistaken.status, "standfast.toml: not a witness" in mistaken.err) == (2, True)
    answer = desk.run(*words, "--witness", witness)
    assert answer.status == 0
    assert "1 point no longer trusted" in answer.out
    assert "host-1/0000000002" in answer.out
    refused = desk.run("backup", "run")
    assert refused.status == 2
    assert "Copy the host.json of its new epoch here" in refused.err
    assert "Copy the host.json of its new epoch here" in desk.run("check").out
    verified = desk.run("backup", "verify")
    assert verified.status == 6
    assert "host-1/s/0000000002: is newer than the last snapshot" in verified.out
    assert "nothing, if it was made before the owner ended the trust" in verified.out
    shown = desk.run("backup", "owner", "show").out
    old, new = (line.split() for line in shown.splitlines() if line.startswith("host-1 "))
    assert old[3:] == ["through", "1", "1,", *new[5:]]
    assert (new[1], new[3], new[4]) == ("1", "yes", "1,")
    shutil.rmtree(installation / "keys/backup-host")
    shutil.copytree(desk.folder / "rebuilt", installation / "keys/backup-host")
    checked = [one for one in desk.json("check")["checks"] if one["part"] == "backup"]
    assert checked
    assert "fail" not in {one["verdict"] for one in checked}
    first = desk.run("backup", "run").out
    assert "host-1/0000000003" in first
    assert "other keys than at the last run, as after a new epoch" in first
    assert "host-1: skipped snapshot 2 signed with its old keys" in first
    assert "This is expected" in first
    assert "Verify" not in first
    assert "warning" not in desk.run("backup", "run").out
    verified = desk.run("backup", "verify")
    assert verified.status == 0
    assert (
        "is newer than the last snapshot that the owner trusts; its writer skipped it"
        in verified.out
    )
    rows = [line.split() for line in desk.run("backup", "owner", "show").out.splitlines()]
    old, new = (row for row in rows if row[:1] == ["host-1"])
    assert old[3:] == ["through", "1"]
    assert new[4] == "4,"
    assert restores(desk, "latest", identity)
    assert restores(desk, "1", identity)


def test_nothing_goes_into_another_domain_than_is_set(
    desk: Desk, installation: Path, owner: tuple[str, Path], identity: Path
) -> None:
    """Otherwise the files would outlive the erasure of their domain."""
    assert desk.run("backup", "owner", "add-domain", "hr", *owner).status == 0
    config = installation / "standfast.toml"
    config.write_text(config.read_text().replace('#domain = "main"', 'domain = "hr"', 1))
    refused = desk.run("backup", "run")
    assert refused.status == 2
    assert "backup.domain: it is 'hr'" in refused.err
    assert "backup.domain: it is 'hr'" in desk.run("check").out
    words = ("backup", "owner", "add-writer", "desk-2", "--domain", "hr", "--host-dir", "two")
    assert desk.run(*words, *owner).status == 0
    config.write_text(
        config.read_text().replace('#host = "keys/backup-host"', f'host = "{desk.folder}/two"', 1)
    )
    assert "desk-2/0000000001" in desk.run("backup", "run").out
    assert "backup.writer is 'host-1'" in desk.run("check").out
    assert restores(desk, "desk-2/1", identity)


def test_a_removed_host_is_refused(desk: Desk, installation: Path, owner: tuple[str, Path]) -> None:
    desk.run("backup", "run")
    words = ("backup", "owner", "remove-writer", "host-1", "--trusted-through", "1")
    assert desk.run(*words, *owner).status == 0
    assert desk.run("backup", "run").status == 2
    assert desk.run("backup", "verify").status == 0
    assert desk.run(*words, *owner).status == 2


def test_custodians_are_added_and_retired(
    desk: Desk, installation: Path, owner: tuple[str, Path], identity: Path
) -> None:
    desk.run("backup", "run")
    lee, lees = new_identity(desk.folder, "lee")
    assert not restores(desk, "latest", lees)
    words = ("backup", "owner", "add-custodian", "--recipient", lee, "--name", "Lee Moss")
    added = desk.run(*words, "--identity", identity, *owner)
    assert added.status == 0, added
    assert "Lee Moss can open every domain" in added.out
    assert restores(desk, "1", lees)
    gone = desk.run(
        "backup", "owner", "retire-custodian", "Lee Moss", "--identity", identity, *owner
    )
    assert gone.status == 0
    assert "with a copy of the old keys" in gone.out
    desk.run("backup", "run")
    assert not restores(desk, "2", lees)
    assert restores(desk, "1", identity)
    assert restores(desk, "2", identity)
    wrong = desk.run("backup", "owner", "retire-custodian", "Kim", "--identity", identity, *owner)
    assert wrong.status == 2
    assert "custodian 'Kim': unknown" in wrong.err


@pytest.mark.long
def test_identity_and_owner_key_can_be_encrypted(
    desk: Desk, installation: Path, owner: tuple[str, Path], identity: Path
) -> None:
    # The derivation of a passphrase's key takes a second of CPU on purpose, so it is cached.
    desk.monkeypatch.setattr(pyrage.passphrase, "decrypt", cache(pyrage.passphrase.decrypt))
    desk.sign_in_with("too short")  # a person that finds the file can try passphrases without limit
    refused = desk.run("backup", "owner", "lock-key", *owner, "--to", "owner.age")
    assert (refused.status, "at least 12 characters" in refused.err) == (2, True)
    desk.sign_in_with("a long enough phrase")
    locked = desk.run("backup", "owner", "lock-key", *owner, "--to", "owner.age")
    assert locked.status == 0
    was = (desk.folder / "owner.age").read_bytes()
    again = desk.run("backup", "owner", "lock-key", *owner, "--to", "owner.age")
    assert (again.status, "owner.age" in again.err) == (2, True)
    assert (desk.folder / "owner.age").read_bytes() == was
    anew = desk.run("backup", "owner", "lock-key", "--owner-key", "owner.age", "--to", "two.age")
    assert anew.status == 2
    assert "owner.age: locked already" in anew.err
    (desk.folder / "id.age").write_bytes(
        pyrage.passphrase.encrypt(identity.read_bytes(), "a long enough phrase")
    )
    lee, lees = new_identity(desk.folder, "lee")
    words = ("backup", "owner", "add-custodian", "--recipient", lee, "--identity", "id.age")
    assert desk.run(*words, "--owner-key", "owner.age").status == 0
    desk.run("backup", "run")
    assert restores(desk, "latest", lees)
    desk.sign_in_with("another phrase")
    answer = desk.run("backup", "owner", "add-domain", "hr", "--owner-key", "owner.age")
    assert answer.status == 2
    assert "the passphrase does not open" in answer.err


def test_domains_generations_and_keepers(
    desk: Desk, installation: Path, owner: tuple[str, Path], identity: Path
) -> None:
    assert desk.json("backup", "owner", "add-domain", "hr", *owner)["generation"] == 0
    assert desk.json("backup", "owner", "new-generation", "main", *owner)["generation"] == 1
    keeper = desk.json("backup", "owner", "set-keeper", "--keeper-file", "keeper.json", *owner)
    assert keeper["keeper_file"] == str(desk.folder / "keeper.json")
    secret = json.loads((desk.folder / "keeper.json").read_text())["keeper_key"]
    assert secret not in json.dumps(keeper)
    assert desk.run("backup", "owner", "set-keeper", "--key", "ab" * 32, *owner).status == 2
    retire = ("backup", "owner", "retire-keeper", *owner)
    assert desk.run(*retire).status == 2
    assert desk.run(*retire, "--trusted-through", "0").status == 2
    assert desk.run(*retire, "--trust-none").status == 0
    assert desk.run("backup", "owner", "set-keeper", "--key", "xyz", *owner).status == 2
    assert desk.run("backup", "owner", "set-keeper", "--key", "ab" * 32, *owner).status == 0
    assert desk.run("backup", "owner", "publish").status == 0
    shown = desk.json("backup", "owner", "show")
    assert [one["domain"] for one in shown["domains"]] == ["hr", "main"]
    assert [one["key"] for one in shown["keepers"]] == ["ab" * 32]
    desk.run("backup", "run")
    assert restores(desk, "latest", identity)


def test_foreign_owner_and_unknown_custodian_are_refused(
    desk: Desk, installation: Path, owner: tuple[str, Path], identity: Path
) -> None:
    desk.run("init", "another", "--source", "source", "--yes")
    theirs = ("--owner-key", desk.folder / "another/offline/owner.json")
    refused = desk.run("backup", "owner", "new-generation", "main", *theirs)
    assert refused.status == 2
    assert "is of another repository than" in refused.err
    lee, lees = new_identity(desk.folder, "lee")
    words = ("backup", "owner", "add-custodian", "--recipient", lee, "--name", "Lee Moss")
    assert desk.run(*words, "--identity", identity, *owner).status == 0
    nobody = desk.run("backup", "owner", "retire-custodian", "", "--identity", lees, *owner)
    assert (nobody.status, "custodian: none was given" in nobody.err) == (2, True)
    both = desk.run("backup", "owner", "set-keeper", *owner)
    assert (both.status, "--keeper-file FILE" in both.err) == (2, True)
    folder = desk.run("backup", "list", "--identity", installation)
    assert (folder.status, "is a folder. Name the file" in folder.err) == (2, True)


def test_a_domain_is_erased_by_two_persons(
    desk: Desk, installation: Path, owner: tuple[str, Path], identity: Path
) -> None:
    desk.run("backup", "run")
    lee, lees = new_identity(desk.folder, "lee")
    words = ("backup", "owner", "add-custodian", "--recipient", lee, "--name", "Lee Moss")
    desk.run(*words, "--identity", identity, *owner)
    ordered = desk.run(
        *("backup", "owner", "order-erasure", "main", "--ordered-by", "Dana Ray"),
        *("--reason", "the contract has ended", "--to", "erasure.order", *owner),
    )
    assert ordered.status == 0
    assert "Nothing is erased yet" in ordered.out
    attest = ("backup", "custodian", "attest", "erasure.order")
    unread = desk.run(*attest, "--identity", lees, "--as", "Lee Moss", "--to", "lee.attestation")
    assert unread.status == 2
    assert "--yes" in unread.err
    for who, name, file in (
        (lees, "Lee Moss", "lee.attestation"),
        (identity, "Dana Ray", "dana.attestation"),
    ):
        answer = desk.run(*attest, "--identity", who, "--as", name, "--to", file, "--yes")
        assert answer.status == 0, answer
        assert "the contract has ended" in answer.out
    erase = ("backup", "owner", "erase", "main", "erasure.order")
    end = ("--certificate", "erased.json", *owner)
    missing = desk.run(*erase, "lee.attestation", *end)
    assert missing.status == 2
    assert "is missing; nothing was erased" in missing.err
    mixed = desk.run("backup", "owner", "erase", "hr", *erase[4:], "lee.attestation", *end)
    assert mixed.status == 2
    done = desk.json(*erase, "lee.attestation", "dana.attestation", *end)
    assert done["points"] == 1
    assert "Lee Moss" in (desk.folder / "erased.json.txt").read_text()
    for who in (identity, lees):
        assert not restores(desk, "1", who)
    refused = desk.run("backup", "run")
    assert refused.status == 2
    assert "was erased on" in refused.err
    verified = desk.run("backup", "verify")
    assert verified.status == 0
    assert "was erased on" in verified.out


def test_a_custodian_answers_a_challenge(
    desk: Desk, installation: Path, owner: tuple[str, Path], identity: Path
) -> None:
    made = desk.json("backup", "custodian", "challenge", "new", "--to", "challenge.json")
    assert len(made["custodians"]) == 1
    answer = ("backup", "custodian", "challenge", "answer", "challenge.json", "--identity")
    desk.monkeypatch.delenv("STANDFAST_CONFIG")
    given = desk.json(*answer, identity, "--to", "answer.json")
    assert given["opens"] == ["main/0"]
    stranger = new_identity(desk.folder, "kim")[1]
    assert desk.run(*answer, stranger, "--to", "other.json").status == 2
    assert not (desk.folder / "other.json").exists()
    desk.use(installation / "standfast.toml")
    accepted = desk.run("backup", "custodian", "challenge", "accept", "answer.json")
    assert accepted.status == 0
    assert "correct, opened main/0" in accepted.out
    spoilt = json.loads((desk.folder / "answer.json").read_text())
    spoilt["answers"][0]["nonce"] = "00" * 32
    (desk.folder / "spoilt.json").write_text(
        json.dumps(spoilt, separators=(",", ":"), sort_keys=True) + "\n"
    )
    wrong = desk.run("backup", "custodian", "challenge", "accept", "spoilt.json")
    assert wrong.status == 2
    assert "does not fit" in wrong.err
    assert desk.run(*answer, identity, "--to", "answer.json").status == 2


def test_card_is_a_page_and_copy_is_restorable(
    desk: Desk, installation: Path, identity: Path
) -> None:
    desk.run("backup", "run")
    with (installation / "standfast.toml").open("a") as file:
        file.write(
            f'\n[backup.copies.paris]\nvault = "{desk.folder}/paris"\n'
            f'keys = "{desk.folder}/paris-keys"\n'
        )
    written = desk.run("backup", "card", "--html", "card.html")
    assert (written.status, "a custodian has no name on the card" in written.out) == (0, True)
    page = (desk.folder / "card.html").read_text()
    assert "Example Contact Centres" in page
    assert "paris" in page
    assert desk.run("backup", "card", "--html", "card.html").status == 0
    mistyped = desk.run("backup", "card", "--html", installation / "standfast.toml")
    assert (mistyped.status, "is another kind of file" in mistyped.err) == (2, True)
    assert "RECOVERY CARD" in desk.run("backup", "card").out
    copied = desk.run("backup", "copy", "--to", "paris", "--keys")
    assert copied.status == 0, copied
    assert "is a complete copy of the vault" in copied.out
    again = desk.json("backup", "copy", "--to", "paris")
    assert all(one["copied"] == 0 for one in again["counts"].values())
    shutil.rmtree(installation / "vault")
    shutil.rmtree(installation / "keys/store")
    shutil.copytree(desk.folder / "paris", installation / "vault")
    shutil.copytree(desk.folder / "paris-keys", installation / "keys/store")
    assert restores(desk, "latest", identity)
    assert desk.run("backup", "verify", "--read", "--identity", identity).status == 0
    missing = desk.run("backup", "copy", "--to", "rome")
    assert missing.status == 2
    assert "the known names are: paris" in missing.err
    with (installation / "standfast.toml").open("a") as file:
        file.write('[backup.copies.itself]\nvault = "../place/vault"\n')
    itself = desk.run("backup", "copy", "--to", "itself")
    assert (itself.status, "it is the first site itself" in itself.err) == (2, True)


@pytest.mark.parametrize("words", [(), ("--html", "card.html")], ids=["shown", "written"])
def test_outdated_card_says_so(desk: Desk, installation: Path, words: tuple[str, ...]) -> None:
    desk.run(
        "backup", "owner", "add-domain", "hr", "--owner-key", installation / "offline/owner.json"
    )
    newest = installation / "vault/pub/root/0000000001"
    newest.chmod(0o640)
    newest.write_bytes(b"")
    made = desk.run("backup", "card", *words)
    assert made.status == 6
    assert "error: pub/root/0000000001 is too short" in made.out
    assert "may be old" in made.out
    assert "print it twice" not in made.out
    assert desk.json("backup", "card", *words)["exit_status"] == 6


def test_damaged_objects_are_named_and_not_copied(desk: Desk, installation: Path) -> None:
    desk.run("backup", "run")
    with (installation / "standfast.toml").open("a") as file:
        file.write(f'\n[backup.copies.paris]\nvault = "{desk.folder}/paris"\n')
    pack = next(
        path
        for path in (installation / "vault/w").rglob("*")
        if "/p/" in str(path) and path.is_file()
    )
    data = bytearray(pack.read_bytes())
    data[-1] ^= 1
    pack.chmod(0o640)
    pack.write_bytes(data)
    document = desk.json("backup", "copy", "--to", "paris")
    assert document["exit_status"] == 6
    assert pack.name in document["findings"][0]["object"]
    assert not list((desk.folder / "paris").rglob(pack.name))
    unset = desk.run("backup", "copy", "--to", "paris", "--keys")
    assert unset.status == 2
    assert "backup.copies.paris.keys" in unset.err


@pytest.mark.parametrize(
    "words",
    [
        "owner add-writer desk-2 --domain main --host-dir two --owner-key nowhere.json",
        "owner add-writer desk-2 --domain main --host-dir two --owner-key place/standfast.toml",
        (
            "owner add-writer desk-2 --domain other --host-dir two "
            "--owner-key place/offline/owner.json"
        ),
        "owner add-writer DESK --domain main --host-dir two --owner-key place/offline/owner.json",
        (
            "owner new-epoch desk-9 --trusted-through 0 --host-dir two "
            "--owner-key place/offline/owner.json"
        ),
        "owner remove-writer host-1 --trusted-through 7 --owner-key place/offline/owner.json",
        (
            "owner add-custodian --recipient age1x --identity place/offline/identity.txt "
            "--owner-key place/offline/owner.json"
        ),
        (
            "owner add-custodian --recipient age1x --identity place/offline/owner.json "
            "--owner-key place/offline/owner.json"
        ),
        "owner new-generation other --owner-key place/offline/owner.json",
        (
            "owner order-erasure other --ordered-by D --reason R --to o "
            "--owner-key place/offline/owner.json"
        ),
        (
            "owner erase main place/standfast.toml place/standfast.toml --certificate c "
            "--owner-key place/offline/owner.json"
        ),
        "owner lock-key --owner-key place/offline/identity.txt --to two",
        (
            "custodian attest place/standfast.toml --identity place/offline/identity.txt --as L "
            "--to o --yes"
        ),
        (
            "custodian challenge answer place/standfast.toml --identity place/offline/identity.txt "
            "--to o"
        ),
        "custodian challenge accept place/standfast.toml",
        "custodian challenge accept nowhere",
        "copy --to nowhere",
    ],
)
def test_bad_input_is_named_and_changes_nothing(desk: Desk, installation: Path, words: str) -> None:
    def state() -> dict[str, bytes]:
        kept = ("vault", "keys", "offline")
        return {
            str(path): path.read_bytes()
            for one in kept
            for path in sorted((installation / one).rglob("*"))
            if path.is_file()
        }

    before = state()
    answer = desk.run("backup", *words.split())
    assert answer.status == 2, answer
    assert answer.err.count("\n") == 1
    assert answer.out == ""
    as_document = desk.run("backup", *words.split(), "--json")
    assert as_document.document["exit_status"] == 2
    assert state() == before
    assert not {"two", "c", "o"} & {path.name for path in desk.folder.iterdir()}


def test_unproven_custodian_is_in_status_and_check(desk: Desk, installation: Path) -> None:
    assert "custodians" not in desk.run("check").out
    desk.run("backup", "custodian", "challenge", "new", "--to", "challenge.json")
    assert "has not answered the challenge yet" in desk.run("check").out
    assert desk.json("status")["custodians_overdue"] == []
    file = installation / "state/custodians.jsonl"
    year = file.read_text().partition('"at":"')[2][:4]
    file.write_text(file.read_text().replace(f'"at":"{year}', f'"at":"{int(year) - 1}'))
    (overdue,) = desk.json("status")["custodians_overdue"]
    assert overdue["answered_at"] is None
    assert "has not answered" in desk.run("status").out
    assert "no proof of" in desk.run("check").out


def test_answers_are_compared_with_present_custodians(
    desk: Desk, installation: Path, owner: tuple[str, Path], identity: Path
) -> None:
    deed = ("--identity", identity, *owner)
    challenge = ("backup", "custodian", "challenge")
    lee, lees = new_identity(desk.folder, "lee")
    desk.run(*challenge, "new", "--to", "challenge.json")
    add = ("backup", "owner", "add-custodian", "--recipient", lee, "--name", "Lee Moss")
    assert desk.run(*add, *deed).status == 0
    assert "is new and was never asked" in desk.run("check").out
    desk.run(*challenge, "new", "--to", "second.json")
    desk.run(*challenge, "answer", "second.json", "--identity", lees, "--to", "answer.json")
    assert desk.run(*challenge, "accept", "answer.json").status == 0
    assert "Lee Moss proved the key today" in desk.run("check").out
    assert desk.run("backup", "owner", "retire-custodian", "Lee Moss", *deed).status == 0
    said = desk.run("check").out
    assert "Lee Moss answered, but cannot open new backups" in said
    assert "Lee Moss proved the key" not in said
    desk.run("backup", "run")
    assert not restores(desk, "latest", lees)
    assert restores(desk, "latest", identity)
