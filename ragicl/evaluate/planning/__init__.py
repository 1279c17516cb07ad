"""How many examples an error asks for: bounds, and curves that were measured."""
