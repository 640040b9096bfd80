"""A user's folder with an image and boxes becomes conditions, and the videos become files."""
