"""Tuning a policy on the index's own examples, each left out of its own search.

Candidates are judged by the loss of their blend (see :mod:`ragicl.calibration.blend`), on few
examples first; the better half of them continues with twice as many (successive halving, Jamieson
and Talwalkar 2016). The language model's log-probabilities are cached in the index's folder, so
that an interrupted run, or a longer one, continues from there.
"""

from ragicl.tune.candidates import CANDIDATES, Candidate
from ragicl.tune.search import tune

__all__ = ["CANDIDATES", "Candidate", "tune"]
