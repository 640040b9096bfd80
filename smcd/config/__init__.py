"""Typed configs of the commands, and how they are read from YAML files and flags."""

# ruff: noqa: F401 (these are the names that others import)
from smcd.config.customize import CustomizeConfig
from smcd.config.data import DataConfig, GligenConfig, data_path
from smcd.config.editor import EditConfig, TrackConfig
from smcd.config.evaluation import EvaluationConfig, EvaluationDataConfig
from smcd.config.loading import configured, did_you_mean, load, read_config, yaml_text
from smcd.config.model import ModelConfig, SamplingConfig
from smcd.config.options import check, flat
from smcd.config.prepare import MakeSpritesConfig, PrepareConfig
from smcd.config.scores import CompareConfig, ScoreConfig
from smcd.config.training import (
    LoopOptions,
    ModelOptions,
    OptimizerOptions,
    ShowConfig,
    StageOptions,
    StartOptions,
    TrackerConfig,
    TrainConfig,
    ValidationOptions,
)
from smcd.config.weights import ConvertConfig, ExportConfig
