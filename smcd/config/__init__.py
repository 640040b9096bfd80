"""Typed configs of the commands, and how they are read from YAML files and flags."""

from smcd.config.customize import CustomizeConfig, SamplingConfig
from smcd.config.data import DataConfig, GligenConfig
from smcd.config.loading import add_flags, check_choices, load_config
from smcd.config.training import TrackerConfig, TrainConfig

__all__ = [
    "CustomizeConfig",
    "DataConfig",
    "GligenConfig",
    "SamplingConfig",
    "TrackerConfig",
    "TrainConfig",
    "add_flags",
    "check_choices",
    "load_config",
]
