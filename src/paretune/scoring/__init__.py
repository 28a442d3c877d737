"""Texts become rewards: functions, models and callables that score, and a cache on disk."""
