"""Tests of the documentation site and of what builds it."""
