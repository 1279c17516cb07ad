"""What may be wrong with an index's examples, and which unlabelled texts to label first.

Nothing is changed: what is found goes to a file, is corrected there, and comes back by
:func:`ragicl.index.corrections.correct`.
"""
