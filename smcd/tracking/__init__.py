"""Where the objects of a video are (`box_trackers`, `color`), and how well they follow their boxes (`grounding`)."""
