"""Typed configs of the commands, and how they are read from YAML files and flags."""

from smcd.config.benchmark import BenchmarkConfig
from smcd.config.customize import CustomizeConfig
from smcd.config.data import DataConfig, GligenConfig, ShowConfig
from smcd.config.evaluation import EvaluationConfig, EvaluationDataConfig
from smcd.config.loading import add_flags, check_choices, load_config
from smcd.config.model import ModelConfig, SamplingConfig, check_compile_mode, check_sampling, check_scale
from smcd.config.prepare import PrepareConfig
from smcd.config.training import TrackerConfig, TrainConfig

__all__ = [
    "BenchmarkConfig",
    "CustomizeConfig",
    "DataConfig",
    "EvaluationConfig",
    "EvaluationDataConfig",
    "GligenConfig",
    "ModelConfig",
    "PrepareConfig",
    "SamplingConfig",
    "ShowConfig",
    "TrackerConfig",
    "TrainConfig",
    "add_flags",
    "check_choices",
    "check_compile_mode",
    "check_sampling",
    "check_scale",
    "load_config",
]
