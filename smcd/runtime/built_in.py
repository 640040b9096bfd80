"""Models that come with smcd: `SMCDPipeline.from_pretrained("sprites")`."""

from pathlib import Path

SPRITES = "sprites"
TINY = "tiny"  # an untrained network, to see that everything of a training is in place
BUILT_IN = {SPRITES: Path(__file__).parents[1] / "sprites" / "weights"}  # ./sprites is a folder of your own
