"""Explainers attribute a decision to the pixels. One file a family."""
