"""Phantoms: rendered medical images whose evidence is known exactly. One file a modality."""
