"""Evaluation: `generate` makes the videos of a dataset, `metrics` scores anyone's videos and writes reports."""
