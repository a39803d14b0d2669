"""Mixtures of experts: networks for features, from which each task mixes what it needs."""
