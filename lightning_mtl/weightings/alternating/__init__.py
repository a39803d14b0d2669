"""Updates that groups of tasks take in turn."""
