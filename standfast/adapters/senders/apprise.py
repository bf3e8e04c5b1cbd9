"""Sender to chat, SMS or push (apprise); equal texts are posted once.

Rules
- The configured address is a channel that staff read, such as a chat room. Every message is posted
  there as plain text below its subject. The text names the recipient; the recipient's mail address
  is not sent.
- Equal messages of one batch are posted once.
- apprise reports only success or failure. After a failure or a timeout the message may have
  arrived: it is UNKNOWN, and nothing is posted again.
- The address is a secret. The logs of apprise and of its HTTP client are disabled, because they
  quote it.
"""

import logging
from collections.abc import Sequence
from typing import Any

from standfast.adapters.senders import Message, Sender
from standfast.adapters.senders.sender_context import SenderContext
from standfast.config.sections.senders import AppriseSenderConfig
from standfast.errors import ConfigurationError, ExtraMissing
from standfast.records import EffectState, Limits, Result
from standfast.time_limit import Deadline, within

RETRY_SECONDS = 30.0


class AppriseSender(Sender):
    """Sender for one apprise address; the constructor only checks it."""

    def __init__(self, name: str, settings: AppriseSenderConfig, context: SenderContext) -> None:
        self.name = name
        self.limits = Limits(batch=10, workers=1, timeout_seconds=settings.timeout_seconds)
        self._channel = self._open(context.reveal(settings.url))

    def _send(self, messages: Sequence[Message]) -> list[Result]:
        deadline = Deadline(self.limits.timeout_seconds)
        posted: dict[tuple[str, str], tuple[EffectState, str, float | None]] = {}
        results = []
        for message in messages:
            words = (message.subject, message.text)
            if words not in posted:
                posted[words] = self._post(message, deadline)
            state, reason, wait = posted[words]
            results.append(
                Result(target=message.address, state=state, reason=reason, retry_after_seconds=wait)
            )
        return results

    def _post(self, message: Message, deadline: Deadline) -> tuple[EffectState, str, float | None]:
        left = deadline.left_seconds()
        if left == 0.0:
            reason = "not sent: the time limit of the call was over"
            return EffectState.FAILED, reason, RETRY_SECONDS
        try:
            is_taken = within(
                left,
                lambda: bool(
                    self._channel.notify(
                        title=message.subject, body=message.text, body_format="text"
                    )
                ),
            )
        except TimeoutError:
            return EffectState.UNKNOWN, "no answer in time: the message may have been posted", None
        except Exception as error:
            return EffectState.UNKNOWN, f"unexpected {type(error).__name__}", None
        if not is_taken:
            return (
                EffectState.UNKNOWN,
                "apprise reports a failure, and the message may have been posted",
                None,
            )
        return EffectState.DONE, "", None

    def _open(self, url: str) -> Any:
        try:
            import apprise
        except ImportError as error:
            raise ExtraMissing(
                f"sender {self.name!r}: apprise is not installed. Run `pip install -r "
                "requirements/extras/apprise.txt`."
            ) from error
        logging.getLogger("apprise").disabled = True
        logging.getLogger("urllib3.connectionpool").setLevel(
            logging.WARNING
        )  # the HTTP client logs each path
        place = apprise.Apprise()
        is_one = " " not in url and "," not in url
        if not is_one or not place.add(url):
            raise ConfigurationError(
                f"sender {self.name!r}: url is not exactly one address of apprise. The "
                "documentation of apprise lists the addresses by service."
            )
        for plugin in place:
            plugin.socket_connect_timeout = plugin.socket_read_timeout = self.limits.timeout_seconds
        return place
