"""Time stamp file `seal.tsr` of a seal: storage, and checks of its record.

A seal is a signature over the manifest of an evidence folder. The time stamp proves that the seal
existed at a time. Thus the manifest and the files that it names existed too. `time_stamp_authority`
requests a stamp and verifies the answer.

Rules
- The whole response of the authority is stored, if it verifies.
- The draft of the file is written next to the folder and not in it. Therefore the folder contains
  nothing but evidence even after a crash.
- The file is written first. Then the chain of custody, the record of all acts on the folder, gets a
  line `stamped` with the time of the stamp and the SHA-256 of the file. After a crash between these
  two writes, the next call writes the line. A stored stamp is never replaced.
"""

import hashlib
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from cryptography import x509

from standfast.errors import Damaged
from standfast.evidence.custody import Act, Entry, append_custody, read_custody
from standfast.evidence.manifest import Manifest
from standfast.evidence.private_files import (
    folder_lock,
    inherit_owner,
    sync_folder,
    write_atomically,
)
from standfast.evidence.seal import SEAL_FILE, STAMP_FILE
from standfast.evidence.time_stamp_authority import (
    LARGEST_BYTES,
    OVER_ANOTHER,
    Authority,
    Stamp,
    require,
    verify_stamp,
)
from standfast.records import Now, moment, timestamp

_CLOCKS_AGREE = timedelta(minutes=1)
_DETAIL = re.compile(r"(\S{27}), SHA-256 ([0-9a-f]{64})")


@dataclass(frozen=True, kw_only=True)
class TimestampStatus:
    """The result of the inspection of a folder's time stamp."""

    summary: str = ""  # in words; "" if the folder has no stamp and needs none
    problems: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()  # reasons why the stamp is missing or could not be verified


