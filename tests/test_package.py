"""What is shipped: a wheel and a source archive that hold all that is needed."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from itertools import chain
from pathlib import Path

import pytest
import rasterio
from packaging.requirements import Requirement
from packaging.version import Version

from geosr.models import registry

ROOT = Path(__file__).resolve().parents[1]


def test_the_lowest_versions_that_are_declared_are_those_that_are_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"].values()
    wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"], *chain(*extras)]
    lines = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    pinned = [Requirement(line) for line in lines if not line.startswith("#")]
    tested = {each.name: Version(spec.version) for each in pinned for spec in each.specifier}
    declared = {(each.name, Version(spec.version)) for each in map(Requirement, wanted) for spec in each.specifier
                if spec.operator == ">="}  # fmt: skip
    assert {name for name, _ in declared} >= {"numpy", "rasterio", "xarray", "s3fs", "hatchling"}
    assert [(name, low) for name, low in sorted(declared) if tested[name] != low] == [("torch", Version("2.4"))]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", str(folder)], cwd=ROOT, check=True)
    return folder


def test_the_wheel_alone_upscales_a_scene_with_its_weights(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    installed = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
        names = archive.namelist()
    assert {f"geosr/models/weights/{path.name}" for path in registry.WEIGHTS.glob("*.safetensors")} <= set(names)
    pages = {f"geosr/{path.relative_to(ROOT / 'geosr').as_posix()}" for path in (ROOT / "geosr").glob("*/*.[hcj][ts]*")}
    assert {"geosr/viewer/page.html", "geosr/viewer/swipe.js", "geosr/report/report.css"} <= pages <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "cli.py"))]
    code = (
        f"import sys; sys.path.insert(0, {str(installed)!r}); import geosr; "
        f"assert geosr.__file__.startswith({str(installed)!r}), geosr.__file__; from geosr.cli import main; main()"
    )
    result = tmp_path / "out.tif"
    scene = str(ROOT / "examples" / "scene.tif")
    part = "--bounds=740000,-2815000,741500,-2813500"
    command = [sys.executable, "-c", code, "upscale", scene, str(result), part]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with rasterio.open(result) as dataset:
        assert dataset.tags()["GEOSR_MODEL"] == "fast"
        assert dataset.res == (7.5, 7.5)


def test_the_source_archive_holds_code_tests_recipes_and_weights(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "geosr/api.py",
        "tests/test_api.py",
        "constraints.txt",
        "README.md",
        "LICENSE",
        "examples/scene.tif",
        "docs/index.md",
        "mkdocs.yml",
    } <= names
    assert any(name.endswith("fast_x4.safetensors") for name in names)
    assert any(name.startswith("recipes/") for name in names)


def test_arrays_without_their_libraries_say_what_to_install() -> None:
    code = "import sys; sys.modules[{!r}] = None; import geosr; geosr.open_raster"
    for library in ("dask", "xarray"):
        done = subprocess.run([sys.executable, "-c", code.format(library)], capture_output=True, text=True, check=False)
        assert done.stderr.splitlines()[-1].endswith(f"arrays need {library}; pip install 'geosr[xarray]'"), library


def test_the_launcher_of_a_checkout_is_the_same_program() -> None:
    done = subprocess.run([sys.executable, "cli.py", "--version"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("geosr, version")
