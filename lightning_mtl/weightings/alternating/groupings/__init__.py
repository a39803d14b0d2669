"""How tasks are split into groups, and which groups step on a batch."""
