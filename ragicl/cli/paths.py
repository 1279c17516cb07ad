"""Paths on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ragicl.atomic import unnameable
from ragicl.errors import quoted


class PathType(click.Path):
    """A path that a file can have, and is not empty: that would be the folder one is in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or refuse one that nothing can be written to after all the work."""
        if not str(value).strip():
            self.fail("the path is empty", param, ctx)
        if why := unnameable(Path(str(value))):
            self.fail(f"the path {quoted(str(value))} {why}", param, ctx)
        return super().convert(value, param, ctx)


PATH = PathType(path_type=Path)
