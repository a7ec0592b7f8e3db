"""Real images: the built-in datasets."""
