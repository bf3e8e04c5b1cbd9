"""Review of frozen logs by a person: access, sources, gaps, outcome.

Frozen logs are logs that were copied to a folder as evidence and sealed by a signed manifest.

Rules
- Values are masked, and accounts are replaced by pseudonyms. To see them in clear, an enrolled
  person with a role signs in and states a reason.
- Before a log is read, each folder's chain of custody and the incident's timeline record the review
  and the version of this program, because another version may parse the logs differently.
- A detection is a rule that finds suspicious patterns, such as many accounts from one address. It
  examines every log record. A finding is shown if one of its lines is selected.
- An indicator is a trace of an intruder, such as an address. A search for a list of indicators
  first parses only the lines that may contain an indicator. If none of these lines is selected, or
  if values are shown in clear, no other line is parsed, and no detection is applied. Otherwise all
  lines are parsed, because the masking needs the accounts of all lines.
- Damaged, destroyed and undecryptable folders are reported, but not reviewed.
- A CSV file contains every selected record. It is a new file that only its owner may read.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from standfast import __version__
from standfast.adapters.factory.live_adapters import read_signing_key
from standfast.errors import Damaged, ExitStatus, Refused, StandfastError, UsageError
from standfast.evidence.custody import Act, append_custody
from standfast.evidence.item_file import open_item
from standfast.evidence.manifest import Item, Kind, Manifest
from standfast.evidence.parsers.log_record import Record, microseconds
from standfast.evidence.review.account_names import AccountNames
from standfast.evidence.review.detections import Detector, LockPeriod, Thresholds
from standfast.evidence.review.indicator_list import IndicatorList
from standfast.evidence.review.log_timeline import (
    Event,
    Log,
    Marks,
    Selection,
    Tally,
    collect_events,
    merged_events,
)
from standfast.evidence.review.record_masking import in_clear, masking_with
from standfast.evidence.review.sorted_runs import SortedRuns
from standfast.evidence.review.timeline_counts import TimelineCounts
from standfast.evidence.review.yara_rules import YaraRules
from standfast.evidence.seal import read_sealed
from standfast.evidence.text_masking import mask_text
from standfast.records import Json, JsonObject, moment
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.evidence_record import REVIEWED
from standfast.usecases.evidence.frozen_folders import Frozen, frozen, no_evidence_found
from standfast.usecases.evidence.item_opening import (
    custodian_keys,
    data_key,
    identity_needed,
    person_with_role,
)
from standfast.usecases.evidence.log_review_limits import ReviewClock, ReviewLimits
from standfast.usecases.evidence.log_review_rows import Display, csv_writer


@dataclass(frozen=True, kw_only=True)
class InClear:
    """The permission to see values in clear."""

    person: str  # the person that signed in
    reason: str


@dataclass(frozen=True, kw_only=True)
class ReviewRequest:
    """The selection of records, and the settings for their display."""

    selection: Selection = field(default_factory=Selection)
    limit: int = 100
    skip: int = 0  # number of selected records before the first record that is shown
    viewer: str = ""  # person that signed in for a masked review; "": the operating system's user
    limits: ReviewLimits | None = None
    in_clear: InClear | None = None
    identity: Path | None = None  # file with a private key, needed for encrypted evidence
    csv: Path | None = None
    indicators: IndicatorList | YaraRules | None = None  # select only records that match


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """An evidence folder that was not reviewed."""

    folder: str  # SOURCE/TOKEN
    reason: str
    is_damaged: bool


@dataclass(kw_only=True)
class LogReview:
    """The result of a review."""

    logs: Sequence[Tally]
    left_out: Sequence[LeftOut]
    is_masked: bool
    counts: TimelineCounts = field(default_factory=TimelineCounts)
    records: int = 0  # number in all logs; a record that was collected twice is counted once
    rows: list[JsonObject] = field(default_factory=list)  # the selected records that are shown
    selected: int = 0
    findings: list[JsonObject] = field(default_factory=list)  # findings with a selected line
    is_complete: bool = True  # False if there were too many accounts, addresses or events to count
    has_detections: bool = True  # False if detections were not applied
    not_applied: tuple[str, ...] = ()  # indicators of the list that cannot be parsed
    indicators_sha256: str = ""  # of the indicator list or rule set; "" if there is none
    mask: Callable[[str], str] = mask_text  # masks a value that belongs to no record

    @property
    def cut(self) -> int:
        """The number of records that were too long to be read completely."""
        return sum(log.cut for log in self.logs if not log.problem)

    @property
    def exit_status(self) -> ExitStatus:
        """DAMAGED for altered evidence, PARTIAL for omitted folders, else DONE."""
        if any(log.problem for log in self.logs) or any(each.is_damaged for each in self.left_out):
            return ExitStatus.DAMAGED
        return ExitStatus.PARTIAL if self.left_out else ExitStatus.DONE

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "is_masked": self.is_masked,
            "records": self.records,
            "selected": self.selected,
            "timeline": [*self.rows],
            "findings": [*self.findings],
            "findings_complete": self.is_complete and self.has_detections,
            "detections_applied": self.has_detections,
            "indicators_not_applied": [*self.not_applied],
            "indicators_sha256": self.indicators_sha256 or None,
            "unparsed": [
                {**self._lines(log, log.unparsed, log.first_unparsed), "records": log.records}
                for log in self.logs
                if log.unparsed
            ],
            "cut": [self._lines(log, log.cut, log.first_cut) for log in self.logs if log.cut],
            "altered": [
                {"source": log.log.source, "path": self.mask(log.log.path), "problem": log.problem}
                for log in self.logs
                if log.problem
            ],
            "left_out": [{"folder": each.folder, "reason": each.reason} for each in self.left_out],
        }

    def _lines(self, log: Tally, lines: int, first: Sequence[int]) -> JsonObject:
        path = self.mask(log.log.path)
        return {"source": log.log.source, "path": path, "lines": lines, "first": [*first]}


def review_logs(installation: Installation, incident_id: str, request: ReviewRequest) -> LogReview:
    """Review an incident's logs in evidence.

    Raise UsageError for an unknown incident or source, an existing CSV file, or a missing identity.
    Raise ApprovalRefused for a person without a role, StandfastError if no folder is valid, and the
    error of the last folder if none can be opened.
    """
    installation.ledger.incidents.get(incident_id)
    if request.in_clear:
        person_with_role(installation, request.in_clear.person)
    indicators = request.indicators
    signing_key = read_signing_key(installation.config.custody.key)
    mask = in_clear if request.in_clear else masking_with(signing_key, incident_id)
    marks = Marks(
        selection=request.selection,
        indicators=indicators.matches if indicators else None,
        line_search=indicators.line_search() if isinstance(indicators, IndicatorList) else None,
        records=record_finder(installation),
        mask=mask,
    )
    locks = _lock_periods(installation, incident_id)
    detector = _detector(installation, locks)
    names = AccountNames(lock.account for lock in locks)
    with collected_logs(installation, incident_id, request, marks) as (review, read_events):
        for event in read_events():
            review.records += 1
            detector.see(event)
            names.add(event)
        if not request.in_clear:
            mask = names.masking(mask)
        review.mask = lambda value: mask(value, "")
        display = Display([tally.log for tally in review.logs], mask)
        with csv_writer(request.csv) as write:
            for event in read_events():
                if not event.is_selected or (indicators and not event.indicators):
                    continue
                if not display.may_show(event, request.selection.contains):
                    continue
                review.selected += 1
                review.counts.add(event)
                is_shown = 0 < review.selected - request.skip <= request.limit
                if write or is_shown:
                    row = display.row(event)
                    if is_shown:
                        review.rows.append(row)
                    if write:
                        write(row)
        if review.has_detections:
            review.findings = [
                display.finding(found) for found in detector.findings if found.is_selected
            ]
    review.is_complete = detector.is_complete and review.counts.is_complete and names.is_complete
    if indicators:
        review.not_applied = tuple(indicators.not_applied)
        review.indicators_sha256 = indicators.digest
    return review


def record_finder(installation: Installation) -> Callable[[Record], Sequence[str]] | None:
    """Return a function that finds the customer records in a log record.

    It returns each as "KIND KEY", such as "customer 4711". Return None if no kind is configured.
    """
    kinds = [
        (kind, re.compile(settings.pattern))
        for kind, settings in installation.config.review.records.items()
    ]
    if not kinds:
        return None

    def find(record: Record) -> Sequence[str]:
        return list(
            dict.fromkeys(
                f"{kind} {match['record']}"
                for kind, pattern in kinds
                for match in pattern.finditer(record.text)
                if match["record"]
            )
        )

    return find


def _lock_periods(installation: Installation, incident_id: str) -> list[LockPeriod]:
    return [
        LockPeriod(
            account=target.partition(":")[2],
            begin=microseconds(begin),
            end=microseconds(end) if end else None,
        )
        for target, begin, end in installation.ledger.effects.lock_periods(incident_id)
    ]


def _detector(installation: Installation, locks: Sequence[LockPeriod]) -> Detector:
    settings = installation.config.review
    thresholds = Thresholds(
        accounts_per_address=settings.accounts_per_address,
        records_per_hour=settings.records_per_hour,
        known_sign_ins=settings.known_sign_ins,
        travel_kmh=settings.travel_kmh,
        travel_hours=settings.travel_hours,
        counts_records=bool(settings.records),
    )
    return Detector(thresholds, locks)


@contextmanager
def collected_logs(
    installation: Installation, incident_id: str, request: ReviewRequest, marks: Marks
) -> Iterator[tuple[LogReview, Callable[[], Iterator[Event]]]]:
    """Record the review, read the logs, and yield the review.

    Also yield a function; each call of it returns all events of the logs.
    """
    folders = frozen(installation.config, incident_id)
    if not folders:
        raise no_evidence_found(installation, incident_id)
    sources = {folder.source for folder in folders}
    if unknown := request.selection.sources - sources:
        raise UsageError(
            f"source {min(unknown)!r}: not in the evidence of {incident_id}. Its sources are "
            f"{', '.join(sorted(sources))}."
        )
    clock = ReviewClock(incident_id, request.limits)
    readable = [folder for folder in folders if not folder.problems and not folder.disposed_at]
    if request.limits:
        request.limits.refuse_larger(incident_id, sum(folder.size_bytes for folder in readable))
    keys = custodian_keys(request.identity)
    if not keys and any(folder.is_encrypted for folder in readable):
        raise identity_needed()
    left_out: list[LeftOut] = []
    recorded = _record_access(installation, incident_id, folders, request, left_out)
    key = read_signing_key(installation.config.custody.key).public_key()
    logs: list[Log] = []
    for folder in recorded:
        try:
            logs += _logs(installation, folder, read_sealed(folder.folder, key), keys, clock)
        except (Damaged, Refused) as error:
            left_out.append(_left_out(folder, error))
            if len(left_out) == len(folders):
                raise
    with closing(SortedRuns(installation.config.custody.folder)) as runs:
        tallies, is_masked = collect_events(logs, marks, runs), request.in_clear is None
        has_all_lines = marks.line_search is None
        if not has_all_lines and is_masked and _has_result(merged_events(runs)):
            runs.clear()
            tallies = collect_events(logs, replace(marks, line_search=None), runs)
            has_all_lines = True
        review = LogReview(
            logs=tallies, left_out=left_out, is_masked=is_masked, has_detections=has_all_lines
        )
        yield review, lambda: clock.checked(merged_events(runs))


def _has_result(events: Iterator[Event]) -> bool:
    return any(event.is_selected and event.indicators for event in events)


def _record_access(
    installation: Installation,
    incident_id: str,
    folders: Sequence[Frozen],
    request: ReviewRequest,
    left_out: list[LeftOut],
) -> list[Frozen]:
    """Record the review; return the folders that can be read.

    Add each other folder to `left_out`, with the reason.
    """
    detail: dict[str, Json] = {"is_masked": request.in_clear is None, "version": __version__}
    act = "logs reviewed, masked"
    by = request.viewer or None
    if request.indicators:
        detail["indicators_sha256"] = request.indicators.digest
    if request.in_clear:
        detail["reason"] = request.in_clear.reason
        act = f"logs reviewed in clear: {request.in_clear.reason}"
        by = request.in_clear.person
    custody: dict[str, Json] = {}
    recorded = []
    for folder in folders:
        if folder.problems:
            left_out.append(_left_out(folder, Damaged("; ".join(folder.problems))))
            continue
        if folder.disposed_at:
            why = f"its certificate says that it was disposed of at {folder.disposed_at}"
            left_out.append(_left_out(folder, Refused(why)))
            continue
        try:
            line = append_custody(
                folder.folder,
                at=installation.clock(),
                who=by or installation.actor,
                act=Act.VIEWED,
                detail=act,
            )
        except Damaged as damage:
            left_out.append(_left_out(folder, damage))
            continue
        except OSError as error:
            raise StandfastError(
                f"{folder.folder}: the review cannot be recorded: {error.strerror}. Make free "
                "space, then run the command again."
            ) from error
        custody[folder.name] = line.hash
        recorded.append(folder)
    if not recorded:
        reasons = "; ".join(f"{each.folder}: {each.reason}" for each in left_out)
        raise StandfastError(
            f"evidence of {incident_id}: no folder can be reviewed: {reasons}. Run `standfast "
            f"evidence verify {incident_id}`."
        )
    installation.record_event(incident_id, REVIEWED, {**detail, "custody": custody}, by=by)
    return recorded


def _left_out(folder: Frozen, error: StandfastError) -> LeftOut:
    return LeftOut(folder=folder.name, reason=str(error), is_damaged=isinstance(error, Damaged))


def _logs(
    installation: Installation,
    folder: Frozen,
    manifest: Manifest,
    keys: tuple[object, ...],
    clock: ReviewClock,
) -> Iterator[Log]:
    key = data_key(installation, folder.folder, manifest, keys)
    for item in manifest.items:
        if item.kind is Kind.FILE:
            yield Log(
                source=folder.source,
                path=item.path,
                collected_at=moment(manifest.ended),
                open=partial(_open, folder.folder, item, key, clock),
            )


def _open(folder: Path, item: Item, key: bytes | None, clock: ReviewClock) -> BinaryIO:
    return clock.timed(open_item(folder, item, key))
