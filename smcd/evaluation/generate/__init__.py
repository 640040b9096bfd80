"""Videos of a whole dataset, shared between processes, and their report: the logic of `inference_eval.py`.

`run` starts the command, `dataset_clips` chooses the clips, `sampling` makes the videos, and `clip_folders` holds what
is done and what is not.
"""

from smcd.evaluation.generate.run import run_evaluation

__all__ = ["run_evaluation"]
