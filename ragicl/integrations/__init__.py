"""ragicl inside other tools."""
