"""Places: where the task gradients of a window are measured, and what that costs."""
