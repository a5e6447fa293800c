"""Help under headings: what a newcomer needs stands first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click


class Grouped(click.Command):
    """A command whose options stand under headings in its help; those that no heading names, under the last."""

    def __init__(self, *args: Any, headings: Mapping[str, Sequence[str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.headings = headings

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each heading that has options."""
        options = [option for option in self.get_params(ctx) if isinstance(option, click.Option)]
        rows = {option.name: row for option in options if (row := option.get_help_record(ctx))}
        sections = {head: [rows.pop(name) for name in names if name in rows] for head, names in self.headings.items()}
        sections[list(sections)[-1]].extend(rows.values())
        for heading, section in sections.items():
            if section:
                with formatter.section(heading):
                    formatter.write_dl(section)
