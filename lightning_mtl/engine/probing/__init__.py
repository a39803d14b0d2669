"""The Gramian of the task gradients, estimated from losses at randomly moved parameters."""
