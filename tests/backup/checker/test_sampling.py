"""Sample sizes for a detection rate, and fairness of the samples."""

import os
import random
from collections import Counter
from pathlib import Path

import pytest

from backup.checker.sampling import Sample, draw, smallest_sample
from backup.checker.verification import verify
from backup.errors import UsageError
from backup.format.object_names import pack_name
from backup.records import Finding, Sampled, VerifyReport
from backup.repository import blobs_of
from tests.backup.most_refs import most_refs
from tests.backup.site import WRITER, Site, TamperedStore, new_site
from tests.backup.trees import KIB, noise, plain_tree


@pytest.mark.parametrize(
    ("confidence", "damage", "pieces"),
    [(0.99, 0.01, 459), (0.95, 0.01, 299), (0.95, 0.05, 59), (0.5, 0.5, 1), (0.75, 0.5, 2)],
)
def test_confidence_decides_the_number_of_pieces(
    confidence: float, damage: float, pieces: int
) -> None:
    sample = smallest_sample(confidence, damage)
    assert sample.pieces == pieces
    assert sample.confidence >= confidence - 1e-12
    if pieces > 1:
        assert Sample(pieces=pieces - 1, damage=damage).confidence < confidence


def test_confidence_is_reported_and_never_rounded_up() -> None:
    sample = Sample(pieces=500)
    said = Sampled(
        pieces=500, content_bytes=10, damage=sample.damage, confidence=sample.confidence
    ).sentence
    assert said.startswith("500 random pieces of content were decrypted")
    assert "1% or more" in said
    assert "99.3%" in said
    sure = Sampled(pieces=9, content_bytes=10, damage=0.005, confidence=0.99999).sentence
    assert "0.5% or more" in sure
    assert "99.9%" in sure


@pytest.mark.parametrize(
    ("damage", "said"),
    [(1e-7, "0.00001%"), (1 / 3, "33.33%"), (0.999, "99.9%"), (1e-9, "0.0000001%")],
)
def test_share_of_zero_is_never_reported(damage: float, said: str) -> None:
    sampled = Sampled(pieces=9, content_bytes=10, damage=damage, confidence=0.5)
    assert f"if {said} or more" in sampled.sentence


@pytest.mark.parametrize(
    ("pieces", "damage"), [(0, 0.01), (-1, 0.01), (1_000_001, 0.01), (1, 0.0), (1, 1.0), (1, -0.5)]
)
def test_meaningless_sample_is_refused(pieces: int, damage: float) -> None:
    with pytest.raises(UsageError):
        Sample(pieces=pieces, damage=damage)


@pytest.mark.parametrize(
    ("confidence", "damage"), [(0.0, 0.01), (1.0, 0.01), (0.9, 0.0), (0.9, 1.0), (0.99, 1e-9)]
)
def test_impossible_confidence_is_refused(confidence: float, damage: float) -> None:
    with pytest.raises(UsageError):
        smallest_sample(confidence, damage)


def test_all_numbers_are_drawn_equally_often() -> None:
    dice = random.Random(3)
    drawn = draw(5, 50_000, dice.randbytes)
    assert drawn == sorted(drawn)
    counts = Counter(drawn)
    assert set(counts) == set(range(5))
    assert all(abs(count - 10_000) < 400 for count in counts.values())


def test_drawing_uses_system_randomness_for_any_size() -> None:
    assert draw(1, 3, os.urandom) == [0, 0, 0]
    assert max(draw(256, 500, os.urandom)) < 256
    assert 0 <= draw(10**15, 1, os.urandom)[0] < 10**15


def with_damage(folder: Path) -> tuple[Site, bytes]:
    """Make a repository with one damaged pack; return it and the pack."""
    site = new_site(folder / "site", TamperedStore())
    source = folder / "source"
    source.mkdir()
    (source / "sound").write_bytes(noise(1600 * KIB))
    (source / "text").write_bytes(b"a line that compresses well\n" * 20_000)
    site.back_up(source)
    (source / "zz-damaged.db").write_bytes(noise(400 * KIB, 1))
    site.back_up(source)
    repository = site.repository()
    latest = repository.resolve("latest")
    _, _, reader = repository.open_point(latest)
    (entry,) = repository.entries(latest, ["files/zz-damaged.db"])
    refs = [*blobs_of(reader, entry)]
    assert len(refs) > 4
    (pack,) = {ref.pack for ref in refs}
    assert isinstance(site.vault, TamperedStore)
    name = pack_name(WRITER, pack.hex())
    data = bytearray(site.vault.get(name))
    for segment in range(4096, len(data), 65536):
        data[segment] ^= 1
    site.vault.replace(name, bytes(data))
    return site, pack


