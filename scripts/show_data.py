#!/usr/bin/env python
"""A contact sheet of what training sees: frames, boxes with phrases, captions."""

from pathlib import Path

from smcd.config import ShowConfig, TrainConfig, check_choices
from smcd.runtime.command import configured
from smcd.runtime.errors import InputError


def main() -> None:
    with configured(ShowConfig, __doc__, other=TrainConfig) as config:
        check_choices(config)
        if Path(config.out).suffix not in (".png", ".jpg"):
            raise InputError(f"--out {config.out}: name a .png or .jpg")
        if config.train_data.latents:
            print("cached latents show no pictures: these are the frames that they are made of")
            config.train_data.latents = None
        from smcd.data.build import build_data
        from smcd.data.contact_sheet import contact_sheet
        from smcd.runtime.files import new_file
        from smcd.runtime.media import write_image

        mixture, order = build_data(config.train_data, config.seed)
        clips = [mixture.clip(order[position]) for position in range(max(1, config.clips))]
        for message in (message for clip in clips for message in clip.skipped):
            print(f"replaced a broken clip: {message}")
        out = Path(config.out)
        with new_file(out) as temporary:
            write_image(temporary, contact_sheet(clips))
        print(f"wrote {out}: {len(clips)} of {len(mixture)} clips")


if __name__ == "__main__":
    main()
