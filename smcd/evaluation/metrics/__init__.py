"""Scores of anyone's videos, and their reports; `docs/evaluation.md` gives every formula and convention.

`evaluate` scores a folder, whoever made its videos: `videos`, `manifest` and `truth` read, `scoring` measures.
"""
