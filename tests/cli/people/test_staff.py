"""`standfast people import` and `people leavers`."""

import csv
from datetime import UTC, datetime
from pathlib import Path

import pytest

from standfast.adapters.accounts import SecondFactors, WithoutFactor
from standfast.adapters.accounts.scim.connector import ScimConnector
from standfast.usecases.people.staff_lists import read_csv, read_scim
from standfast.usecases.setup.installation_opening import open_installation
from tests.cli.desk import Desk, furnish
from tests.servers.scim import ScimServer
from tests.servers.smtp import SmtpServer
from tests.usecases.installations import enrol_people

HEADER = "key,name,mail,phone,accounts,roles,left\n"
LINES = {
    "ada": "1,Ada Quill,ada@example.com,020 7946 0001,agents:ada,agent,\n",
    "ben": "2,Ben Stone,ben@example.com,,agents:ben agents:ben.admin,agent;team-lead,2026-01-31\n",
    "cat": "3,Cat Vale,,,,,2099-12-31\n",
}


def listed(folder: Path, *names: str, more: str = "") -> Path:
    file = folder / "staff-list.csv"
    file.write_text(HEADER + "".join(LINES[name] for name in names or LINES) + more)
    return file


@pytest.fixture
def staffed(
    installation: Path, desk: Desk, scim_server: ScimServer, smtp_server: SmtpServer
) -> ScimServer:
    """An installation with ada, ben (two accounts, one disabled) and others."""
    config_file = furnish(installation, scim_url=scim_server.url, smtp_port=smtp_server.port)
    desk.monkeypatch.setenv("SCIM_TOKEN", scim_server.token)
    for name in ("ada", "ben", "other"):
        scim_server.create(name)
    scim_server.create("ben.admin", is_active=False)
    with open_installation(config_file, env={}, actor="os:test") as opened:
        enrol_people(opened)
    return scim_server


def test_missing_staff_list_means_no_leavers(desk: Desk, quiet_installation: Path) -> None:
    answer = desk.run("people", "leavers")
    assert (answer.status, "No list of staff is imported" in answer.out) == (0, True)


def test_dry_run_shows_masked_changes_and_changes_nothing(
    desk: Desk, staffed: ScimServer, installation: Path
) -> None:
    file = listed(installation)
    answer = desk.run("people", "import", file, "--dry-run")
    assert answer.status == 0, answer
    assert "3 would be added: A*** Q***, B*** S***, C*** V***" in answer.out
    assert "1 would be leaving: B*** S***" in answer.out
    for name in ("Ada", "ada@", "7946"):
        assert name not in answer.out
    assert desk.json("people", "import", file, "--dry-run")["unchanged"] == 0
    assert desk.json("people", "leavers")["leavers"] == []


def test_leaver_with_access_is_planned_once_until_locked(
    desk: Desk, staffed: ScimServer, installation: Path
) -> None:
    file = listed(installation)
    taken = desk.json("people", "import", file)
    assert taken["added"]["count"] == 3
    (incident,) = taken["planned"]
    assert taken["planned"] == {incident: "B*** S***"}
    (row,) = desk.json("incident", "list", "--open")["incidents"]
    assert (row["scenario"], row["mode"]) == ("leaver", "plan")
    again = desk.json("people", "import", file)
    assert (again["unchanged"], again["planned"], again["leaving"]["count"]) == (3, {}, 0)

    found = desk.json("people", "leavers")
    assert found["exit_status"] == 3
    (ben,) = found["leavers"]
    assert (ben["name"], ben["still_in"], ben["unclear"]) == ("B*** S***", ["agents:b***"], [])
    named = desk.run("people", "leavers", "--names")
    assert named.status == 3
    assert "Ben Stone  can sign in  agents:ben" in named.out
    assert "ben.admin" not in named.out  # this account is already disabled

    carried = desk.run("incident", "carry-out", incident)
    assert carried.status == 5  # a person must still collect the devices
    assert desk.json("people", "leavers")["exit_status"] == 0
    assert desk.run("incident", "carry-out", incident).status == 5  # the same incident continues
    assert len(desk.json("incident", "list")["incidents"]) == 2
    events = [event["action"] for event in desk.json("audit", "show")["events"]]
    assert events.count("staff.taken") == 1
    assert events.count("staff.viewed") == 1
    assert desk.run("audit", "verify").status == 0


