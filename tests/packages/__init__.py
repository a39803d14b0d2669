"""Modules of other packages, each balanced by at most three changed lines."""
