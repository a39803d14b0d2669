"""Backbones: an input in, one vector of features per sample out."""