def test_unlisted_account_is_found_but_not_planned(
    desk: Desk, staffed: ScimServer, installation: Path
) -> None:
    staffed.create("dora@example.com")
    file = listed(
        installation, "ada", more="9,Dora Low,dora@example.com,,agents:gone,,2026-01-01\n"
    )
    assert desk.json("people", "import", file)["planned"] == {}
    (dora,) = desk.json("people", "leavers")["leavers"]
    assert (dora["still_in"], dora["not_listed"]) == (["agents:d***"], 1)
    assert "not in the list of staff" in desk.run("people", "leavers").out


def test_missing_person_left_unless_list_shrank_much(
    desk: Desk, staffed: ScimServer, installation: Path
) -> None:
    many = "".join(f"m{n},Member {n},,,,,\n" for n in range(20))
    desk.run("people", "import", listed(installation, more=many))
    answer = desk.run("people", "import", listed(installation, "ada"))
    assert answer.status == 4
    assert "22 of 23 people would be gone" in answer.err
    assert desk.run("people", "import", listed(installation, "ada"), "--dry-run").status == 0
    assert (
        desk.json("people", "import", listed(installation, "ada"), "--yes")["gone"]["count"] == 22
    )
    assert len(desk.json("people", "leavers")["leavers"]) == 22


def test_empty_list_is_refused_at_any_size(
    desk: Desk, staffed: ScimServer, installation: Path
) -> None:
    assert desk.run("people", "import", listed(installation)).status == 0
    empty = installation / "empty.csv"
    empty.write_text(HEADER)
    answer = desk.run("people", "import", empty)
    assert (answer.status, "3 of 3 people would be gone" in answer.err) == (4, True), answer
    assert desk.json("people", "import", empty, "--yes")["gone"]["count"] == 3


def test_unreachable_directory_is_unclear_not_without_access(
    desk: Desk, quiet_installation: Path
) -> None:
    desk.monkeypatch.setenv("SCIM_TOKEN", "x")
    desk.run("people", "import", listed(quiet_installation, "ben"))
    found = desk.json("people", "leavers")
    assert (found["exit_status"], found["still_in"], found["unclear"]) == (3, 0, 1)


def test_unreachable_list_directory_says_where_to_look(
    desk: Desk, quiet_installation: Path
) -> None:
    desk.monkeypatch.setenv("SCIM_TOKEN", "x")
    answer = desk.run("people", "import", "--scim", "agents")
    assert answer.status == 1
    assert answer.err.startswith("directory 'agents': cannot be read, no connection was made (")
    assert "Check [accounts.agents]" in answer.err


def test_inactive_scim_person_has_left(desk: Desk, staffed: ScimServer) -> None:
    taken = desk.json("people", "import", "--scim", "agents")
    assert (taken["list"], taken["added"]["count"]) == ("scim.agents", 4)
    assert taken["leaving"]["names"] == ["b***"]  # the masked name of ben.admin
    assert taken["planned"] == {}  # the account is disabled, so nobody can sign in with it
    again = desk.json("people", "import", "--scim", "agents")
    assert (again["unchanged"], again["changed"]["count"]) == (4, 0)
    assert desk.json("people", "leavers")["exit_status"] == 0


