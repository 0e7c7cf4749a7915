"""Metrics score explanations, one number a sample. One file a metric or a small family of one."""
