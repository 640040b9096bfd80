"""Where the objects of a video are, and how well they follow their boxes.

`box_trackers` follows any object from its first box (CSRT, SAM 2), `color` finds the sprites by their colors, and
`grounding` scores boxes against boxes (AO, SR, track IoU).
"""
