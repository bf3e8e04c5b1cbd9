"""What `standfast serve` answers on, in threads of their own beside the loop: HTTP, and a door for
the commands of this machine.

Rules
- The loop and HTTP never wait for each other: what they share is the ledger.
- Opening an incident is one commit; whatever needs a slow reader comes after the answer.
- Everything that somebody can send is bounded: bytes, headers, time, connections, how often.
- No answer and no log line repeats what was sent. Who is not known learns nothing, not even names.
"""

from collections.abc import Sequence

from flows.serve_loop import BeginWork, Beside
from standfast.usecases.core.installation import Installation


def beside(installation: Installation, begin_work: BeginWork) -> Sequence[Beside]:
    """Give everything that `serve` is to run beside its loop; it tells `begin_work` what it opened.

    Raises ConfigurationError when a trigger is not right: better at the start than in the night.
    """
    from standfast.console.application import App
    from standfast.console.control_socket_server import ControlSocketServer
    from standfast.console.http_server import HttpServer
    from standfast.console.on_call_alerts import OnCallAlerts
    from standfast.console.suricata_tail import suricata_watchers
    from standfast.usecases.triggers.message_intake import triggers_of, trusted_proxies

    triggers = triggers_of(installation.config)
    serve = installation.config.serve
    app = App(
        installation=installation,
        triggers=triggers,
        trusted=trusted_proxies(installation.config),
        begin_work=begin_work,
    )
    return [
        ControlSocketServer(installation=installation, begin_work=begin_work),
        HttpServer(app=app, host=serve.host, port=serve.port),
        OnCallAlerts(installation=installation, triggers=triggers),
        *suricata_watchers(installation, triggers),
    ]