def checked(site: Site, sample: Sample, dice: random.Random) -> VerifyReport:
    return verify(
        site.vault, keys=site.keys, identity=site.identity, sample=sample, random=dice.randbytes
    )


def errors(report: VerifyReport) -> list[Finding]:
    return [finding for finding in report.findings if finding.severity == "error"]


def test_sample_finds_damage_as_often_as_calculated(tmp_path: Path) -> None:
    site, pack = with_damage(tmp_path)
    sound = 1600 * KIB + 28 * 20_000
    # Both points contain the sound content; only the second one contains the damaged content.
    share = 400 * KIB / (2 * sound + 400 * KIB)
    dice = random.Random(11)
    sample = Sample(pieces=8, damage=share)
    rounds = 60
    found = 0
    for _ in range(rounds):
        report = checked(site, sample, dice)
        for finding in errors(report):
            assert finding.object == pack_name(WRITER, pack.hex())
            assert "zz-damaged" in finding.problem
            assert finding.depth == "opening"
        found += bool(errors(report))
        assert report.sampled is not None
        assert report.sampled.pieces == 8
        assert report.sampled.content_bytes == 2 * sound + 400 * KIB
        assert report.saw == ("looking",)
    wanted = sample.confidence * rounds
    assert 0.4 < sample.confidence < 0.6
    assert abs(found - wanted) < 12  # three standard deviations


@pytest.mark.parametrize(
    ("cut_mask", "most"),
    [(1023, 1000), (0, 1000), (1023, 2)],
    ids=["one page", "a page for each file", "large files with lists"],
)
def test_each_byte_of_each_point_can_be_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_mask: int, most: int
) -> None:
    """The sample must reach the last point.

    Otherwise the stated confidence would be too high.
    """
    monkeypatch.setattr("backup.archiver.manifest_builder.CUT_MASK", cut_mask)
    most_refs(monkeypatch, most)
    site, _ = with_damage(tmp_path)
    repository = site.repository()
    _, body, _ = repository.open_point(repository.resolve("latest"))
    assert (body.depth > 0) is (cut_mask == 0)
    sound = 1600 * KIB + 28 * 20_000
    total = 2 * sound + 400 * KIB

    def finds(at: int) -> bool:
        bits = (total - 1).bit_length()

        def number(size: int) -> bytes:
            return (at << (8 * size - bits)).to_bytes(size, "big")

        report = verify(
            site.vault,
            keys=site.keys,
            identity=site.identity,
            sample=Sample(pieces=1),
            random=number,
        )
        return bool(errors(report))

    (last,) = repository.entries(repository.resolve("latest"), ["files/zz-damaged.db"])
    assert bool(last.lists) is (most == 2)
    # The first point comes first, then the second, whose last file is damaged.
    assert [finds(at) for at in (0, sound - 1, sound, sound + 400 * KIB)] == [False] * 4
    assert not finds(2 * sound - 1)
    assert all(finds(at) for at in (2 * sound, 2 * sound + 200 * KIB, total - 1))


def test_a_sample_reads_little_of_the_content(tmp_path: Path) -> None:
    site = new_site(tmp_path / "site", TamperedStore())
    source = tmp_path / "source"
    source.mkdir()
    for number in range(12):
        (source / f"{number}.wav").write_bytes(noise(1500 * KIB, number))
    site.back_up(source)
    few = checked(site, Sample(pieces=1), random.Random(1))
    whole = verify(site.vault, keys=site.keys, identity=site.identity)
    assert errors(few) == errors(whole) == []
    assert few.bytes_read < whole.bytes_read / 3
    assert whole.saw == ("looking", "opening")
    assert whole.sampled is None


def test_sample_without_content_says_so(site: Site, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "empty").touch()
    site.back_up(tmp_path / "source")
    report = checked(site, Sample(pieces=5), random.Random(1))
    assert report.sampled is not None
    assert report.sampled.sentence == "there is no content to draw from"
    assert (report.sampled.pieces, report.sampled.confidence) == (0, 0.0)
    assert report.is_sound


def test_sample_needs_a_key(site: Site, tmp_path: Path) -> None:
    site.back_up(plain_tree(tmp_path / "source"))
    with pytest.raises(UsageError, match="needs a key"):
        verify(site.vault, sample=Sample(pieces=5))
