"""Fine-tuning of the references that an evaluation compares with."""
