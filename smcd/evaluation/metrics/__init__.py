"""What evaluation measures: grounding, Fréchet distance, similarities; trackers; manifests and reports.

`docs/evaluation.md` gives every formula and convention. Nothing in here knows the generator: it reads folders.
"""
