"""Datasets: GOT-10k, YouTube-VIS, GLIGEN, your own videos, and the sprites world."""
