from __future__ import annotations

from io import FileIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geosr.errors import PlaceError
from geosr.io import journal as module
from geosr.io.files import write_at
from geosr.io.journal import Journal


def filled(path: Path, payloads: list[bytes]) -> list[int]:
    """Writes a journal; where its header ends, and each record."""
    journal = Journal(path)
    journal.begin("a run")
    ends = [journal.end]
    for number, payload in enumerate(payloads):
        journal.add(number % 200, payload)
        ends.append(journal.end)
    journal.close()
    return ends


def test_records_come_back_in_order_with_their_kind(tmp_path: Path) -> None:
    filled(tmp_path / "j", [b"one", b"", b"three" * 1000])
    journal = Journal(tmp_path / "j")
    assert journal.header() == "a run"
    assert [(r.kind, r.payload) for r in journal.records()] == [(0, b"one"), (1, b""), (2, b"three" * 1000)]
    journal.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(0, 400), st.binary(max_size=8))
def test_a_journal_cut_at_any_byte_holds_the_records_before_it(
    tmp_path: Path, payloads: list[bytes], length: int, garbage: bytes
) -> None:
    path = tmp_path / "j"
    path.unlink(missing_ok=True)
    ends = filled(path, payloads)
    whole = path.read_bytes()
    left = whole[:length] + (garbage if 16 < length < len(whole) else b"")
    same = next((end for end in range(len(left)) if left[: end + 1] != whole[: end + 1]), len(left))
    path.write_bytes(left)
    journal = Journal(path)
    if same < ends[0]:
        assert journal.header() is None
    else:
        assert journal.header() == "a run"
        found = [record.payload for record in journal.records()]
        assert found == [payload for payload, end in zip(payloads, ends[1:], strict=True) if end <= same]
        journal.trim()
        journal.add(7, b"next")
        journal.close()
        journal = Journal(path)
        journal.header()
        assert [record.payload for record in journal.records()] == [*found, b"next"]
    journal.close()


def test_a_changed_byte_ends_the_journal_before_its_record(tmp_path: Path) -> None:
    path = tmp_path / "j"
    filled(path, [b"first", b"second", b"third"])
    data = path.read_bytes()
    path.write_bytes(data.replace(b"second", b"sexond"))
    journal = Journal(path)
    journal.header()
    assert [record.payload for record in journal.records()] == [b"first"]
    journal.close()


def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(b"somebody's notes, longer than the magic")
    journal = Journal(tmp_path / "j")
    with pytest.raises(PlaceError, match="not a journal"):
        journal.header()
    journal.close()
    assert (tmp_path / "j").read_bytes().startswith(b"somebody's notes")


def test_a_record_that_could_not_be_written_leaves_the_journal_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "j")
    journal.begin("a run")
    journal.add(1, b"kept")

    def full(file: FileIO, data: bytes, at: int) -> None:
        write_at(file, data[:5], at)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_at", full)
    with pytest.raises(OSError, match="No space"):
        journal.add(1, b"lost" * 20)
    monkeypatch.undo()
    journal.add(1, b"next")
    journal.close()
    again = Journal(tmp_path / "j")
    again.header()
    assert [record.payload for record in again.records()] == [b"kept", b"next"]
    again.close()
