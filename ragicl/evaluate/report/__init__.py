"""An evaluation as a report: the recommendation, tables, plots, Markdown and a page."""
