"""What turns images and predictions into metrics: the built-in evaluators."""
