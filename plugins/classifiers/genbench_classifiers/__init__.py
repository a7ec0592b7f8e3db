"""Networks and their recipes: the built-in classifiers."""
