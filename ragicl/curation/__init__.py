"""What may be wrong with an index's examples: labels, copies, confusions, labels seen too rarely.

Nothing is changed: what is found goes to a file, is corrected there, and comes back by
:func:`ragicl.index.corrections.correct`.
"""

from ragicl.curation.audit import audit
from ragicl.curation.findings import Audit, Conflict, Confusion, Copies, Finding

__all__ = ["Audit", "Conflict", "Confusion", "Copies", "Finding", "audit"]
