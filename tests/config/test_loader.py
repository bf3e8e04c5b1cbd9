"""Search and reading of `standfast.toml`, and the message of each fault."""

import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from standfast.config import Config, find_config, load
from standfast.config.loader import parse
from standfast.config.sections.accounts import ScimDirectoryConfig
from standfast.config.sections.backup import FilesSourceConfig, SqliteSourceConfig
from standfast.config.sections.evidence_sources import FilesEvidenceConfig
from standfast.errors import ConfigurationError, ExitStatus, FileInvalid, Problem
from tests.config.example import COMPLETE, changed, line_number, written

SMALLEST = '[organisation]\nname = "Example"\ncontact_line = "+44 20 7946 0000"\n'


def problems_of(text: str) -> tuple[Problem, ...]:
    with pytest.raises(FileInvalid) as caught:
        parse(text.encode(), Path("standfast.toml"))
    assert caught.value.exit_status is ExitStatus.USAGE
    return caught.value.problems


def sole_problem(text: str) -> Problem:
    (problem,) = problems_of(text)
    return problem


def database_of(config: Config) -> SqliteSourceConfig:
    only, *_ = config.backup.sets["crm"].sources
    assert isinstance(only, SqliteSourceConfig)
    return only


def files_of(config: Config) -> FilesEvidenceConfig:
    source = config.evidence["logs"]
    assert isinstance(source, FilesEvidenceConfig)
    return source


class TestFinding:
    def test_the_file_given_goes_before_the_variable(self, tmp_path: Path) -> None:
        given_file = written(tmp_path)
        env = {"STANDFAST_CONFIG": str(tmp_path / "other.toml")}
        assert find_config(given_file, env) == given_file

    def test_the_variable_goes_before_the_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written(tmp_path)
        monkeypatch.chdir(tmp_path)
        other = tmp_path / "other.toml"
        other.write_text(COMPLETE)
        assert find_config(None, {"STANDFAST_CONFIG": str(other)}) == other

    def test_the_folder_is_looked_at_last(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written(tmp_path)
        monkeypatch.chdir(tmp_path)
        assert find_config(None, {}) == Path("standfast.toml")

    def test_missing_configuration_names_the_init_command(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ConfigurationError, match="standfast init"):
            find_config(None, {})

    def test_foreign_folder_names_the_right_user(self, tmp_path: Path) -> None:
        folder = tmp_path / "place"
        folder.mkdir(mode=0o700)
        written(folder)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)
        else:
            folder.chmod(0)
        try:
            for given_path in (folder, folder / "standfast.toml"):
                with pytest.raises(ConfigurationError, match=r"may not read.*`sudo -u USER`"):
                    find_config(given_path, {})
        finally:
            if is_root:
                os.seteuid(0)
            folder.chmod(0o700)

    def test_missing_given_file_is_not_replaced(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written(tmp_path)
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ConfigurationError, match=r"missing\.toml \(given with -c\)"):
            find_config(Path("missing.toml"), {})
        with pytest.raises(ConfigurationError, match="named by STANDFAST_CONFIG"):
            find_config(None, {"STANDFAST_CONFIG": "missing.toml"})


