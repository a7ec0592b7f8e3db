"""What makes synthetic images: the built-in generators."""
