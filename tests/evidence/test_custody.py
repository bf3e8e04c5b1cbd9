from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from standfast.errors import Damaged
from standfast.evidence.custody import Act, append_custody, read_custody, verify_custody
from standfast.records import canonical
from tests.adapters.evidence_sources.contract import NOW
from tests.full_disk import file_size_limit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a seal, which is enough for custody."""
    (tmp_path / "seal.dsse.json").write_text("{}")
    append_custody(tmp_path, at=NOW, who="r.okafor", act=Act.COLLECTED, detail="takeover")
    append_custody(tmp_path, at=NOW, who="legal", act=Act.VIEWED)
    append_custody(tmp_path, at=NOW, who="legal", act=Act.EXPORTED, detail="to the police: \n a")
    return tmp_path


def test_acts_come_back_in_order(folder: Path) -> None:
    assert [entry.act for entry in read_custody(folder)] == [
        Act.COLLECTED,
        Act.VIEWED,
        Act.EXPORTED,
    ]
    assert verify_custody(folder) == []


def test_a_changed_moved_or_removed_line_is_found(folder: Path) -> None:
    file = folder / "custody.jsonl"
    one, two, three = file.read_text().splitlines(keepends=True)
    forgeries = [
        one.replace("r.okafor", "somebody") + two + three,
        one + three + two,
        one + three,
        two + three,
        one + two + three[:-10],
        one + two + three[:-1],  # the next line would depend on this one
        one + "{}\n" + three,
        one + '"text"\n',
        one + "no JSON\n",
        one + "[" * 100_000 + "\n",
        one + two.replace('"viewed"', '"lost"'),
        one + two.replace('"who"', '"whom"'),
        one + two.replace("{", '{"who":"nobody",', 1) + three,  # a reader may take the first
        one + two.replace(",", ", ", 1) + three,
    ]
    for forged in forgeries:
        file.write_text(forged)
        (problem,) = verify_custody(folder)
        assert problem.startswith("custody.jsonl")
        with pytest.raises(Damaged):
            append_custody(folder, at=NOW, who="legal", act=Act.VIEWED)
        assert file.read_text() == forged


def test_cut_custody_lines_are_found_by_the_ledger(folder: Path) -> None:
    file = folder / "custody.jsonl"
    known = {entry.hash for entry in read_custody(folder)}
    assert verify_custody(folder, known) == []
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    assert verify_custody(folder) == []
    (problem,) = verify_custody(folder, known)
    assert "it was cut" in problem


def test_custody_chain_of_another_folder_is_refused(folder: Path) -> None:
    (folder / "seal.dsse.json").write_text('{"another": "seal"}')
    assert verify_custody(folder) == ["custody.jsonl:1: does not follow from the line before"]


def test_an_unsealed_folder_takes_no_custody(tmp_path: Path) -> None:
    with pytest.raises(Damaged, match=r"seal\.dsse\.json"):
        append_custody(tmp_path, at=NOW, who="legal", act=Act.VIEWED)


def test_a_chain_without_an_entry_is_a_problem(folder: Path) -> None:
    (folder / "custody.jsonl").write_bytes(b"")
    assert len(verify_custody(folder)) == 1
    (folder / "custody.jsonl").unlink()
    (problem,) = verify_custody(folder)
    assert problem.startswith("custody.jsonl cannot be read")


def test_many_at_once_make_one_chain(folder: Path) -> None:
    def look(who: int) -> None:
        for _ in range(25):
            append_custody(folder, at=NOW, who=f"p{who}", act=Act.VIEWED)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(look, range(8)))
    assert verify_custody(folder) == []
    assert len(read_custody(folder)) == 3 + 8 * 25


def test_full_disk_leaves_no_part_of_a_line(folder: Path) -> None:
    before = (folder / "custody.jsonl").read_bytes()
    with file_size_limit(len(before) + 50), pytest.raises(OSError, match="File too large"):
        append_custody(folder, at=NOW, who="legal", act=Act.VIEWED)
    assert (folder / "custody.jsonl").read_bytes() == before
    append_custody(folder, at=NOW, who="legal", act=Act.VIEWED)
    assert verify_custody(folder) == []


def test_wrongly_numbered_line_is_found(folder: Path) -> None:
    file = folder / "custody.jsonl"
    last = replace(read_custody(folder)[-1], sequence=7)
    forged = canonical({**asdict(last), "hash": last.hash}).decode() + "\n"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]) + forged)
    assert verify_custody(folder) == ["custody.jsonl:3: does not follow from the line before"]


def test_link_instead_of_chain_is_not_written(folder: Path, tmp_path: Path) -> None:
    chain = (folder / "custody.jsonl").rename(tmp_path / "elsewhere")
    before = chain.read_bytes()
    (folder / "custody.jsonl").symlink_to(chain)
    with pytest.raises(Damaged, match=r"custody\.jsonl cannot be written"):
        append_custody(folder, at=NOW, who="legal", act=Act.VIEWED)
    assert chain.read_bytes() == before
