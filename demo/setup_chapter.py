"""First chapter: the contact centre, and an installation next to it.

Rules
- The function of `standfast init` creates the installation. Then the configuration that a contact
  centre would write replaces the generated one.
- The operator and the approver are enrolled (registered with a passphrase) on the first day. A
  person that is enrolled later may approve only after a waiting time.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from demo import server_processes
from demo.call_centre import CallCentre, Scale, build
from demo.demo_configuration import BREAK_GLASS, DIRECTORY, configuration
from demo.prefect_engine import Engine
from demo.tour_context import MANAGER, OPERATOR, PASSPHRASES, TourContext
from demo.tour_output import TourOutput
from standfast.plurals import counted
from standfast.reports.report_sentences import size
from standfast.usecases.core.installation import system_clock
from standfast.usecases.people.enrolment import enrol_person
from standfast.usecases.setup.installation_opening import open_installation
from standfast.usecases.setup.new_installation import OFFLINE, set_up


@contextmanager
def installed_tour(folder: Path, scale: Scale, output: TourOutput) -> Iterator[TourContext]:
    """Create everything in an empty folder; Prefect runs until the block ends."""
    with ExitStack() as stack:
        with output.chapter("A contact centre, and an installation of Standfast"):
            output.print_command(
                f"standfast init {folder.name} --source {folder.name}/centre/recordings --yes"
            )
            config_file = create_installation(folder)
            engine = stack.enter_context(Engine(config_file))
            centre, accounts = create_centre(folder, scale, output)
            enrol_people(config_file)
            _introduce(folder, centre, output)
            with output.show_progress("Prefect starts"):
                prefect = engine.wait()
            server_processes.note_prefect(
                folder, port=urlsplit(prefect.url).port or 0, pid=prefect.pid
            )
            output.print_line(f"Prefect runs the work until the demo ends: {prefect.url}")
        yield TourContext(
            folder=folder, centre=centre, accounts=accounts, engine=engine, output=output
        )


def create_installation(folder: Path) -> Path:
    """Create an installation as `init` does; return its configuration."""
    source = folder / "centre" / "recordings"
    source.mkdir(parents=True)
    set_up(
        folder,
        source,
        organisation="Northlight Contact Centre",
        contact_line="020 7946 0100",
        now=system_clock(),
    )
    return folder / "standfast.toml"


def create_centre(
    folder: Path, scale: Scale, output: TourOutput
) -> tuple[CallCentre, server_processes.Accounts]:
    """Create the centre, start its servers, write the configuration."""
    server_processes.make_token(folder)
    directory_port, mail_port = server_processes.ports()
    server_processes.start(folder, directory_port=directory_port, mail_port=mail_port)
    far = [(0, 0)]

    def progress(done: int, total: int) -> None:
        far[0] = (done, total)

    with output.show_progress("recording calls", lambda: far[0]):
        centre = build(folder / "centre", scale, system_clock(), progress)
    accounts = server_processes.Accounts(folder, directory_port)
    accounts.create([*(agent.account for agent in centre.agents), BREAK_GLASS, OPERATOR, MANAGER])
    server_processes.make_sessions(folder, [agent.account for agent in centre.agents])
    config_file = folder / "standfast.toml"
    config_file.write_text(
        configuration(config_file, centre, directory_port=directory_port, mail_port=mail_port)
    )
    return centre, accounts


def enrol_people(config_file: Path) -> None:
    """Enrol the operator and the approver."""
    with open_installation(config_file, env={}) as installation:
        for name, role in ((OPERATOR, "operator"), (MANAGER, "duty-manager")):
            enrol_person(
                installation,
                name=name,
                full_name=name.title(),
                mail=f"{name}@staff.example.com",
                roles=[role],
                accounts=[f"{DIRECTORY}:{name}"],
                passphrase=PASSPHRASES[name],
            )


def _introduce(folder: Path, centre: CallCentre, output: TourOutput) -> None:
    recorded = [path.stat().st_size for path in centre.calls()]
    output.print_line(
        f"Created in {folder}: {counted(len(recorded), 'recording')} ({size(sum(recorded))}), "
        f"{counted(len(centre.customers), 'customer')} in SQLite, logs,"
    )
    output.print_line(f"{counted(len(centre.agents), 'agent')} in a SCIM directory, a mail server.")
    output.print_line(
        f"Keep {OFFLINE}/ away from this machine: the key records and the recovery identity in it "
        "open every backup, and the owner's key decides who may write."
    )
    output.print_line(
        f"The demo plays both people: {OPERATOR}, operator, and {MANAGER}, duty manager."
    )
    for name, passphrase in PASSPHRASES.items():
        output.print_line(f"  {name}'s passphrase: {passphrase}")
