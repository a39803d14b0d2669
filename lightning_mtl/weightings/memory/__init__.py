"""What weightings remember from step to step, and save with checkpoints."""
