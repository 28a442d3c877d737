"""The command line: one file a verb, nothing heavy imported before the verb is known."""
