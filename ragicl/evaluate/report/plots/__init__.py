"""The plots of a report, as SVG. The only home of matplotlib; nothing here touches pyplot."""

from ragicl.errors import MissingExtraError

try:
    import matplotlib  # noqa: F401 (asked for here, so that the error is the same wherever it is missed)
except ImportError as error:
    raise MissingExtraError(
        "plotting a report needs matplotlib; install it with: pip install 'ragicl[eval]'"
    ) from error

from ragicl.evaluate.report.plots.curves import plot_curves
from ragicl.evaluate.report.plots.distances import plot_distances
from ragicl.evaluate.report.plots.reliability import calibrated, plot_reliability
from ragicl.evaluate.report.plots.scatter import plot_scores

__all__ = ["calibrated", "plot_curves", "plot_distances", "plot_reliability", "plot_scores"]