class TestReading:
    def test_a_complete_file_is_read(self, tmp_path: Path) -> None:
        config = load(written(tmp_path))
        assert config.organisation.languages == ("en", "es")
        assert config.services["crm"].depends_on == ("telephony",)
        staff = config.accounts["staff"]
        assert isinstance(staff, ScimDirectoryConfig)
        assert staff.token == "env:SCIM_TOKEN"
        assert config.protected.accounts == {
            "staff:break-glass": "the way in when all else is locked"
        }
        assert config.notices.abort_window_seconds == 120

    def test_two_keys_are_enough(self, tmp_path: Path) -> None:
        config = load(written(tmp_path, SMALLEST))
        assert config.backup.sets == {}
        assert config.limits.accounts_without_second_person == 200

    def test_relative_paths_start_at_the_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place, elsewhere = tmp_path / "place", tmp_path / "elsewhere"
        place.mkdir()
        elsewhere.mkdir()
        written(place)
        monkeypatch.chdir(elsewhere)
        config = load(Path("../place/standfast.toml"))
        monkeypatch.chdir(tmp_path)
        folder = config.folder.resolve()
        assert folder == place
        assert config.folder.is_absolute()
        assert database_of(config).path.resolve() == place / "crm.db"
        assert files_of(config).paths[0].resolve() == place / "logs"

    def test_defaults_start_at_the_file_too(self, tmp_path: Path) -> None:
        config = load(written(tmp_path, SMALLEST))
        assert config.backup.vault == tmp_path / "vault"
        assert config.ledger.keys == tmp_path / "keys/ledger"
        assert config.custody.folder == tmp_path / "evidence"
        assert config.ledger.url == f"sqlite:///{tmp_path}/ledger.db"

    def test_two_files_do_not_share_their_defaults(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
        one = load(written(tmp_path / "one", SMALLEST))
        two = load(written(tmp_path / "two", SMALLEST))
        assert one.backup.vault == tmp_path / "one/vault"
        assert two.backup.vault == tmp_path / "two/vault"

    def test_absolute_and_home_paths_stay_where_they_point(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", "/home/someone")
        config = load(written(tmp_path, changed('path = "crm.db" }', 'path = "~/crm.db" }')))
        assert config.backup.vault == Path("/mnt/vault")
        assert database_of(config).path == Path("/home/someone/crm.db")

    def test_a_loaded_configuration_is_frozen(self, tmp_path: Path) -> None:
        config = load(written(tmp_path))
        with pytest.raises(ValidationError, match="frozen"):
            config.organisation.name = "Another"

    def test_each_kind_of_source_has_its_own_type(self, tmp_path: Path) -> None:
        crm, recordings = load(written(tmp_path)).backup.sets["crm"].sources
        assert crm.kind == "sqlite"
        assert isinstance(recordings, FilesSourceConfig)
        assert recordings.exclude == ("*.tmp",)

    def test_windows_line_ends_and_bom_are_read(self, tmp_path: Path) -> None:
        path = tmp_path / "standfast.toml"
        path.write_bytes(b"\xef\xbb\xbf" + SMALLEST.replace("\n", "\r\n").encode())
        assert load(path).organisation.name == "Example"


class TestRefusing:
    def test_an_unknown_key_is_answered_with_the_nearest(self) -> None:
        text = changed("schedule =", "shedule =")
        problem = sole_problem(text)
        assert problem.line == line_number(text, "shedule")
        assert problem.message == "backup.sets.crm.shedule: unknown key"
        assert problem.hint == "did you mean 'schedule'?"

    def test_an_unknown_section_is_answered_with_the_nearest(self) -> None:
        text = COMPLETE + "\n[limit]\n"
        problem = sole_problem(text)
        assert (problem.line, problem.hint) == (
            line_number(text, "[limit]"),
            "did you mean 'limits'?",
        )

    def test_unknown_key_lists_the_known_ones(self) -> None:
        problem = sole_problem(SMALLEST + "[limits]\nzzz = 1\n")
        assert problem.hint == "known here: accounts_without_second_person, accounts_by_directory"

    def test_missing_key_has_line_and_example(self) -> None:
        text = changed('owner = "Head of operations"\nrto_minutes = 60\n', "rto_minutes = 60\n")
        problem = sole_problem(text)
        assert problem.line == line_number(text, "[services.telephony]")
        assert problem.message == "services.telephony.owner: is missing"
        assert problem.hint == 'for example: owner = "Head of operations"'

    def test_mistake_in_a_list_has_its_line(self) -> None:
        text = changed('path = "crm.db" }', "path = 3 }")
        problem = sole_problem(text)
        assert problem.line == line_number(text, "path = 3")
        assert problem.message.startswith("backup.sets.crm.sources[0].path: ")

    @pytest.mark.parametrize(
        ("old", "new", "hint"),
        [
            ('kind = "scim"', 'kind = "scmi"', "did you mean 'scim'?"),
            ('{ kind = "files"', '{ kind = "filse"', "did you mean 'files'?"),
            (
                'kind = "csv"',
                'kind = "pigeon"',
                "known here: csv, sqlite, postgresql, mariadb, scim, backup",
            ),
            ('{ kind = "command", ', "{ ", "known here: sqlite, database, command"),
            ('security = "none"', 'security = "nome"', "did you mean 'none'?"),
        ],
    )
    def test_unknown_kind_lists_the_valid_ones(self, old: str, new: str, hint: str) -> None:
        assert sole_problem(changed(old, new)).hint == hint

    @pytest.mark.parametrize(
        ("old", "new", "where"),
        [
            ('depends_on = ["telephony"]', 'depends_on = ["telefony"]', "depends_on[0]"),
            ('sets = ["crm"]', 'sets = ["crn"]', "services.crm.sets[0]"),
            ('"staff:break-glass"', '"stuff:break-glass"', "protected.accounts"),
            ('sender = "mail"', 'sender = "male"', "notices.sender"),
            ('staff_audience = "staff"', 'staff_audience = "stuff"', "notices.staff_audience"),
        ],
    )
    def test_unknown_reference_suggests_the_nearest_name(
        self, old: str, new: str, where: str
    ) -> None:
        text = changed(old, new)
        problem = sole_problem(text)
        assert where in problem.message
        assert "names no" in problem.message
        assert problem.line == line_number(text, new)
        assert problem.hint.startswith("did you mean")

    def test_all_mistakes_are_reported_in_line_order(self) -> None:
        text = changed('name = "Example Contact Centres"\n', "").replace("schedule", "shedule")
        text = text.replace("port = 2525", 'port = "2525"')
        lines = [problem.line for problem in problems_of(text)]
        assert len(lines) == 3
        assert lines == sorted(lines)

    def test_broken_item_is_reported_once(self) -> None:
        text = SMALLEST + '[backup.sets.crm]\nsources = [{ kind = "files", name = "a" }]\n'
        assert sole_problem(text).message == "backup.sets.crm.sources[0].path: is missing"

    def test_an_empty_list_of_sources_is_refused(self) -> None:
        problem = sole_problem(SMALLEST + "[backup.sets.crm]\nsources = []\n")
        assert problem.message.startswith("backup.sets.crm.sources: ")

    @pytest.mark.parametrize("table", ["accounts.staff", "senders.mail"])
    def test_a_plain_secret_is_refused_and_not_printed(self, table: str) -> None:
        plain = "hunter2-is-no-reference"
        text = (
            changed('token = "env:SCIM_TOKEN"', f'token = "{plain}"')
            if table == "accounts.staff"
            else changed('security = "none"', f'username = "me"\npassword = "{plain}"')
        )
        problem = sole_problem(text)
        assert problem.line == line_number(text, plain)
        assert "env:NAME" in problem.message
        with pytest.raises(FileInvalid) as caught:
            parse(text.encode(), Path("standfast.toml"))
        assert plain not in str(caught.value)
        assert plain not in repr(caught.value)
        assert caught.value.__context__ is None

    def test_misspelt_secret_is_not_printed(self) -> None:
        text = changed('token = "env:SCIM_TOKEN"', 'tokne = "hunter2"')
        assert "hunter2" not in "".join(map(str, problems_of(text)))

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("[services.telephony]", "[services.Telephony]", "lower-case letters"),
            (
                "[services.telephony]",
                (
                    '[commands.lock]\nargv = ["/bin/x", "{phone}"]\n'
                    "[commands.lock.parameters.phone]\n"
                    'type = "number"\naccount_of = "phones"\n[services.telephony]'
                ),
                "an account is named by a word or a choice",
            ),
            (
                "[services.telephony]",
                '[commands.lock]\nargv = ["lock"]\n[services.telephony]',
                "its absolute path",
            ),
            (
                "[services.telephony]",
                '[requests.lock]\nurl = "https://x.test"\nmethod = "TRACE"\n[services.telephony]',
                "not one of the permitted words",
            ),
            ('"0 3 * * mon-fri"', '"0 25 * * *"', "the hour of a schedule is not valid"),
            ('"0 3 * * mon-fri"', '"@daily"', "five fields"),
            ('"Europe/London"', '"Europe/Londonium"', "unknown time zone"),
            ('"Europe/London"', '"../etc/passwd"', "unknown time zone"),
            ('"https://directory', '"http://directory', "unencrypted"),
            ('"https://directory', '"https://me:pw@directory', "without user"),
            ("rpo_minutes = 1440", "rpo_minutes = 1440\nmtpd_minutes = 30", "mtpd_minutes"),
            ('path = "crm/crm.db"', 'path = "../crm.db"', "restored tree"),
            ('name = "recordings"', 'name = "crm"', "two sources of one set are named crm"),
            ('security = "none"', 'security = "none"\nusername = "me"', "or neither"),
            (
                'security = "none"',
                'security = "none"\nusername = "me"\npassword = "env:RELAY"',
                "unencrypted",
            ),
            ('["en", "es"]', '["english!"]', "a language is written like"),
            ('name = "Example Contact Centres"', 'name = "a\\nb"', "one line of text"),
            ('"staff:break-glass"', '"break-glass"', "DIRECTORY:ACCOUNT"),
            ('kind = "csv"', 'kind = "csv"\ncolumns = { name = "n" }', "has no `address`"),
            ("port = 2525", 'port = "2525"', "port: a whole number belongs here"),
            ("port = 2525", "port = 70000", "port: must be at most 65535"),
            ("timeout_seconds = 5", 'timeout_seconds = "5"', "a number belongs here"),
            ("timeout_seconds = 5", "timeout_seconds = 0", "must be more than 0"),
            ('exclude = ["*.tmp"]', 'exclude = "*.tmp"', "exclude: a list belongs here"),
            ('paths = ["logs"]', "paths = []", "paths: must not be empty"),
            ("minimum_rows = { customers = 1000 }", "minimum_rows = 1", "a table belongs here"),
            ('query = "SELECT email AS address FROM customers"', "query = 1", "text belongs here"),
            ('exclude = ["*.tmp"]', "one_file_system = 1", "true or false belongs here"),
        ],
    )
    def test_what_does_not_fit_is_told_in_words(self, old: str, new: str, message: str) -> None:
        assert message in sole_problem(changed(old, new)).message

    @pytest.mark.parametrize("value", ['"60"', "60.0", "true", "0", "-1"])
    def test_minutes_are_whole_and_positive(self, value: str) -> None:
        problem = sole_problem(changed("rto_minutes = 60", f"rto_minutes = {value}"))
        assert problem.message.startswith("services.telephony.rto_minutes: ")

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://me:hunter2@db/standfast",
            "postgresql://me@db/standfast?password=hunter2",
            "postgresql://me:hunter2@db\u2100/standfast",
            "postgresql://me:hunter2@[db/standfast",
        ],
    )
    def test_password_in_ledger_url_is_not_printed(self, url: str) -> None:
        problem = sole_problem(SMALLEST + f'[ledger]\nurl = "{url}"\n')
        assert "address" in problem.message
        assert "hunter2" not in str(problem)

    def test_empty_path_is_refused_and_dot_accepted(self, tmp_path: Path) -> None:
        text = changed('paths = ["logs"]', 'paths = [""]')
        assert sole_problem(text).message.startswith("evidence.logs.paths[0]: a path is needed")
        config = load(written(tmp_path, text.replace('[""]', '["."]')))
        assert files_of(config).paths == (tmp_path,)

    @pytest.mark.parametrize("url", ["mysql://db/standfast", "ledger.db", "postgresql://db"])
    def test_another_database_is_refused(self, url: str) -> None:
        assert "sqlite:///FILE" in sole_problem(SMALLEST + f'[ledger]\nurl = "{url}"\n').message

    def test_broken_toml_has_its_line(self) -> None:
        problem = sole_problem(SMALLEST + "[ledger\n")
        assert problem.line == 4
        assert problem.message.startswith("not TOML: ")

    @pytest.mark.parametrize(
        ("broken", "hint"),
        [
            ("[organisation]\n", "this table exists above; write below it"),
            ("[ledger]\nurl = ledger\n", "text needs quotation marks"),
            ('[ledger]\nurl = "a"\nurl = "b"\n', "this key exists above; keep one of them"),
            (
                "[backup.sets.main]\nsources = []\n[[backup.sets.main.sources]]\n",
                "this exists above as one value; write it there: { key = value, … }",
            ),
            ("[ledger\n", "a line is [table], or key = value with text in quotation marks"),
        ],
    )
    def test_broken_toml_says_what_to_correct(self, broken: str, hint: str) -> None:
        assert sole_problem(SMALLEST + broken).hint == hint

    def test_truncated_toml_is_reported_at_its_end(self) -> None:
        assert sole_problem('[organisation]\nname = "x"\nlanguages = [').line == 3

    def test_bytes_that_are_not_text_have_their_line(self) -> None:
        with pytest.raises(FileInvalid) as caught:
            parse(b'[organisation]\nname = "\xff"\n', Path("standfast.toml"))
        assert caught.value.problems[0].line == 2

    def test_an_empty_file_is_asked_who_you_are(self) -> None:
        missing = sole_problem("")
        assert missing.message == "organisation: is missing"
        assert missing.hint.startswith("write [organisation], with name and contact_line;")

    def test_a_file_nested_without_end_is_refused(self) -> None:
        assert sole_problem("a = " + "[" * 100_000).message == "nested too deeply"

    def test_a_file_too_large_is_refused_unread(self) -> None:
        assert "1 MiB" in sole_problem("#" * (1024 * 1024 + 1)).message

    def test_a_file_that_cannot_be_read_says_why(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="cannot be read, Is a directory"):
            load(tmp_path)


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_content_escapes_as_another_error(content: bytes) -> None:
    with suppress(FileInvalid):
        parse(content, Path("standfast.toml"))


