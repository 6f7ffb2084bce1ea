"""A trained model → files that other programs read."""
