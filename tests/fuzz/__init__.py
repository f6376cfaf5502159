"""Fuzz: every border at which bytes come in that somebody else wrote."""
