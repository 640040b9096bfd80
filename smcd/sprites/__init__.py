"""Sprites models, the built-in one above all: how well they do on held-out scenes, and what is particular to them."""
