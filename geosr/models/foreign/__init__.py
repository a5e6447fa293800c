"""Networks from elsewhere, in the kinds of files that they come in; none of them is ever executed as code."""

from __future__ import annotations

from geosr.models.foreign.network import Foreign, find, is_foreign

__all__ = ["Foreign", "find", "is_foreign"]
