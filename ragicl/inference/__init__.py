"""From a query to a prediction."""
