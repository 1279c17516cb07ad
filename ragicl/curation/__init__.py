"""Finding label errors and near duplicates in an index, and choosing which texts to label first.

Nothing is changed here: findings go to a file, are corrected there, and are applied to the index by
:func:`ragicl.index.corrections.correct`.
"""
