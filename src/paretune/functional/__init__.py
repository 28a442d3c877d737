"""Pure maths on numpy and torch: arrays in, arrays out, no file, no model, no printing."""
