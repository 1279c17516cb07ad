"""The references: baselines, linear classifiers, fine-tuned models, and their table."""
