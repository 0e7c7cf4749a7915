"""Fitting a network: images held in memory, augmentation, the loop."""
