"""What geosr raises: one base, and a child only where a caller would act differently."""

from __future__ import annotations


class GeosrError(Exception):
    """Something geosr can't do, in one line: what, expected, found, the way out; and the command's exit code."""

    exit_code = 1


class InputError(GeosrError):
    """The input or an option is at fault: mend it and call again."""

    exit_code = 2


class PlaceError(GeosrError):
    """The place is at fault (disk, permission, network, memory): the same call may succeed elsewhere or later."""


class AloneError(InputError):
    """Nothing shows the same as the scene that it was to be fused with: the scene alone may do."""


class ModelError(InputError):
    """A model that is unknown, can't be read, or doesn't fit the scene."""


class TileError(GeosrError):
    """One tile failed; the run stops and can be resumed."""


class DamageError(TileError, InputError):
    """The input is there, and a part of it can't be read: the run stops, and nothing of it can be resumed."""


def one_line(error: object) -> str:
    """The kind and the words of somebody else's exception, in one line."""
    words = " ".join(str(error).split())[:200]
    return ": ".join(filter(None, (type(error).__name__ if isinstance(error, BaseException) else "", words)))
