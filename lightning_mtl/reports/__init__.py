"""Callbacks that show what a network has learned: pictures, tables and files."""
