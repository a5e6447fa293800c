"""The command line: it parses, calls and prints; the library computes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from geosr import __version__
from geosr.cli.streams import leave_tiles_behind, mute, prepare_streams
from geosr.errors import GeosrError

INTERRUPTED = 130


class _Lazy(click.Group):
    """Commands are imported when they are run, so that `--help` doesn't wait for torch and GDAL."""

    commands_in = {  # noqa: RUF012
        "upscale": "geosr.cli.upscale",
        "info": "geosr.cli.info",
        "serve": "geosr.cli.serve",
        "report": "geosr.cli.report",
        "evaluate": "geosr.cli.evaluate",
        "validate": "geosr.cli.validate",
        "models": "geosr.cli.models",
        "train": "geosr.cli.train",
        "adapt": "geosr.cli.adapt",
        "export": "geosr.cli.export",
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order a newcomer needs them."""
        return list(self.commands_in)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, None where there is none."""
        from importlib import import_module

        if cmd_name not in self.commands_in:
            return None
        command = import_module(self.commands_in[cmd_name]).command
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Lazy, context_settings={"auto_envvar_prefix": "GEOSR", "help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="geosr")
def cli() -> None:
    """Super-resolution for satellite rasters.

    The same pixels whatever the tiling, exact geometry and radiometry, bounded memory, resumable.

    Every option can also be set by an environment variable, such as GEOSR_UPSCALE_WORKERS.

    Exit codes: 0 done, 1 the place failed (disk, network, memory, a tile) or a result its test, 2 the input or an
    option is at fault, 3 some of several scenes failed, 130 interrupted.
    """


def main() -> None:
    """Run the command line."""
    prepare_streams()
    sys.exit(outcome(lambda: cli(standalone_mode=False)))


def outcome(work: Callable[[], Any]) -> int:
    """The exit code of a command, which it returns or fails with; every foreseen failure is one line on stderr."""
    try:
        code = work()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        print(f"geosr: {_in_a_line(error)}", file=sys.stderr)
        return error.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt) as error:  # click makes the one of the other
        told = str(error.__cause__ or error)
        print(f"geosr: interrupted{'; ' + told if told else ''}", file=sys.stderr)
        leave_tiles_behind(INTERRUPTED)
        return INTERRUPTED
    except GeosrError as error:
        print(f"geosr: {error}", file=sys.stderr)
        return error.exit_code
    except MemoryError:
        print("geosr: out of memory; use a smaller --tile or fewer --workers", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of our stdout has gone, as in `geosr models | head`: not a failure, and nothing more to say.
        mute(sys.stdout)
        return 0
    except OSError as error:  # of the help that click prints
        mute(sys.stdout)
        print(f"geosr: {error.strerror or error}", file=sys.stderr)
        return 1
    return code if isinstance(code, int) else 0


def _in_a_line(error: click.ClickException) -> str:
    """The words of click on arguments in one line, as all failures are, and the help that tells of them."""
    said, ctx = " ".join(error.format_message().split()).rstrip("."), getattr(error, "ctx", None)
    return f"{said} ({ctx.command_path} --help)" if ctx else said
