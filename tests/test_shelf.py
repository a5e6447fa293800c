"""Weights from elsewhere: fetched when asked, checked, whole or not there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import pytest
from safetensors.torch import save_file

from geosr.cli import cli
from geosr.errors import ModelError, PlaceError
from geosr.models import registry, shelf
from geosr.models.card import KEY, Card
from geosr.models.networks import fast
from geosr.models.shelf import Entry
from tests.servers import Server, serving

CARD = Card("grand", "a test", (2,), network="fast", channels=4, blocks=1)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Serves the weights of `grand`, which the package has not."""
    folder = tmp_path / "served"
    folder.mkdir()
    save_file(fast(2, 4, 1).state_dict(), folder / "grand_x2.safetensors", metadata={KEY: CARD.to_json()})
    with serving(folder) as running:
        yield running


@pytest.fixture
def entry(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Entry:
    """What the package's index says of it."""
    content = (server.folder / "grand_x2.safetensors").read_bytes()
    urls = (server.url("nowhere"), server.url("grand_x2.safetensors"))
    entry = Entry("grand", 2, urls, sha256(content).hexdigest(), len(content), "a test")
    index = tmp_path / "index.json"
    index.write_text(json.dumps({"files": [asdict(entry)]}))
    monkeypatch.setattr(shelf, "INDEX", index)
    monkeypatch.setenv("GEOSR_MODELS", str(tmp_path / "mine"))
    return entry


def kept(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "mine").glob("*"))


def test_fetched_weights_are_a_model_by_name_and_are_fetched_once(entry: Entry, server: Server, tmp_path: Path) -> None:
    assert shelf.index() == (entry,)
    with pytest.raises(ModelError, match="geosr models fetch grand"):
        registry.card("grand", 2)
    assert not server.requests, "nothing goes to the network on its own"
    path = shelf.fetch(entry)
    assert kept(tmp_path) == ["grand_x2.safetensors"]
    assert registry.card("grand", 2).parameters == registry.card(str(path)).parameters
    assert registry.locate("grand", 2) == path
    assert "grand" in registry.names()
    asked = len(server.requests)
    assert shelf.fetch(entry) == path
    assert len(server.requests) == asked


def test_a_download_that_was_cut_off_goes_on_where_it_stopped(entry: Entry, server: Server, tmp_path: Path) -> None:
    whole = (server.folder / entry.file).read_bytes()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / f".{entry.file}.{entry.sha256[:12]}.partial").write_bytes(whole[:1000])
    assert shelf.fetch(entry).read_bytes() == whole
    assert server.requests[-1].endswith("bytes=1000-")


@pytest.mark.parametrize("scheme", ["folder", "file"])
def test_a_folder_can_stand_for_the_server(entry: Entry, server: Server, tmp_path: Path, scheme: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / f".{entry.file}.{entry.sha256[:12]}.partial").write_bytes(b"x" * 10)  # of something else
    source = str(server.folder) if scheme == "folder" else server.folder.as_uri()
    if scheme == "folder":  # goes on behind what was there, and finds that it doesn't fit
        with pytest.raises(PlaceError, match="not the one published"):
            shelf.fetch(entry, source)
    assert shelf.fetch(entry, source).read_bytes() == (server.folder / entry.file).read_bytes()
    assert not server.requests


@pytest.mark.parametrize("damage", ["altered", "short", "long", "gone"])
def test_what_is_not_the_published_file_never_takes_its_name(
    entry: Entry, server: Server, tmp_path: Path, damage: str
) -> None:
    path = server.folder / entry.file
    content = path.read_bytes()
    changed = {"altered": content[:-1] + b"!", "short": content[:-9], "long": content + b"more"}
    path.unlink() if damage == "gone" else path.write_bytes(changed[damage])
    with pytest.raises(PlaceError, match=r"can't fetch grand_x2.*--from") as caught:
        shelf.fetch(entry)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "mine" / entry.file).exists()
    path.write_bytes(content)
    assert shelf.fetch(entry).read_bytes() == content


@pytest.mark.parametrize("source", ["ftp://somewhere", "http://127.0.0.1:9", "/no/such/folder"])
def test_a_source_that_can_not_be_is_told_in_one_line(entry: Entry, source: str) -> None:
    with pytest.raises(PlaceError) as caught:
        shelf.fetch(entry, source)
    assert "\n" not in str(caught.value)


def test_the_package_comes_before_what_was_fetched(entry: Entry, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "fast_x4.safetensors").write_bytes(b"something else")
    assert registry.locate("fast", 4) == registry.WEIGHTS / "fast_x4.safetensors"


def test_the_command_lists_and_fetches(
    entry: Entry, tmp_path: Path, capsys: pytest.CaptureFixture[str], server: Server
) -> None:
    cli(["models"], standalone_mode=False)
    assert "to fetch" in capsys.readouterr().out
    cli(["models", "fetch", "grand", "--from", str(server.folder)], standalone_mode=False)
    assert capsys.readouterr().out.strip() == str(tmp_path / "mine" / entry.file)
    cli(["models"], standalone_mode=False)
    assert "to fetch" not in capsys.readouterr().out
    cli(["models", "fetch", "fast"], standalone_mode=False)
    assert "in the package" in capsys.readouterr().out
    for wrong in (["grand", "--scale", "4"], ["grnd"]):
        with pytest.raises(ModelError, match="there is grand"):
            cli(["models", "fetch", *wrong], standalone_mode=False)


def test_all_weights_of_this_release_are_in_the_package_and_none_are_left_to_fetch() -> None:
    assert shelf.index() == ()
    assert {entry.name for entry in shelf.PACKAGED.glob("*.safetensors")} >= {"fast_x4.safetensors"}
