"""Options as users meet them in an editor: spelled out, documented, and named when they are misspelt."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from inspect import Parameter, cleandoc, signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from mypy import api as mypy

import geosr
from geosr.errors import InputError
from geosr.keywords import OF_ONE, handed_on, keywords
from geosr.xarray.accessor import DataArrayGeosr, DatasetGeosr
from geosr.xarray.scenes import recipe_of
from tests import scenes

FILES = [geosr.upscale, geosr.upscale_many, geosr.prepare]
ARRAYS = [DataArrayGeosr.upscale, DataArrayGeosr.plan, DatasetGeosr.upscale]


def named(function: Callable[..., Any]) -> str:
    return function.__qualname__


def spelled(function: Callable[..., Any]) -> dict[str, Parameter]:
    return {name: one for name, one in signature(function).parameters.items() if one.kind is Parameter.KEYWORD_ONLY}


def of_scenes(options: dict[str, Parameter], function: Callable[..., Any]) -> dict[str, Parameter]:
    """Options without those of several files where a function is not one of a single scene."""
    single = function in (geosr.upscale, geosr.prepare, DataArrayGeosr.upscale)
    return {name: one for name, one in options.items() if single or name not in OF_ONE}


@pytest.mark.parametrize("function", FILES, ids=named)
def test_options_of_files_are_spelled_out_alike(function: Callable[..., Any]) -> None:
    options = spelled(geosr.prepare)
    assert {name: one for name, one in spelled(function).items() if name in options} == of_scenes(options, function)
    assert "options" not in signature(function).parameters
    assert set(spelled(function)) - set(options) <= {"window", "progress", "told", "scheduler", "client"}


@pytest.mark.parametrize("function", ARRAYS, ids=named)
def test_options_of_arrays_are_spelled_out_alike_and_are_those_of_files(function: Callable[..., Any]) -> None:
    assert spelled(function) == of_scenes(spelled(DataArrayGeosr.upscale), function)
    assert {"model", "scale", "guide", "fuse", "reference", *spelled(function)} == set(spelled(recipe_of))
    assert set(spelled(function)) <= set(spelled(geosr.prepare))


@pytest.mark.parametrize("function", [*FILES, *ARRAYS], ids=named)
def test_help_documents_each_option(function: Callable[..., Any]) -> None:
    section = cleandoc(function.__doc__ or "").partition("Parameters\n----------\n")[2].partition("\n\n")[0]
    lines = re.findall(r"^\w+(?:, \w+)*(?=\n {4}\S)", section, re.MULTILINE)
    told = [name for line in lines for name in line.split(", ")]
    assert sorted(told) == sorted(set(signature(function).parameters) - {"self"})


@pytest.mark.parametrize("function", FILES, ids=named)
def test_a_misspelt_keyword_names_the_function_and_the_option_that_is_meant(
    function: Callable[..., Any], tmp_path: Path
) -> None:
    message = rf"^{function.__name__}\(\) got an unexpected keyword argument 'modle'; did you mean 'model'\?$"
    with pytest.raises(TypeError, match=message):
        function("scene.tif", tmp_path / "out", modle="fast")
    with pytest.raises(TypeError, match=rf"^{function.__name__}\(\) .* 'colour'; it takes .*, scale, bands, "):
        function("scene.tif", tmp_path / "out", colour="red")
    assert not list(tmp_path.iterdir())


def test_a_misspelt_keyword_of_an_array_is_named_too() -> None:
    array = xr.DataArray(np.zeros((8, 8), "uint8"), dims=("y", "x"))
    for front, function in ((array, "upscale"), (array, "plan"), (array.to_dataset(name="a"), "upscale")):
        with pytest.raises(TypeError, match=rf"^{function}\(\) .* 'precison'; did you mean 'precision'\?$"):
            getattr(front.geosr, function)("bicubic", precison="float32")


def test_what_a_text_says_of_a_parameter_stands_before_what_another_says() -> None:
    def one(a: int, *, b: int = 0, c: int = 0, d: int = 0) -> None:
        """The one.

        Parameters
        ----------
        a
            First of one.
        b, c
            Others of one.

        Raises
        ------
        ValueError
            Never.
        """

    @keywords(like=one)
    def two(a: int, *, b: int = 0, c: int = 0) -> dict[str, Any]:
        """The other.

        Parameters
        ----------
        a
            First of two.

        Raises
        ------
        KeyError
            Never.
        """
        return handed_on(one, {**locals(), "d": 4})

    assert two.__doc__ == (
        "The other.\n\nParameters\n----------\na\n    First of two.\nb, c\n    Others of one.\n\n"
        "Raises\n------\nKeyError\n    Never."
    )
    assert two(1, b=2) == {"b": 2, "c": 0, "d": 4}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path, array: geosr.upscale(path, model=5), "model 5: expected a name or the path of a network"),
        (lambda path, array: geosr.upscale(path, device=0, scale=2), "device 0 is none that geosr knows; choose auto"),
        (lambda path, array: array.geosr.upscale(["fast"]), r"model \['fast'\]: expected a name"),
        (lambda path, array: array.geosr.upscale("bicubic", tile=0), "tile 0: expected a whole number above 0"),
        (lambda path, array: array.geosr.plan("bicubic", tile="auto"), "tile 'auto': expected a whole number above 0"),
        (lambda path, array: geosr.evaluate(path, lr=path, tile="x"), "tile 'x': expected a whole number above 0"),
        (lambda path, array: geosr.evaluate(path, lr=path, workers=0), "workers 0: expected a whole number above 0"),
        (lambda path, array: geosr.compare(path, protocol="wild"), "protocol 'wild': expected one of wald, native, "),
        (lambda path, array: geosr.compare(path, protocol="wald", against="fast"), "fast has no opponent"),
    ],
)
def test_a_value_of_another_kind_is_refused_at_once_by_its_name(
    call: Callable[[Path, xr.DataArray], Any], message: str, tmp_path: Path
) -> None:
    path = scenes.make_plain(tmp_path)
    with pytest.raises(InputError, match=message):
        call(path, xr.DataArray(np.zeros((8, 8), "uint8"), dims=("y", "x")))
    assert list(tmp_path.iterdir()) == [path]


def test_what_geosr_offers_is_listed_before_it_is_loaded() -> None:
    code = "import geosr, sys; print(*dir(geosr)); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(geosr.__all__) <= set(done.stdout.split())
    assert all(getattr(geosr, name) is not None for name in geosr.__all__)
    with pytest.raises(AttributeError, match="upscael"):
        geosr.upscael  # type: ignore[attr-defined]  # noqa: B018


SCRIPT = """\
import geosr

