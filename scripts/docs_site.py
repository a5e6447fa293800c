"""What mkdocs is told beside mkdocs.yml: files of the site that lie outside of docs/.

A link in docs/ that leads out of it (`../MODELS.md`, `../examples/slurm.py`) works in the repository as it stands; the
site has these files under the same names, and is never a second copy of what they say.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
BESIDE = ("MODELS.md", "BENCHMARKS.md", "CHANGELOG.md", "examples/*.py")
"""Files outside of docs/ that are part of the site."""

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The site's files with those beside docs/."""
    from mkdocs.structure.files import File

    for path in (each for pattern in BESIDE for each in sorted(ROOT.glob(pattern))):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A page whose links out of docs/ lead to where the site has these files."""
    return markdown.replace("](../", "](")
