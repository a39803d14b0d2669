"""The sketch: projected weight gradients, whose inner products estimate those of the gradients."""
