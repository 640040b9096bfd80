"""Datasets: the sprites world, and (to come) GOT-10k, YouTube-VIS, GLIGEN and a user's own videos."""
