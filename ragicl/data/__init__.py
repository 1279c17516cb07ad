"""Rows in: files, data sets and standard input, as checked examples."""
