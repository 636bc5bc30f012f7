"""The journal of a run: written records can be read again, however the process ended."""

import json
import math
from pathlib import Path

import pytest

from elman.errors import ArgumentError, DataError, FolderError
from elman.report.journal import Journal, curve, number, read_journal, thin

STEP = {"event": "step", "step": 1, "loss": 2.5}
NOTE = {"event": "note", "text": "größer than <unk>\n"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


def test_records_are_read_in_the_order_in_which_they_were_written(path: Path) -> None:
    with Journal(path) as journal:
        journal.write(STEP)
        journal.write(NOTE)
    assert read_journal(path) == [STEP, NOTE]
    assert path.read_bytes().startswith(b'{"event":"step","step":1,"loss":2.5}\n')


def test_a_record_is_on_disk_before_the_journal_is_closed(path: Path) -> None:
    with Journal(path) as journal:
        journal.write(STEP)
        assert read_journal(path) == [STEP]


def test_numbers_that_are_not_finite_become_null(path: Path) -> None:
    with Journal(path) as journal:
        journal.write({"loss": math.nan, "norms": [1.0, math.inf], "more": {"x": -math.inf}})

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    record = json.loads(path.read_text(), parse_constant=refuse)
    assert record == {"loss": None, "norms": [1.0, None], "more": {"x": None}}


def test_an_existing_journal_is_continued(path: Path) -> None:
    for record in (STEP, NOTE):
        with Journal(path) as journal:
            journal.write(record)
    assert read_journal(path) == [STEP, NOTE]


def test_position_counts_bytes_and_truncate_returns_to_it(path: Path) -> None:
    with Journal(path) as journal:
        assert journal.position == 0
        journal.write(STEP)
        kept = journal.position
        assert kept == path.stat().st_size == 37
        journal.write(NOTE)
        journal.truncate(kept)
        assert journal.position == kept
        journal.write({"event": "resume"})
    assert read_journal(path) == [STEP, {"event": "resume"}]


def test_truncating_beyond_the_end_changes_nothing(path: Path) -> None:
    with Journal(path) as journal:
        journal.write(STEP)
        journal.truncate(10_000)
        assert journal.position == 37


def test_a_position_inside_a_line_drops_the_whole_line(path: Path) -> None:
    with Journal(path) as journal:
        journal.write(STEP)
        journal.write(NOTE)
        journal.truncate(40)
        journal.write(NOTE)
    assert read_journal(path) == [STEP, NOTE]


def test_a_negative_position_is_refused(path: Path) -> None:
    with Journal(path) as journal, pytest.raises(ArgumentError, match="got -1"):
        journal.truncate(-1)


@pytest.mark.parametrize("torn", [b'{"event":"st', b"\0\0\0\0", b'{"text":"\xc3'])
def test_a_torn_last_line_is_dropped_when_read_and_when_continued(path: Path, torn: bytes) -> None:
    path.write_bytes(json.dumps(STEP).encode() + b"\n" + torn)
    assert read_journal(path) == [STEP]
    with Journal(path) as journal:
        journal.write(NOTE)
    assert read_journal(path) == [STEP, NOTE]


def test_a_whole_last_line_without_its_newline_is_kept(path: Path) -> None:
    path.write_text(json.dumps(STEP))
    assert read_journal(path) == [STEP]
    with Journal(path) as journal:
        journal.write(NOTE)
    assert read_journal(path) == [STEP, NOTE]


@pytest.mark.parametrize("damage", ["nonsense", "", "[1, 2]", '{"event":'])
def test_damage_in_the_middle_raises_an_error_with_its_line(path: Path, damage: str) -> None:
    path.write_text(f'{{"event":"start"}}\n{damage}\n{{"event":"end"}}\n')
    with pytest.raises(DataError, match=r"run\.jsonl, line 2: got"):
        read_journal(path)


def test_an_empty_journal_has_no_records(path: Path) -> None:
    path.touch()
    assert read_journal(path) == []


def test_a_missing_journal_or_folder_raises_a_folder_error(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="No such file"):
        read_journal(tmp_path / "run.jsonl")
    with pytest.raises(FolderError, match="cannot be opened"):
        Journal(tmp_path / "nowhere" / "run.jsonl")


def test_number_returns_nan_for_values_that_are_not_numbers() -> None:
    record = {"a": 3, "b": None, "c": "4", "d": True}
    assert number(record, "a") == 3.0
    assert all(math.isnan(number(record, key)) for key in ("b", "c", "d", "e"))


def test_curve_keeps_the_place_of_a_value_that_was_not_finite() -> None:
    steps, losses = curve([STEP, NOTE, {"event": "step", "step": 2, "loss": None}], "step", "loss")
    assert steps == [1.0, 2.0]
    assert losses[0] == 2.5
    assert math.isnan(losses[1])


def test_thinning_keeps_the_mean_of_each_group() -> None:
    assert thin([1.0, 2.0, 3.0, 6.0, 9.0], 2) == [1.5, 4.5, 9.0]
    assert thin([], 3) == []


def test_a_journal_that_is_a_link_is_refused_and_its_target_kept(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "run.jsonl").symlink_to(victim)
    with pytest.raises(FolderError, match=r"run\.jsonl: is a symbolic link.*delete it"):
        Journal(tmp_path / "run.jsonl")
    assert victim.read_text() == "precious"


def test_a_line_of_thirty_thousand_brackets_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text("[" * 30_000 + "\n")
    with pytest.raises(DataError, match="line 1: got"):
        read_journal(path)


def test_only_the_part_before_a_checkpoint_is_read(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text('{"event":"note"}\nbroken\n')
    assert read_journal(path, length=17) == [{"event": "note"}]
    with pytest.raises(DataError, match="line 2"):
        read_journal(path, length=18)
