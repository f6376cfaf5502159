"""Experiments: what a researcher measures, compares with the paper, and plots."""
