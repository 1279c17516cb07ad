"""How far prompting a frozen model is from fine-tuning it."""
