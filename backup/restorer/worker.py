"""Worker of a restore: restores units of work, and reports problems.

- A unit of work is a series of stretches. A stretch is a part of a leaf page of the manifest, that
  is, a series of paths.
- Content is read ahead while files are written. Files are written in path order, except early
  files. An early file has content in a frame (compressed part of a pack) that an earlier unit
  decodes, so that unit writes the file (see `work_units`).
- The reports of a worker name the work that is left: hard links to files that another worker may
  not have written yet, large files, and folders into which later stretches may write.
- In a resumed restore, the content of an existing file is compared with the id of each blob. Only
  blobs that differ are read from the store.
"""

import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter
from typing import Literal, cast

from backup.errors import BackupError, Damaged, StoreUnavailable, UnsafePath
from backup.format.manifest import BlobRef, Entry, path_key
from backup.reader.blob_reader import BlobReader, FrameKey, Raw, frame_key
from backup.reader.frame_prefetch import prefetch_frames
from backup.reader.manifest_walk import Page, blobs_of, entries_of
from backup.reader.path_selection import Selection
from backup.reader.self_healing import BlobHealer
from backup.records import Problem
from backup.restorer.extents import Extents
from backup.restorer.large_files import Piece, is_split, reopen_file
from backup.restorer.resume_check import CHANGED, OPEN_FLAGS, Proof, has_blob, has_holes
from backup.restorer.safe_paths import open_folder
from backup.restorer.tree_writer import TreeWriter
from backup.restorer.work_units import Report, Stretch, Unit, damaged, lost_page

REPORT_SECONDS = 0.2

Action = Literal[
    "add",
    "note",
    "whole",
    "early",  # write a file of another unit
    "leave",  # leave a file to another unit, which writes it early
    "begin",
    "blob",
    "skip",  # skip a blob that the file has already
    "give up",
    "end",
    "postpone",
    "link",
]


@dataclass(kw_only=True, slots=True, eq=False)
class _Entries:
    """Entries of one stretch; compared by identity, for `groupby`."""

    entries: Sequence[Entry]


@dataclass(kw_only=True, slots=True)
class _Step:
    action: Action
    entry: Entry
    ref: BlobRef | None = None
    proof: Proof | None = None
    reason: str = ""

    @property
    def fetched(self) -> BlobRef | None:
        """Return the blob that the step needs from the store."""
        return self.ref if self.action in ("whole", "early", "blob") else None


