"""Transforms that respect the geometry of what they transform."""
