"""Where a prediction's time goes."""
