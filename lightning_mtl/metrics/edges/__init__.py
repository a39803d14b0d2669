"""Metrics of edges: thinning, matching to the annotators, and the scores."""
