"""Results to what a person reads: tables, figures and one self-contained page."""
