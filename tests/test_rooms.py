"""The house keeps its order: rooms import only from rooms above, and each heavy library has one place."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "geosr"

ROOMS = [
    "errors", "schema", "keywords", "window", "placement", "tiling", "radiometry", "picture", "response",
    "sensor_table", "blocks", "noise", "sensors", "identify", "mtf", "registration", "upscaler", "guided", "frames",
    "pipeline", "io", "models", "evaluation", "products", "observing", "fusing", "guiding", "sharpening", "training",
    "dispatch", "cluster", "provenance", "run", "video", "api", "sequence", "archive", "judging", "trials", "comparing",
    "viewer", "xarray", "report", "cli",
]  # fmt: skip
"""From the foundation up: a room imports only from those before it."""

STRANGERS = {("models", "io"), ("io", "models")}
"""Neighbours that don't know each other."""

PLACES = {
    "rasterio": {"io", "cli/rio.py"},
    "torch": {"models", "training", "evaluation"},
    "numcodecs": {"io"},
    "fsspec": {"io"},
    "zarr": {"io"},
    "xarray": {"xarray"},
    "anywidget": {"xarray"},
    "dask": {"xarray"},
    "distributed": {"dispatch", "xarray", "cluster"},
    "click": {"cli"},
    "rich": {"cli"},
    "pydantic": {"schema"},
    "pystac": {"products"},
    "av": {"video"},
}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room != "__init__":
            yield room, path


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_file_belongs_to_a_known_room() -> None:
    assert {room for room, _ in modules()} <= set(ROOMS)


@pytest.mark.parametrize(
    ("room", "path"), [pytest.param(*item, id=str(item[1].relative_to(PACKAGE))) for item in modules()]
)
def test_a_room_imports_only_from_rooms_above_it(room: str, path: Path) -> None:
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "geosr" and len(parts) > 1 and parts[1] in ROOMS and parts[1] != room:
            assert ROOMS.index(parts[1]) < ROOMS.index(room), f"{room} imports {name}"
            assert (room, parts[1]) not in STRANGERS, f"{room} imports {name}"


@pytest.mark.parametrize(
    ("room", "path"), [pytest.param(*item, id=str(item[1].relative_to(PACKAGE))) for item in modules()]
)
def test_a_heavy_library_has_one_place(room: str, path: Path) -> None:
    for name in imports(path):
        places = PLACES.get(name.split(".")[0], {room})
        assert {room, path.relative_to(PACKAGE).as_posix()} & places, f"{path.name} imports {name}"


def test_help_neither_imports_torch_nor_opens_gdal() -> None:
    code = (
        "import sys; from geosr.cli import cli; cli(['--help'], standalone_mode=False); "
        "sys.exit(bool({'torch', 'rasterio', 'scipy', 'xarray', 'dask'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "upscale" in done.stdout


FILES = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}


def for_types_only(tree: ast.AST) -> set[ast.AST]:
    """What is imported for annotations alone, and never when a file runs."""
    blocks = (node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    return {inner for block in blocks for line in block.body for inner in ast.walk(line)}


def files_imported(path: Path) -> set[str]:
    """The package's files that one imports, in functions too."""
    tree = ast.parse(path.read_text())
    found = set()
    for node in set(ast.walk(tree)) - for_types_only(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & FILES.keys()) or {node.module}
    known = {name if name in FILES else f"{name}.__init__" for name in found}
    return known & FILES.keys()


def test_no_files_import_each_other_in_a_circle() -> None:
    left = {name: files_imported(path) - {name} for name, path in FILES.items()}
    size = 0
    while len(left) != size:
        size, wanted = len(left), set().union(*left.values())
        left = {name: needs & left.keys() for name, needs in left.items() if needs & left.keys() and name in wanted}
    assert left == {}


def test_a_file_has_at_most_350_lines() -> None:
    assert [path.name for path in FILES.values() if path.read_text().count("\n") > 350] == []


def test_a_function_has_at_most_50_lines_behind_its_signature_and_documentation() -> None:
    for path in FILES.values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
                assert (node.end_lineno or 0) - first.lineno < 50, f"{path.name}: {node.name}"


def test_a_docstring_begins_with_the_noun_that_comes_back_and_no_function_with_a_public_name_lacks_one() -> None:
    for path in FILES.values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                first = (ast.get_docstring(node) or "").partition(" ")[0]
                assert first not in ("What", "Whether", "How"), f"{path.name}: {node.name}"
                hidden = node.name.startswith("_") or "overload" in map(ast.unparse, node.decorator_list)
                assert first or hidden, f"{path.name}: {node.name}"
