"""The nouns of paretune: frozen dataclasses on numpy, no file, no model."""