class RestoreWorker:
    """Restores units and pieces, one after the other."""

    def __init__(
        self,
        *,
        reader: BlobReader,
        healer: BlobHealer,
        tree: TreeWriter,
        selection: Selection,
        root: int,
        is_resumed: bool,
        pool: ThreadPoolExecutor,
        emit: Callable[[Report], None],
    ) -> None:
        self._reader = reader
        self._healer = healer
        self._tree = tree
        self._selection = selection
        self._root = root
        self._is_resumed = is_resumed
        self._pool = pool
        self._emit = emit
        self._page: tuple[Page, list[Entry]] | None = None
        self._links: list[tuple[bytes, bytes]] = []
        self._postponed: list[Entry] = []
        self._lost: dict[str, Problem] = {}
        self._postponed_paths: set[bytes] = set()
        self._bytes_done = 0
        self._own = (os.geteuid(), os.getegid())
        self._owners_lost = 0
        self._reported = (0, 0, 0, 0)
        self._reported_at = time.monotonic()

    def work(self, units: Iterator[Unit | Piece]) -> None:
        """Restore units and pieces; the reports name the work that is left.

        Frames of the next unit are read while the current unit is written.
        """
        for kind, of_kind in groupby(units, type):
            if kind is Piece:
                self._fill_pieces(cast("Iterator[Piece]", of_kind))
            else:
                self._restore_units(cast("Iterator[Unit]", of_kind))
        self._report("", [], [])

    def _restore_units(self, units: Iterator[Unit]) -> None:
        steps = chain.from_iterable(map(self._steps_of_unit, units))
        work = prefetch_frames(self._reader, steps, self._pool)
        for stretch, of_stretch in groupby(work, lambda item: item[0][0]):
            group = ((step, content) for (_, step), content in of_stretch)
            self._restore_stretch(stretch.entries, group)

    def _fill_pieces(self, pieces: Iterator[Piece]) -> None:
        steps = ((piece, ref) for piece in pieces for ref in piece.refs)
        work = prefetch_frames(self._reader, steps, self._pool)
        for piece, of_piece in groupby(work, itemgetter(0)):
            self._fill(piece, (content for _, content in of_piece))

    def _steps_of_unit(self, unit: Unit) -> Iterator[tuple[tuple[_Entries, _Step], BlobRef | None]]:
        early: dict[FrameKey, list[_Step]] = {}
        for entry in unit.early:
            step = _Step(action="early", entry=entry, ref=entry.blobs[0])
            early.setdefault(frame_key(entry.blobs[0]), []).append(step)
        for stretch in unit.stretches:
            group = _Entries(entries=self._entries_or_problem(stretch))
            for step in self._steps(group.entries, stretch):
                yield (group, step), step.fetched
                if early and step.action == "whole" and step.ref is not None:
                    for other in early.pop(frame_key(step.ref), ()):
                        yield (group, other), other.fetched
        # Write the remaining early files. The files above did not need their frames, because a
        # manifest page was unreadable.
        for step in chain.from_iterable(early.values()):
            yield (group, step), step.fetched

    def _restore_stretch(
        self, entries: Sequence[Entry], work: Iterator[tuple[_Step, Raw | BackupError | None]]
    ) -> None:
        first = path_key(entries[0].path) if entries else b""
        self._postponed_paths.clear()
        for step, content in work:
            self._apply(step, content, first)
            self._report_when_due(step.entry)
        made, noted = self._tree.hand_over(entries[-1].path if entries else b"")
        self._report(entries[-1].text if entries else "", made, noted)

    def _fill(self, piece: Piece, content: Iterator[Raw | BackupError | None]) -> None:
        """Write a piece of a large file."""
        entry, tree = piece.entry, self._tree
        try:
            with tree.problems_of(entry), reopen_file(self._root, entry) as descriptor:
                if not tree.may_continue(os.fstat(descriptor), entry):
                    raise OSError(errno.EAGAIN, CHANGED)
                if piece.end > entry.size:
                    raise OSError(errno.EFBIG, "has more content than its size says")
                tree.write_parts(descriptor, piece.start, self._contents(entry, content))
        except StoreUnavailable:
            raise
        except Damaged as error:
            tree.problems.append(damaged(entry, str(error)))
        for problem in tree.problems:
            self._lost[entry.text] = problem
        tree.problems.clear()
        self._report(entry.text, [], [])

    def _contents(self, entry: Entry, blobs: Iterator[Raw | BackupError | None]) -> Iterator[Raw]:
        for content in blobs:
            if isinstance(content, BackupError):
                raise Damaged(str(content)) from content
            if content is None:
                continue
            yield content
            self._bytes_done += len(content)
            self._report_when_due(entry)

    def finish_files(self, entries: Iterable[Entry], lost: dict[str, Problem]) -> None:
        """Set the attributes of large files; remove the files that are in `lost`."""
        for entry in entries:
            if entry.text in lost:
                self._tree.remove(entry)
                self._tree.problems.append(lost[entry.text])
            else:
                self._tree.finish_file(entry)

    def link_late(self, path: bytes, first: bytes, find: Callable[[bytes], Entry | None]) -> None:
        """Link a path to an existing file, or restore the file under this path."""
        if not self._tree.link(path, first):
            entry = find(path)
            if entry is not None:
                self.restore_file(entry)

    def finish_folders(self, made: list[Entry], noted: list[Entry]) -> None:
        """Set the attributes of created folders, and of noted folders that exist.

        A noted folder was not selected itself; it exists if a path in it was restored. Deeper
        folders come first, because the final mode of a folder may deny access to them.
        """
        self._tree.leave_folders()
        both = [(path_key(entry.path), entry, True) for entry in made]
        both += [(path_key(entry.path), entry, False) for entry in noted]
        for _, entry, is_made in sorted(both, key=lambda item: item[0], reverse=True):
            is_found = self._tree.finish_folder(entry)
            if is_found and not is_made:
                self._tree.directories += 1
            elif is_made and not is_found:
                reason = "without its mode and times: somebody moved the folder during the restore"
                self._tree.problems.append(Problem(path=entry.text, reason=reason))
        self._report("", [], [])

    def restore_file(self, entry: Entry) -> None:
        """Restore one file from the blobs that its entry names."""
        steps = ((step, step.fetched) for step in self._steps_of(entry))
        for step, content in prefetch_frames(self._reader, steps, self._pool):
            self._apply(step, content, b"")

    def _entries_or_problem(self, stretch: Stretch) -> list[Entry]:
        try:
            return self._entries(stretch)
        except StoreUnavailable:
            raise
        except BackupError as error:
            if stretch.page.listed is None:
                if isinstance(error, Damaged):
                    error.packs = tuple(self._healer.take_damaged())
                raise
            # Each stretch reports the page, because other workers may have read it successfully.
            self._tree.problems.append(lost_page(stretch.page, error))
            return []

    def _entries(self, stretch: Stretch) -> list[Entry]:
        if self._page is None or self._page[0] != stretch.page:
            page, content = stretch.page, stretch.content
            self._page = page, entries_of(self._reader, page, content=content)
        entries = self._page[1]
        begin, end = stretch.bounds(len(entries))
        return entries[begin:end]

    def _steps(self, entries: Sequence[Entry], stretch: Stretch) -> Iterator[_Step]:
        takes = self._selection.includes
        begin = 0 if self._page is None else stretch.bounds(len(self._page[1]))[0]
        early = frozenset(stretch.early)
        for index, entry in enumerate(entries, begin):
            if not takes(entry.path):
                if entry.kind == "directory":
                    yield _Step(action="note", entry=entry)
                continue
            if (entry.uid, entry.gid) != self._own:
                self._owners_lost += 1
            if entry.kind != "file":
                yield _Step(action="add", entry=entry)
            elif entry.hard_link is not None and takes(entry.hard_link):
                yield _Step(action="link", entry=entry)
            elif index in early:
                yield _Step(action="leave", entry=entry)
            elif len(entry.blobs) == 1 and not (self._is_resumed or entry.lists or entry.holes):
                yield _Step(action="whole", entry=entry, ref=entry.blobs[0])
            elif is_split(entry) and not self._is_resumed:
                yield _Step(action="begin", entry=entry)
                yield _Step(action="postpone", entry=entry)
            else:
                yield from self._steps_of(entry)

    def _steps_of(self, entry: Entry) -> Iterator[_Step]:
        existing = self._existing_file(entry) if self._is_resumed else None
        try:
            proof = None if existing is None else Proof.of(os.fstat(existing))
            yield _Step(action="begin", entry=entry, proof=proof)
            extents = Extents(entry)
            for ref in blobs_of(self._reader, entry):
                is_proven = existing is not None and has_blob(existing, ref, extents, self._reader)
                yield _Step(action="skip" if is_proven else "blob", entry=entry, ref=ref)
        except StoreUnavailable:
            raise
        except BackupError as error:
            yield _Step(action="give up", entry=entry, reason=str(error))
        finally:
            if existing is not None:
                os.close(existing)
        yield _Step(action="end", entry=entry)

    def _existing_file(self, entry: Entry) -> int | None:
        """Open a file of an interrupted restore; return None if it is not usable."""
        try:
            with open_folder(self._root, entry.path) as (folder, name):
                descriptor = os.open(name, os.O_RDONLY | OPEN_FLAGS, dir_fd=folder)
        except (OSError, UnsafePath):
            return None
        if self._tree.may_continue(os.fstat(descriptor), entry) and has_holes(descriptor, entry):
            return descriptor
        os.close(descriptor)
        return None

    def _apply(self, step: _Step, content: Raw | BackupError | None, first: bytes) -> None:
        tree, entry = self._tree, step.entry
        if isinstance(content, BackupError):
            if step.action in ("whole", "early"):
                tree.problems.append(damaged(entry, str(content)))
            tree.give_up(f"not restored: {content}")
            return
        match step.action:
            case "whole":
                tree.write_file(entry, content or b"")
                self._bytes_done += entry.size
            case "early":
                tree.write_early(entry, content or b"")
                self._bytes_done += entry.size
            case "leave":
                tree.leave_open(entry)
                self._postponed_paths.add(entry.path)
            case "blob" if content is not None:
                tree.write(content)
                self._bytes_done += len(content)
            case "skip" if step.ref is not None:
                tree.skip(step.ref.length)
                self._bytes_done += step.ref.length
            case "begin":
                tree.begin(entry, step.proof)
            case "end":
                tree.end()
            case "postpone":
                if tree.postpone():
                    self._postponed.append(entry)
                    self._postponed_paths.add(entry.path)
            case "give up":
                tree.give_up(f"not restored: {step.reason}")
            case "add":
                tree.add(entry)
            case "note":
                tree.note(entry)
            case "link":
                self._link(entry, first)

    def _link(self, entry: Entry, first: bytes) -> None:
        earlier = entry.hard_link or b""
        # Make the link after all units of work if the file is in another stretch, large or early:
        # it may be written later. Make the link now if the file is earlier in this stretch. If this
        # fails, the file was not restored: restore it under this name.
        if path_key(earlier) < first or earlier in self._postponed_paths:
            self._links.append((entry.path, earlier))
        elif not self._tree.link(entry.path, earlier):
            self.restore_file(entry)

    def _report_when_due(self, entry: Entry) -> None:
        if time.monotonic() - self._reported_at > REPORT_SECONDS:
            self._report(entry.text, [], [])

    def _report(self, path: str, made: list[Entry], noted: list[Entry]) -> None:
        tree = self._tree
        now = (tree.files, tree.directories, tree.bytes, self._bytes_done)
        files, directories, size, done = (b - a for a, b in zip(self._reported, now, strict=True))
        self._emit(
            Report(
                path=path,
                files=files,
                directories=directories,
                size_bytes=size,
                owners_lost=self._owners_lost,
                bytes_done=done,
                problems=list(tree.problems),
                made=made,
                noted=noted,
                links=self._links,
                postponed=self._postponed,
                lost=self._lost,
                matched=self._selection.pop_matched(),
                healed=self._healer.take_healed(),
                damaged=self._healer.take_damaged(),
            )
        )
        tree.problems.clear()
        self._links, self._postponed, self._lost = [], [], {}
        self._owners_lost = 0
        self._reported = now
        self._reported_at = time.monotonic()
