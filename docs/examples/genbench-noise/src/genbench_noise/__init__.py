"""A generator plugin for genbench: class means with noise."""