def test_file_and_scim_list_fill_all_fields(
    desk: Desk, staffed: ScimServer, installation: Path
) -> None:
    staffed.create(
        "Guy",
        displayName="Guy Low",
        emails=[{"value": "home@example.net"}, {"value": "guy@example.com", "primary": True}],
        phoneNumbers=[{"value": "020 7946 0002"}],
        roles=[{"value": "Team Lead"}, {"value": "legal"}, {"value": "R&D (EU)"}],
    )
    with open_installation(installation / "standfast.toml", env={}) as opened:
        (ben,) = read_csv(listed(installation, "ben"), opened.config, {})
        listing = read_scim("agents", opened.config, lambda reference: staffed.token)
    (guy,) = [one.member for one in listing if one.member.full_name == "Guy Low"]
    assert (ben.member.roles, ben.member.accounts) == (
        ("agent", "team-lead"),
        ("agents:ben", "agents:ben.admin"),
    )
    assert (guy.mail, guy.phone) == ("guy@example.com", "020 7946 0002")
    assert guy.roles == ("legal", "team-lead"), "what cannot be written as a role is none"
    assert guy.accounts == ("agents:guy",)


def test_invalid_lines_are_named_and_nothing_imported(
    desk: Desk, staffed: ScimServer, installation: Path
) -> None:
    bad = (
        "1,Twice Told,,,,,\n"
        "4,,,,,,\n"
        "5,Eve Low,no-mail,,,,\n"
        "6,Fay Low,,,nowhere:fay,,\n"
        "7,Guy Low,,,,Team Lead!,\n"
        "8,Hal Low,,,,,31.12.2026\n"
        "9,Too,Few\n"
        "10,Ida Low,,,,,0226-12-31\n"
    )
    answer = desk.run("people", "import", listed(installation, more=bad))
    assert answer.status == 2
    for line, why in (
        (5, "key: repeated, first on line 2"),
        (6, "name: is empty"),
        (7, "mail: not a valid mail address"),
        (8, "accounts: write DIRECTORY:ACCOUNT; the directories here are: agents"),
        (9, "roles: write a role like duty-manager"),
        (10, "left: write a day such as 2026-11-30"),
        (11, "its number of fields"),
        (12, "left: write a day such as 2026-11-30"),
    ):
        assert f"staff-list.csv:{line}: {why}" in answer.err, answer.err
    for personal in ("Eve", "Twice", "fay"):
        assert personal not in answer.err
    assert desk.json("people", "import", listed(installation, "ada"), "--dry-run")["unchanged"] == 0


def test_column_names_of_the_file_are_shown(
    desk: Desk, staffed: ScimServer, installation: Path
) -> None:
    file = installation / "export.csv"
    with file.open("w", newline="", encoding="utf-8-sig") as stream:
        rows = csv.writer(stream, delimiter=";")
        rows.writerow(["Nr", "Name", "Konto"])
        rows.writerow(["1", "Ada Quill", "agents:ada"])
    answer = desk.run("people", "import", file)
    assert answer.status == 2
    assert "column 1 is unknown" in answer.err
    columns = ("--column", "key=Nr", "--column", "name=Name", "--column", "accounts=Konto")
    assert desk.run("people", "import", file, *columns).status == 0
    assert desk.run("people", "import", file, "--column", "nr=Nr").status == 2


