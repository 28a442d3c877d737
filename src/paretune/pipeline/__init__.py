"""A whole run: configuration, run folder, stages, and the one file that knows their order."""
