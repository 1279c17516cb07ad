"""How far the engine is from fine-tuning: distances, references, bounds, curves, reports."""
