"""Scores of anyone's videos, and their reports; `docs/evaluation.md` gives every formula and convention.

What is measured: `manifest` (which clips), `videos` and `truth` (reading their frames). How: `similarity` (CLIP, DINO,
PSNR, SSIM), `frechet` (FVD), `scoring` (one video with every model), `baselines`, and `smcd.tracking`. What comes out:
`evaluate` (a whole folder), `columns` and `summary` (the table), `report`, `compare`, and their `pages` and `pictures`.
Nothing in here knows the generator: it reads folders.
"""
