"""Plan of a notice: pages of effects, prefixes of targets, and counts.

A notice is a message to the people that an incident concerns. An effect is here one message to one
recipient; it is refused if no message can be sent. The canary is the first few messages, which are
sent before the rest.

Rules
- The effects are streamed, so that a million recipients are never all in memory. Only counts are
  kept, for example by language and by reason, each for at most `_MOST_KINDS` different values.
- The digests of all messages to be sent, in order, are the leaves of a Merkle tree. An approval of
  the notice covers the root of this tree.
- A target names a channel and a person. Two channels to one person are therefore two targets.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from standfast.config.schema import OrganisationConfig
from standfast.errors import ConfigurationError
from standfast.notices.prepared_notice import MerkleTree, Prepared
from standfast.notices.template_renderer import Template
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.planned_effects import Draft, FrozenNotice
from standfast.records import EffectState, Mode

MAIL = "mail:"
POST = "post:"  # followed by the lines of the letter's address
# Followed by the recipient's key. The recipient, such as a minor, waits for a person's decision.
HELD = "held:"
PAGE = 1_000
_MOST_KINDS = 500
OTHERS = "others"


class Tally:
    """The counts of effects."""

    def __init__(self, drafts: Iterable[Draft] = ()) -> None:
        self.acts = 0  # planned effects that are not refused
        self.waiting = 0  # effects that wait until the canary has succeeded
        self.by_adapter: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()  # by reason
        self.languages: Counter[str] = Counter()
        self.whys: Counter[str] = Counter()
        for draft in drafts:
            self.add(draft)

    def add(self, draft: Draft) -> None:
        """Count one effect."""
        if draft.state is EffectState.REFUSED:
            _count(self.refused, draft.reason)
        elif draft.state is EffectState.PLANNED:
            self.acts += 1
            self.by_adapter[draft.connector] += 1
            if draft.verb == SEND:
                self.waiting += draft.not_before is not None
                _count(self.languages, str(draft.details.get("language") or "not said"))
                _count(self.whys, str(draft.details.get("why") or "not said"))

    def audience_summary(self) -> list[str]:
        """Return sentences with the number of recipients by language and reason."""
        people = self.languages.total()
        if not people:
            return []
        lines = []
        for heading, counts in (("by language", self.languages), ("by reason", self.whys)):
            # Omit a value that applies to one person only: it may identify the person.
            common = [(name, number) for name, number in counts.most_common(8) if number > 1]
            few = [f"{name} ({number:,})" for name, number in common if name != OTHERS]
            if rest := people - sum(number for name, number in common if name != OTHERS):
                few.append(f"{OTHERS} ({rest:,})")
            lines.append(f"{heading}: {', '.join(few)}")
        if self.waiting:
            lines.append(f"first {people - self.waiting:,}, then the other {self.waiting:,}")
        return lines


class NoticePlan:
    """One notice to any number of recipients.

    It implements `planned_effects.StreamedNotice`.
    """

    def __init__(
        self,
        *,
        template: str,
        audience: str,
        prepared: Prepared,
        drafts: Callable[[], Iterable[Draft]],
    ) -> None:
        """Store the parts; `drafts` creates the effects again on each call."""
        self._template = template
        self._audience = audience
        self._prepared = prepared
        self._drafts = drafts
        self._tree = MerkleTree()
        self.tally = Tally()
        self.leave_out: Callable[[Sequence[Draft]], Sequence[Draft]] = lambda page: page

    def pages(self) -> Iterator[Sequence[Draft]]:
        """Yield the effects, PAGE at a time, after the filter `leave_out`."""
        self._tree, self.tally = MerkleTree(), Tally()
        drafts = iter(self._drafts())
        while page := list(islice(drafts, PAGE)):
            kept = self.leave_out(page)
            for draft in kept:
                self.tally.add(draft)
                if (leaf := draft.details.get("digest")) is not None:
                    self._tree.add(str(leaf))
            if kept:
                yield kept

    def notice(self) -> FrozenNotice:
        """Return the notice with its final texts, for the approval.

        Call this after all pages are read, because the Merkle root is complete only then.
        """
        return FrozenNotice(
            template=self._template,
            body=self._prepared.as_json(),
            digest=self._prepared.digest,
            root=self._tree.root(),
            audience=self._audience,
            recipients=self._tree.leaves,
        )

    def counted(self) -> Tally:
        """Read all pages and return their counts."""
        for _ in self.pages():
            pass
        return self.tally


def refuse_placeholders(template: Template, organisation: OrganisationConfig, mode: Mode) -> None:
    """Raise ConfigurationError if a notice would show a placeholder of `init`.

    `standfast init` writes placeholders into the configuration, such as "Our contact centre" for
    the name. The notice of an exercise may show them, because it reaches nobody.
    """
    unset = [key for name, key in organisation.placeholders.items() if name in template.variables]
    if unset and mode is not Mode.EXERCISE:
        raise ConfigurationError(
            f"notice {template.name!r}: it would show placeholders of `standfast init`. Set "
            f"{' and '.join(unset)} in standfast.toml."
        )


def _count(counts: Counter[str], kind: str) -> None:
    counts[kind if kind in counts or len(counts) < _MOST_KINDS else OTHERS] += 1
