"""What may be wrong with an index's examples: labels, copies, confusions, labels seen too rarely.

Nothing is changed: what is found goes to a file, is corrected there, and comes back by
:func:`ragicl.correct.correct`.
"""

from ragicl.audit.records import Audit, Conflict, Confusion, Copies, Finding
from ragicl.audit.run import audit

__all__ = ["Audit", "Conflict", "Confusion", "Copies", "Finding", "audit"]
