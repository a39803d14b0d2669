"""Every weighting against everything that it promises to be equal to."""
