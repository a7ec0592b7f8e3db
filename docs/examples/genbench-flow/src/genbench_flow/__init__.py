"""A generator plugin for genbench: conditional flow matching."""