@given(st.data())
def test_every_changed_line_gives_a_declared_error(data: st.DataObject) -> None:
    lines = COMPLETE.splitlines()
    number = data.draw(st.integers(0, len(lines) - 1))
    lines[number] = data.draw(
        st.sampled_from(["", lines[number] + "x", lines[number][:-1], "x = 1", "[[services]]"])
        | st.text(max_size=20)
    )
    with suppress(FileInvalid):
        parse("\n".join(lines).encode(errors="replace"), Path("standfast.toml"))


@pytest.mark.parametrize(
    "value",
    ["1", "1.5", "true", '"x"', "[]", "[1]", "{}", "{ kind = 3 }", "[{}]", "1979-05-27T07:32:00Z"],
)
@pytest.mark.parametrize("section", sorted(Config.model_fields))
def test_every_replaced_section_gives_a_declared_error(section: str, value: str) -> None:
    rest = "" if section == "organisation" else SMALLEST
    with suppress(FileInvalid):
        parse(f"{section} = {value}\n{rest}".encode(), Path("standfast.toml"))


def test_date_instead_of_text_is_refused() -> None:
    written_date = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
    problem = sole_problem(changed('host = "127.0.0.1"', f"host = {written_date}"))
    assert problem.message.startswith("senders.mail.host: ")