def read_stamp(folder: Path) -> bytes | None:
    """Return the bytes of a folder's time stamp, or None if it has none.

    Raise Damaged if the file is a link or is not a regular file.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(folder / STAMP_FILE, flags)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Damaged(f"cannot be read: {error.strerror}") from None
    try:
        require(stat.S_ISREG(os.fstat(descriptor).st_mode), "is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            return stream.read(LARGEST_BYTES + 1)
    finally:
        os.close(descriptor)


def store_timestamp(folder: Path, authority: Authority, who: str, clock: Now) -> Stamp | None:
    """Obtain and store the time stamp of a seal, or record a stored one.

    If a crash left a stored stamp without a line in the chain of custody, add only the line. Return
    None if another process is stamping the folder. The call may be repeated after an error or a
    crash. Raise Damaged if the stored file is not a stamp of this seal, the errors of the
    authority, and OSError if the disk fails.
    """
    with folder_lock(folder) as is_alone:
        if not is_alone:
            return None
        seal = (folder / SEAL_FILE).read_bytes()
        raw = _stored_stamp(folder)
        if raw is None:
            if recorded := stamped_line(read_custody(folder)):
                raise Damaged(
                    f"{STAMP_FILE} is missing: the chain of custody records it as of "
                    f"{recorded.detail}"
                )
            raw, stamp = authority.stamp(seal)
            draft = folder.with_name(f".{folder.name}.{STAMP_FILE}")
            write_atomically(draft, raw)
            inherit_owner(draft)
            draft.rename(folder / STAMP_FILE)
            sync_folder(folder)
        else:
            try:
                stamp = verify_stamp(raw, seal, authority.roots)
            except Damaged as error:
                raise Damaged(f"{STAMP_FILE} {error}") from None
        if stamped_line(read_custody(folder)):
            return stamp
        line = append_custody(
            folder, at=clock(), who=who, act=Act.STAMPED, detail=_custody_detail(stamp)
        )
        return replace(stamp, line=line.hash)


def is_stamped(folder: Path) -> bool:
    """Return whether the chain of custody records a stamp; verify nothing."""
    try:
        return stamped_line(read_custody(folder)) is not None
    except Damaged:
        return True  # a new stamp would not repair the damage, which verification reports


def stamped_line(chain: Sequence[Entry]) -> Entry | None:
    """Return the first line that records a time stamp."""
    return next((entry for entry in chain if entry.act is Act.STAMPED), None)


def stamped_at(line: Entry) -> str:
    """Return the time of the stamp in words, from its line in the chain."""
    return f"stamped {line.detail.partition(',')[0]}"


def inspect_timestamp(
    folder: Path, manifest: Manifest, roots: Sequence[x509.Certificate] | str, *, is_wanted: bool
) -> TimestampStatus:
    """Verify a folder's time stamp; compare its time with the host's clock.

    The caller has verified the seal and the chain of custody. `roots` are the root certificates, or
    a text that states why there are none.
    """
    line = stamped_line(read_custody(folder))
    try:
        raw = read_stamp(folder)
        if raw is None:
            return _absent_status(line, is_wanted=is_wanted)
        if line is not None and hashlib.sha256(raw).hexdigest() != _recorded_stamp(line)[1]:
            return _problem_status("is not the one that the chain of custody has")
        seal = (folder / SEAL_FILE).read_bytes()
        # A stamp of this seal contains the seal's hash. Root certificates are not needed to see it.
        require(hashlib.sha256(seal).digest() in raw, OVER_ANOTHER)
        if isinstance(roots, str):
            why = f"{STAMP_FILE} exists, but was not verified: {roots}"
            return TimestampStatus(summary="not verified", unchecked=(why,))
        stamp = verify_stamp(raw, seal, roots)
        if line is not None and timestamp(stamp.at) != _recorded_stamp(line)[0]:
            return _problem_status(
                f"says {timestamp(stamp.at)}, but the chain of custody says "
                f"{_recorded_stamp(line)[0]}"
            )
    except Damaged as error:
        return _problem_status(str(error))
    summary = (
        f"stamped {timestamp(stamp.at)} by {stamp.authority}, {_delay_in_words(stamp, manifest)}"
    )
    problems, unchecked = _clock_contradictions(stamp, manifest, line)
    if line is None:
        unchecked = (
            *unchecked,
            f"{STAMP_FILE} verifies, but is not in the chain of custody: who fetched it is unknown",
        )
    return TimestampStatus(summary=summary, problems=problems, unchecked=unchecked)


def _absent_status(line: Entry | None, *, is_wanted: bool) -> TimestampStatus:
    if line is not None:
        return _problem_status(
            f"is missing: the chain of custody records it as of {_recorded_stamp(line)[0]}"
        )
    if is_wanted:
        return TimestampStatus(
            summary="none yet", unchecked=("no time stamp authority has stamped it yet",)
        )
    return TimestampStatus()


def _problem_status(problem: str) -> TimestampStatus:
    return TimestampStatus(summary="WRONG", problems=(f"{STAMP_FILE} {problem}",))


def _recorded_stamp(line: Entry) -> tuple[str, str]:
    """Return the time and the hash in a line; Damaged if they are missing."""
    found = _DETAIL.fullmatch(line.detail)
    if found is None:
        raise Damaged("cannot be compared with the chain of custody, whose line lacks the data")
    return found[1], found[2]


def _delay_in_words(stamp: Stamp, manifest: Manifest) -> str:
    later = round((stamp.at - moment(manifest.ended)).total_seconds())
    if abs(later) >= 2 * 3600:
        return f"{abs(later) // 3600} h {'after' if later > 0 else 'before'} the freezing ended"
    return f"{abs(later)} s {'after' if later >= 0 else 'before'} the freezing ended"


def _clock_contradictions(
    stamp: Stamp, manifest: Manifest, line: Entry | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the contradictions between the stamp's time and the host's clock.

    If the offset of the clock is known, the contradictions are problems (first tuple). Otherwise
    the stamp may be right and the clock wrong, so the contradictions are only reported (second
    tuple).
    """
    known = manifest.clock.offset_microseconds if manifest.clock else None
    off = timedelta(microseconds=known or 0)
    ended = moment(manifest.ended)
    contradictions = []
    if stamp.at < min(ended, ended - off) - _CLOCKS_AGREE:
        contradictions.append(
            f"{STAMP_FILE} is older than what it stamps: {timestamp(stamp.at)}, and the freezing "
            f"ended {manifest.ended} by the clock of its host"
        )
    if line is not None:
        fetched = moment(line.at)
        if stamp.at > max(fetched, fetched - off) + _CLOCKS_AGREE:
            contradictions.append(
                f"{STAMP_FILE} is newer than when it was fetched: {timestamp(stamp.at)}, and that "
                f"was {line.at} by the clock of its host"
            )
    if known is not None:
        return tuple(contradictions), ()
    return (), tuple(
        f"{contradiction}, whose offset is unknown" for contradiction in contradictions
    )


def _custody_detail(stamp: Stamp) -> str:
    return f"{timestamp(stamp.at)}, SHA-256 {stamp.sha256}"


def _stored_stamp(folder: Path) -> bytes | None:
    try:
        return read_stamp(folder)
    except Damaged as error:
        raise Damaged(f"{STAMP_FILE} {error}") from None
