"""What is measured: distances, scores of labels and texts, intervals, a fitted law."""