@pytest.mark.parametrize(
    ("written", "instead", "key", "words"),
    [
        (
            'kind = "smtp"',
            'kind = "smtp"\nfailover = "post"',
            "failover",
            "names a sender of letters",
        ),
        ('sender = "mail"', 'sender = "post"', "sender", "names a sender of letters"),
        (
            'sender = "mail"',
            'sender = "mail"\nletters = "mail"',
            "letters",
            "names no sender of kind",
        ),
    ],
)
def test_letters_and_mail_are_not_interchangeable(
    written: str, instead: str, key: str, words: str
) -> None:
    post = '[senders.post]\nkind = "letters"\nreturn_address = ["1 Road"]\n'
    text = changed(written, instead) + post
    problem = sole_problem(text)
    assert words in problem.message
    assert problem.line == max(
        number for number, line in enumerate(text.split("\n"), 1) if line.startswith(f"{key} = ")
    )


@pytest.mark.parametrize(
    ("failover", "words"), [("relay", "names no sender"), ("mail", "cycle of failovers")]
)
def test_failover_names_an_existing_sender(failover: str, words: str) -> None:
    text = changed('kind = "smtp"', f'kind = "smtp"\nfailover = "{failover}"')
    problem = sole_problem(text)
    assert problem.line == line_number(text, "failover")
    assert words in problem.message


@pytest.mark.parametrize("directory", ["staff", "nowhere"])
def test_directory_log_needs_a_directory_of_its_kind(directory: str) -> None:
    log = f'[evidence.workforce-log]\nkind = "okta"\ndirectory = "{directory}"\n'
    problem = sole_problem(COMPLETE + log)
    assert "evidence.workforce-log.directory" in problem.message
    assert "kind okta" in problem.message