@pytest.mark.parametrize(
    ("encoding", "first", "mark"),
    [
        ("utf-8", "", ","),
        ("utf-8-sig", "", ";"),
        ("utf-16", "", "\t"),  # Excel's "Unicode text"
        ("utf-8", "sep=;\r\n", ";"),
        ("utf-8-sig", '"SEP=,"\r\n', ","),
        ("utf-16", "sep=\t\r\n", "\t"),
    ],
)
def test_spreadsheet_encodings_are_read(
    desk: Desk, staffed: ScimServer, installation: Path, encoding: str, first: str, mark: str
) -> None:
    file = installation / "export.csv"
    with file.open("w", newline="", encoding=encoding) as stream:
        stream.write(first)
        rows = csv.writer(stream, delimiter=mark)
        rows.writerow(["key", "name", "accounts", "roles"])
        rows.writerow(["1", "Zoë\u2028Quill", "agents:ada", ""])
        rows.writerow(["2", "Böse; Ben, Stone", "agents:ben\r\nagents:ben.admin", "a\nb"])
        rows.writerow(["3", "", "", ""])
    answer = desk.run("people", "import", file)
    lines = first.count("\n") + 1
    assert f"{file}:{lines + 1}: name: contains control characters" in answer.err, answer
    assert f"{file}:{lines + 5}: name: is empty" in answer.err
    assert answer.err.count(str(file)) == 2
    file.write_bytes(
        file.read_bytes()
        .decode(encoding)
        .replace("\u2028", " ")
        .replace(f"3{mark}", f"3{mark}Cat")
        .encode(encoding)
    )
    with open_installation(installation / "standfast.toml", env={}) as opened:
        ada, ben, _ = (one.member for one in read_csv(file, opened.config, {}))
    assert (ada.full_name, ben.full_name) == ("Zoë Quill", "Böse; Ben, Stone")
    assert (ben.accounts, ben.roles) == (("agents:ben", "agents:ben.admin"), ("a", "b"))


def test_binary_list_suggests_a_text_format(
    desk: Desk, staffed: ScimServer, installation: Path
) -> None:
    file = installation / "export.csv"
    for content in (HEADER.encode() + b"1,Zo\xeb,,,,,\n", b"\xff\xfek\0e\0y"):
        file.write_bytes(content)
        answer = desk.run("people", "import", file)
        assert (answer.status, "neither UTF-8 nor UTF-16" in answer.err) == (2, True), answer


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("missing.csv",),
        ("--scim", "nowhere"),
        ("--ldap", "agents"),
        ("--scim", "agents", "--ldap", "agents"),
        ("--scim", "agents", "--column", "key=Nr"),
    ],
)
def test_invalid_list_reference_is_refused(
    desk: Desk, staffed: ScimServer, words: tuple[str, ...]
) -> None:
    answer = desk.run("people", "import", *words)
    assert answer.status == 2, answer


def test_last_day_ends_in_organisation_time_zone(
    desk: Desk, staffed: ScimServer, installation: Path
) -> None:
    config_file = installation / "standfast.toml"
    text = config_file.read_text()
    config_file.write_text(
        text.replace("[organisation]", '[organisation]\ntime_zone = "Asia/Tokyo"')
    )
    with open_installation(config_file, env={}) as opened:
        (ben,) = read_csv(listed(installation, "ben"), opened.config, {})
    assert ben.member.leaves_at == datetime(2026, 1, 31, 15, tzinfo=UTC)


def test_accounts_without_second_factor_need_a_recorded_request(
    desk: Desk, staffed: ScimServer
) -> None:
    known = SecondFactors(without=(WithoutFactor(name="ada", is_privileged=True),), looked_at=2)
    desk.monkeypatch.setattr(ScimConnector, "second_factors", lambda self: known)
    answer = desk.run("people", "factors")
    assert (answer.status, "ada" in answer.out) == (3, False)
    assert "1 of 2 accounts has no second factor: a***; 1 of them privileged" in answer.out
    assert "staff.viewed" not in desk.run("audit", "show").out
    answer = desk.run("people", "factors", "--names")
    assert (answer.status, "  ada  privileged" in answer.out) == (3, True)
    (found,) = desk.json("people", "factors", "--names")["directories"]
    assert found["without"] == [{"account": "ada", "is_privileged": True}]
    assert "staff.viewed" in desk.run("audit", "show").out


def test_directory_without_second_factors_says_so(desk: Desk, staffed: ScimServer) -> None:
    answer = desk.run("people", "factors")
    assert (answer.status, answer.out) == (3, "agents: it cannot report second factors\n")
    (found,) = desk.json("people", "factors")["directories"]
    assert (found["cannot_say"], found["without"]) == (True, [])
