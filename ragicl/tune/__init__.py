"""Choosing a policy by the index's own examples, each left out of its own search.

Candidates are judged by how well their blend predicts (see :mod:`ragicl.calibration.blend`), on few
examples first; the better half of them goes on to twice as many (successive halving, Jamieson and
Talwalkar 2016). What the language model said is kept in the index's folder, so that an
interrupted run, or a longer one, goes on from there.
"""

from ragicl.tune.candidates import CANDIDATES, Candidate
from ragicl.tune.search import tune

__all__ = ["CANDIDATES", "Candidate", "tune"]
