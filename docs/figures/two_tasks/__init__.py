"""Two conflicting tasks on two parameters: what every weighting does to one landscape."""
