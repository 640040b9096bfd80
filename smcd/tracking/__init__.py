"""Box trackers: by a video model, by OpenCV, by color."""
