"""From records to statistics to the published table."""
