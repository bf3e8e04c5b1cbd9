"""The plan of one notice: its effects a page at a time, and what they come to.

Owns the pages, the counts and the root. Leaves who is told, and by which channel, to `actions`, and
who is written to first to `waves`.

Rules
- A million people are gone through, never held: of them only counts stay, and of what they have in
  common no more than a few hundred kinds.
- The root is over the digests of all who would be written to, in order.
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

PAGE = 1_000
_MOST_KINDS = 500
OTHERS = "others"


class Tally:
    """What effects come to, counted as they go by."""

    def __init__(self, drafts: Iterable[Draft] = ()) -> None:
        self.acts = 0
        self.waiting = 0  # for the first ones
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

    def told(self) -> list[str]:
        """Say whom a notice would reach, by language and by why, for the plan."""
        people = self.languages.total()
        if not people:
            return []
        lines = []
        for heading, counts in (("languages", self.languages), ("why", self.whys)):
            # A reason that one person alone has may say who it is.
            common = [(name, number) for name, number in counts.most_common(8) if number > 1]
            few = [f"{name} {number:,}" for name, number in common if name != OTHERS]
            if rest := people - sum(number for name, number in common if name != OTHERS):
                few.append(f"{OTHERS} {rest:,}")
            lines.append(f"{heading}: {', '.join(few)}")
        if self.waiting:
            lines.append(f"first {people - self.waiting:,}, then the other {self.waiting:,}")
        return lines


class NoticePlan:
    """One notice to an audience of any length; `planned_effects.StreamedNotice`."""

    def __init__(
        self,
        *,
        template: str,
        audience: str,
        prepared: Prepared,
        drafts: Callable[[], Iterable[Draft]],
    ) -> None:
        """`drafts` makes its effects, each time anew."""
        self._template = template
        self._audience = audience
        self._prepared = prepared
        self._drafts = drafts
        self._tree = MerkleTree()
        self.tally = Tally()
        self.leave_out: Callable[[Sequence[Draft]], Sequence[Draft]] = lambda page: page

    def pages(self) -> Iterator[Sequence[Draft]]:
        """Give its effects, PAGE at a time, without those that `leave_out` takes away."""
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
        """Give what is frozen of it, once its pages were gone through."""
        return FrozenNotice(
            template=self._template,
            body=self._prepared.as_json(),
            digest=self._prepared.digest,
            root=self._tree.root(),
            audience=self._audience,
            recipients=self._tree.leaves,
        )

    def counted(self) -> Tally:
        """Go through all of it for what it comes to."""
        for _ in self.pages():
            pass
        return self.tally


def refuse_placeholders(template: Template, organisation: OrganisationConfig, mode: Mode) -> None:
    """Raise ConfigurationError where a notice would tell people what only `init` wrote.

    In an exercise nobody outside reads it.
    """
    left = [key for name, key in organisation.placeholders.items() if name in template.variables]
    if left and mode is not Mode.EXERCISE:
        raise ConfigurationError(
            f"the notice {template.name!r} would say what `standfast init` wrote: set "
            f"{' and '.join(left)} in standfast.toml to your own"
        )


def _count(counts: Counter[str], kind: str) -> None:
    counts[kind if kind in counts or len(counts) < _MOST_KINDS else OTHERS] += 1
