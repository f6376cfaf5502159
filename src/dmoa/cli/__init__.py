"""The `dmoa` command."""
