"""Typed configs of the commands, and how they are read from YAML files and flags."""

from smcd.config.customize import CustomizeConfig
from smcd.config.data import DataConfig, GligenConfig, ShowConfig, data_path
from smcd.config.evaluation import EvaluationConfig, EvaluationDataConfig
from smcd.config.loading import configured, did_you_mean, load, read_config
from smcd.config.model import ModelConfig, SamplingConfig, check_compile_mode
from smcd.config.options import check, flat
from smcd.config.prepare import MakeSpritesConfig, PrepareConfig
from smcd.config.scores import CompareConfig, ScoreConfig
from smcd.config.training import TrackerConfig, TrainConfig
from smcd.config.weights import ConvertConfig, ExportConfig

__all__ = [
    "CompareConfig",
    "ConvertConfig",
    "CustomizeConfig",
    "DataConfig",
    "EvaluationConfig",
    "EvaluationDataConfig",
    "ExportConfig",
    "GligenConfig",
    "MakeSpritesConfig",
    "ModelConfig",
    "PrepareConfig",
    "SamplingConfig",
    "ScoreConfig",
    "ShowConfig",
    "TrackerConfig",
    "TrainConfig",
    "check",
    "check_compile_mode",
    "configured",
    "data_path",
    "did_you_mean",
    "flat",
    "load",
    "read_config",
]
