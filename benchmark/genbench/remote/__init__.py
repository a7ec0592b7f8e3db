"""A store in a bucket: objects on a server, leases by conditional writes, a folder as cache."""
