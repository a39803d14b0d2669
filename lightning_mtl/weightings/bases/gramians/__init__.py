"""Where the weightings on the Gramian of the task gradients take it from."""
