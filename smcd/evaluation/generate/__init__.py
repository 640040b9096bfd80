"""Videos of a whole dataset, shared between processes, and their report: the logic of `inference_eval.py`."""

from smcd.evaluation.generate.dataset_videos import run_evaluation

__all__ = ["run_evaluation"]
