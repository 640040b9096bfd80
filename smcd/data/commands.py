"""What `smcd show` and `smcd make-sprites` run."""

from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from smcd.config import MakeSpritesConfig, ShowConfig
from smcd.data.build import build_data
from smcd.data.contact_sheet import contact_sheet
from smcd.runtime.files import new_file
from smcd.runtime.media import write_image
from smcd.sprites.layouts import make_world, write_gligen, write_got10k, write_youtube_vis


def show(config: ShowConfig) -> None:
    """Write a contact sheet of what training sees: frames, boxes with phrases, captions."""
    if config.train_data.latents:
        print("cached latents show no pictures: these are the frames that they are made of")
    mixture, order = build_data(replace(config.train_data, latents=None), config.seed)
    clips = [mixture.clip(order[position]) for position in range(config.clips)]
    for message in (message for clip in clips for message in clip.skipped):
        print(f"replaced a broken clip: {message}")
    with new_file(Path(config.out)) as temporary:
        write_image(temporary, contact_sheet(clips))
    print(f"wrote {config.out}: {len(clips)} of {len(mixture)} clips")


def make_sprites(config: MakeSpritesConfig) -> None:
    """Write the sprites world in the layout of a real dataset."""
    out, world = Path(config.out), make_world(config.world)
    indices = tqdm(range(config.clips), desc=f"{config.layout} {config.split}", unit="clip")
    if config.layout == "gligen":
        root = write_gligen(out, indices, config.seed, config.size, world)
    else:
        write = write_got10k if config.layout == "got10k" else write_youtube_vis
        root = write(out, indices, config.seed, config.frames, config.size, world, config.split)
    print(f"wrote {root}")
