"""Realms: who belongs together, proven by certificates of the realm's own authority."""
