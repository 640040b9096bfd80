"""Which clip comes when: each once per epoch, in the same order for any number of workers and processes."""

import logging
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from multiprocessing import active_children
from multiprocessing.util import Finalize
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from smcd.data.clips import Batch, Clip, ClipSource, collate
from smcd.runtime.errors import InputError

logger = logging.getLogger(__name__)

_REPLACEMENTS = 20  # broken clips in a row before a run gives up


class Pick(NamedTuple):
    """A clip of a dataset, and the pass through that dataset, from which its random choices follow."""

    dataset: int
    clip: int
    round: int


class ClipOrder:
    """The clip at each position of training, without end.

    Without weights an epoch visits every clip of every dataset once, shuffled by (seed, epoch). With weights an epoch
    is as long, and the datasets have these shares of it; each is still gone through whole before it starts anew.
    `lengths` are the clips of each dataset. Raises an InputError for no clips, or weights that are no shares.
    """

    def __init__(self, lengths: Sequence[int], seed: int, weights: Sequence[float] | None = None):
        if not lengths or min(lengths) < 1:
            raise InputError("a dataset has no clips")
        shares = np.asarray(lengths if weights is None else weights, dtype=float)
        if len(shares) != len(lengths) or not np.isfinite(shares).all() or shares.min() <= 0:
            raise InputError(f"weights are {list(weights or [])}: give {len(lengths)} numbers above 0, one per dataset")
        self.lengths, self.seed, self.epoch_length = list(lengths), seed, sum(lengths)
        self._counts = _shares(shares / shares.sum(), self.epoch_length)
        self._epoch = -1
        self._picks = np.empty((0, 3), dtype=np.int64)

    def __getitem__(self, position: int) -> Pick:
        epoch, place = divmod(position, self.epoch_length)
        if epoch != self._epoch:
            self._epoch, self._picks = epoch, self._make_epoch(epoch)
        return Pick(*self._picks[place].tolist())

    def _make_epoch(self, epoch: int) -> np.ndarray:
        """Picks of an epoch: E 3."""
        picks = []
        for dataset, (share, length) in enumerate(zip(self._counts, self.lengths, strict=True)):
            visits = np.arange(epoch * share, (epoch + 1) * share)  # this dataset's since the start of training
            rounds = visits // length
            indices = np.empty(share, dtype=np.int64)
            for round in np.unique(rounds):
                order = np.random.default_rng((self.seed, dataset, round)).permutation(length)
                indices[rounds == round] = order[visits[rounds == round] % length]
            picks.append(np.stack([np.full(share, dataset), indices, rounds], axis=1))
        return np.random.default_rng((self.seed, epoch)).permutation(np.concatenate(picks))


def _shares(shares: np.ndarray, total: int) -> np.ndarray:
    """`total` divided into whole numbers in proportion to `shares`, the largest remainders rounded up."""
    exact = shares * total
    counts = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: total - counts.sum()]] += 1
    return counts


@dataclass(eq=False)
class Mixture(Dataset):
    """Clips of several datasets by `Pick`; an item is a clip, or the InputError of one that is broken.

    A clip's random choices (start, crop) follow from the seed and the pick. With `on_error` "skip" a broken clip is
    replaced by another one of its dataset, which tells of it.
    """

    sources: Sequence[ClipSource]
    seed: int
    on_error: str = "error"

    @property
    def lengths(self) -> list[int]:
        return [len(source) for source in self.sources]

    def __len__(self) -> int:
        return sum(self.lengths)

    def __getitem__(self, pick: Pick) -> Clip | InputError:
        try:
            return self.clip(pick)
        except InputError as error:
            return error  # if a worker raised it, torch would wrap it into a page of traceback

    def clip(self, pick: Pick) -> Clip:
        """A clip, or with on_error "skip" what came in its place. Raises an InputError for a broken one."""
        source, index = self.sources[pick.dataset], pick.clip
        skipped: list[str] = []
        rng = np.random.default_rng((self.seed, *pick))
        for _ in range(_REPLACEMENTS):
            try:
                return replace(source.clip(index, rng), skipped=tuple(skipped))
            except InputError as error:
                if self.on_error != "skip":
                    raise InputError(f"{error} (or train without it: train_data.on_error=skip)") from None
                skipped.append(str(error))
                index = int(rng.integers(len(source)))
        raise InputError(f"{source.name}: {_REPLACEMENTS} clips in a row are broken, the last: {skipped[-1]}")


@dataclass(eq=False)
class ClipLoader:
    """Batches of one process, without end, from any place in the order.

    Position p of the order is row p % (batch_size * num_processes) of its batch over all processes: what is trained on
    does not depend on the number of processes or workers. `batch_size` counts the clips of each process.
    """

    mixture: Mixture
    order: ClipOrder
    batch_size: int
    num_workers: int = 0
    process_index: int = 0
    num_processes: int = 1
    skipped: int = 0  # broken clips that were replaced so far
    lost_worker: bool = False  # whether a process that reads was killed

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """Batches from number `start` on; replaced clips are logged, others that are broken raise an InputError."""
        for batch in self._read(start):
            if isinstance(batch, InputError):
                raise batch
            for message in batch.skipped:
                self.skipped += 1
                logger.warning(f"replaced a broken clip: {message} ({self.skipped} broken clips so far)")
            yield batch

    def _read(self, start: int) -> Iterator[Batch | InputError]:
        """The same, with broken clips as errors. If a process that reads is killed, this one takes over."""
        loader: DataLoader = DataLoader(
            self.mixture,
            batch_sampler=self._picks(start),
            num_workers=0 if self.lost_worker else self.num_workers,
            collate_fn=_collate,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # separate: torch's global random state stays as it was
            worker_init_fn=_leave_signals,
        )
        others, handler = active_children(), signal.getsignal(signal.SIGCHLD)
        batches = iter(loader)
        signal.signal(signal.SIGCHLD, handler)  # torch's raises anywhere, in half a step too, when a worker is killed
        workers = [process for process in active_children() if process not in others]

        def end() -> None:
            for worker in workers:
                worker.kill()

        at_exit = Finalize(None, end, exitpriority=0)  # else Python waits for them, and they ignore its SIGTERM
        number = start
        try:
            while True:
                yield next(batches)
                number += 1
        except Exception:
            if all(worker.is_alive() for worker in workers):
                raise
            self.lost_worker = True
        finally:
            del batches
            at_exit()
        yield from self._read(number)

    def _picks(self, start: int) -> Iterator[list[Pick]]:
        """The picks of this process's batch number `start`, `start` + 1, ..."""
        for number in count(start):
            first = (number * self.num_processes + self.process_index) * self.batch_size
            yield [self.order[position] for position in range(first, first + self.batch_size)]


def _leave_signals(_: int) -> None:
    """Workers leave signals to the main process, which then ends them."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _collate(clips: list[Clip | InputError]) -> Batch | InputError:
    if broken := next((clip for clip in clips if isinstance(clip, InputError)), None):
        return broken
    try:
        return collate(clips)  # type: ignore[arg-type]
    except InputError as error:
        return error
