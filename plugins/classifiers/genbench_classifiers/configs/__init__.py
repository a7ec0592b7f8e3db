"""The options of every component, one file each: imported without torch when a plan names them."""
