"""What drops synthetic images of poor quality: the built-in filters."""
