"""Replies to numbers: the frozen box, the shared resamples, methods measured with intervals."""
