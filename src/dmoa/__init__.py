"""Distributed mixture-of-agents: many small language models, one better answer."""
