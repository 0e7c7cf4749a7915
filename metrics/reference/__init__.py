"""Quantus's own metrics as entries, `quantus_<name>`, so that any score can be held against the reference by name."""
