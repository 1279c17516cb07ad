"""The commands of :mod:`ragicl.cli.main`, by what they are for.

Heavy modules are imported inside them, so that help is instant.
"""
