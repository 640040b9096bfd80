"""Datasets: GOT-10k, YouTube-VIS, GLIGEN, a user's own videos, and the sprites world."""
