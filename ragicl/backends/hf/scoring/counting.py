"""How far one call of scoring is, for those who wait for it."""

from __future__ import annotations

from ragicl.protocols import Progress

WHAT = "reading labels"


class Count:
    """A growing count that is reported; of nothing, nothing is.

    :param total: what may have to be read: likelihoods that cannot matter are left out
    """

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0
        self._report()

    def __call__(self, number: int) -> None:
        """Report that so much more was read."""
        self._done += number
        self._report()

    def end(self) -> None:
        """Report that nothing is left to read."""
        self._done = self._total
        self._report()

    def _report(self) -> None:
        if self._total:
            self._progress(WHAT, self._done, self._total)
