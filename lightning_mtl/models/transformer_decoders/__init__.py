"""Networks whose decoder is a transformer on the tokens of all tasks."""
