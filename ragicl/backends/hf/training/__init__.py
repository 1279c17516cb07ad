"""Fine-tuning of the references that an evaluation compares with."""

from ragicl.errors import require

require("eval", "measuring against trained references", "accelerate", "datasets")