geosr.upscale("a.tif", modle="fast")
geosr.upscale_many(["a.tif"], "out", scal=2)
geosr.prepare("a.tif", workers="two")
report: geosr.Report = geosr.upscale("a.tif", scale=2)
path: str = report["path"]
report["megapixel_per_second"]
"""


CONFIG = """\
[mypy]
strict = true
[mypy-geosr.*]
follow_imports = silent
[mypy-torch.*,numpy.*,xarray.*,rich.*,click.*]
follow_imports = skip
"""
"""What these libraries are typed as takes long to read, and nothing of it is asked."""


@pytest.mark.slow
def test_mypy_finds_what_is_misspelt_in_a_script(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    config = tmp_path / "mypy.ini"
    config.write_text(CONFIG)
    out, err, code = mypy.run([str(script), "--config-file", str(config), "--cache-dir", str(tmp_path / "cache")])
    errors = dict(re.findall(r"script\.py:(\d+): error: (.*)", out))
    assert (code, err) == (1, "")
    assert sorted(errors) == ["3", "4", "5", "8"]
    assert 'Unexpected keyword argument "modle" for "upscale"; did you mean "model"' in errors["3"]
    assert 'for "upscale_many"; did you mean "scale"' in errors["4"]
    assert 'Argument "workers" to "prepare"' in errors["5"]
