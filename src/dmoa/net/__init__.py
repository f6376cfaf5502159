"""Ways to the peers: adapters for the Network port."""
