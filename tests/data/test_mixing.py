"""Every clip once per epoch, the same order everywhere, from any place; broken clips are replaced and told of."""

import itertools
import logging
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smcd.data.clips import Clip, collate
from smcd.data.mixing import ClipLoader, ClipOrder, Mixture
from smcd.runtime.errors import InputError


class Numbers:
    """A dataset whose clip n says n and a random number."""

    def __init__(self, name, length, broken=()):
        self.name, self.length, self.broken = name, length, broken

    def __len__(self):
        return self.length

    def clip(self, index, rng):
        if index in self.broken:
            raise InputError(f"{self.name}/{index}.jpg: broken")
        boxes = torch.full((1, 1, 4), float(rng.integers(1_000_000)))
        return Clip(f"{self.name}/{index}", "prompt", ["a"], boxes, torch.ones(1, 1), torch.zeros(1, 2, 2, 3))


lengths_strategy = st.lists(st.integers(1, 30), min_size=1, max_size=4)


@settings(max_examples=50, deadline=None)
@given(lengths=lengths_strategy, seed=st.integers(0, 1000), epoch=st.integers(0, 50))
def test_every_clip_once_per_epoch(lengths, seed, epoch):
    order, total = ClipOrder(lengths, seed), sum(lengths)
    picks = [order[position] for position in range(epoch * total, (epoch + 1) * total)]
    expected = {(dataset, clip) for dataset, length in enumerate(lengths) for clip in range(length)}
    assert {(pick.dataset, pick.clip) for pick in picks} == expected
    assert {pick.round for pick in picks} == {epoch}


@settings(max_examples=50, deadline=None)
@given(lengths=lengths_strategy, seed=st.integers(0, 1000), data=st.data())
def test_weights_are_shares_and_datasets_are_gone_through_whole(lengths, seed, data):
    weights = [data.draw(st.floats(0.1, 10)) for _ in lengths]
    order, total, epochs = ClipOrder(lengths, seed, weights), sum(lengths), 8
    picks = [order[position] for position in range(epochs * total)]
    for dataset, (length, weight) in enumerate(zip(lengths, weights, strict=True)):
        visits = Counter(pick.clip for pick in picks if pick.dataset == dataset)
        share = sum(visits.values()) / len(picks)
        assert abs(share - weight / sum(weights)) <= 1 / total + 1e-9
        counts = [visits[clip] for clip in range(length)]
        assert max(counts) - min(counts) <= 1  # none is visited twice before all were


def test_epochs_and_seeds_have_orders_of_their_own():
    order, other = ClipOrder([50], 1), ClipOrder([50], 2)
    first, second = ([order[p].clip for p in range(start, start + 50)] for start in (0, 50))
    assert first != second
    assert first != sorted(first)
    assert first != [other[p].clip for p in range(50)]
    assert [order[p].clip for p in range(50)] == first  # also after a later epoch was asked for


@pytest.mark.parametrize("weights", [[1], [1, 0], [1, -1], [1, float("nan")], [1, 2, 3]])
def test_bad_weights(weights):
    with pytest.raises(InputError, match="numbers above 0, one per dataset"):
        ClipOrder([3, 4], 0, weights)


def test_no_clips():
    with pytest.raises(InputError, match="no clips"):
        ClipOrder([3, 0], 0)


def mixture(**options):
    return Mixture([Numbers("a", 7), Numbers("b", 5)], seed=33, **options)


def rows(batches):
    """Names with the random numbers that came with them."""
    return [(name, float(box.flatten()[0])) for b in batches for name, box in zip(b.names, b.boxes, strict=True)]


def read(count, start=0, batch_size=4, **options):
    mixed = mixture()
    loader = ClipLoader(mixed, ClipOrder(mixed.lengths, 33), batch_size, **options)
    return rows(itertools.islice(loader.batches(start), count))


def test_two_epochs_visit_every_clip_twice():
    visits = Counter(name for name, _ in read(6))
    assert set(visits.values()) == {2}
    assert len(visits) == 12


@pytest.mark.parametrize("workers", [1, 4])
def test_workers_change_nothing(workers):
    assert read(6, num_workers=workers) == read(6)


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_going_on_in_the_middle_of_an_epoch(workers):
    assert read(4, start=2, num_workers=workers) == read(6)[8:]


def test_two_processes_share_the_same_batches():
    whole = read(6)
    shared = [read(6, batch_size=2, process_index=p, num_processes=2) for p in range(2)]
    together = [row for n in range(6) for process in shared for row in process[2 * n : 2 * n + 2]]
    assert together == whole
    later = [read(2, start=4, batch_size=2, process_index=p, num_processes=2) for p in range(2)]
    assert [row for n in range(2) for process in later for row in process[2 * n : 2 * n + 2]] == whole[16:]


PROGRAM = """
import sys, itertools
from accelerate import PartialState
from smcd.config import DataConfig
from smcd.data.build import build_data
from smcd.data.mixing import ClipLoader
state = PartialState(cpu=True)
mixture, order = build_data(DataConfig(datasets=["sprites"], sprites_clips=6, width=16, height=16), seed=1)
start, workers = int(sys.argv[1]), int(sys.argv[2])
loader = ClipLoader(mixture, order, 4 // state.num_processes, workers, state.process_index, state.num_processes)
with open(f"{sys.argv[3]}-{state.process_index}", "w") as file:
    for number, batch in enumerate(itertools.islice(loader.batches(start), 6 - start), start):
        for row, name in enumerate(batch.names):
            print(number, state.process_index, row, name, int(batch.frames[row].long().sum()), file=file)
state.destroy_process_group()
"""


def run_processes(tmp_path, processes, start, workers):
    program, out = tmp_path / "program.py", tmp_path / f"out-{processes}-{start}-{workers}"
    program.write_text(PROGRAM)
    launch = [sys.executable]
    if processes > 1:  # accelerate's own launcher starts one process on a CPU, whatever it is told
        launch += ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
    subprocess.run([*launch, str(program), str(start), str(workers), str(out)], check=True, capture_output=True)
    lines = [
        line.split() for p in range(processes) for line in out.with_name(f"{out.name}-{p}").read_text().splitlines()
    ]
    return [line[3:] for line in sorted(lines, key=lambda line: [int(number) for number in line[:3]])]


def test_real_processes_with_real_workers(tmp_path):
    """Four epochs of six clips: once per epoch, and the same from the middle with two processes and workers."""
    whole = run_processes(tmp_path, 1, 0, 0)
    assert Counter(name for name, _ in whole[:6]) == Counter(name for name, _ in whole[6:12])
    assert len({name for name, _ in whole[:6]}) == 6
    assert run_processes(tmp_path, 2, 2, 1) == whole[8:]


def test_a_broken_clip_stops_the_run_with_one_line():
    mixed = Mixture([Numbers("a", 6, broken=[3])], seed=0)
    for workers in (0, 1):
        loader = ClipLoader(mixed, ClipOrder(mixed.lengths, 0), 2, workers)
        with pytest.raises(InputError, match=r"^a/3.jpg: broken \(or train without it: train_data.on_error=skip\)$"):
            list(itertools.islice(loader.batches(), 3))


def test_a_broken_clip_is_replaced_and_told_of(caplog):
    mixed = Mixture([Numbers("a", 6, broken=[3]), Numbers("b", 2)], seed=0, on_error="skip")
    for workers in (0, 1):
        caplog.clear()
        loader = ClipLoader(mixed, ClipOrder(mixed.lengths, 0), 4, workers)
        with caplog.at_level(logging.WARNING):
            batches = list(itertools.islice(loader.batches(), 2))
        names = Counter(name for batch in batches for name in batch.names)
        assert sum(names.values()) == 8
        assert "a/3" not in names
        assert names["b/0"] == names["b/1"] == 1  # replaced by one of its own dataset
        assert [message for batch in batches for message in batch.skipped] == ["a/3.jpg: broken"]
        assert "replaced a broken clip: a/3.jpg: broken" in caplog.text
        assert "(1 broken clips so far)" in caplog.text


def test_nothing_but_broken_clips():
    mixed = Mixture([Numbers("a", 3, broken=range(3))], seed=0, on_error="skip")
    with pytest.raises(InputError, match="20 clips in a row are broken, the last: a/"):
        next(ClipLoader(mixed, ClipOrder(mixed.lengths, 0), 2).batches())


def test_clips_that_do_not_fit_in_one_batch():
    rng = np.random.default_rng(0)
    small, large = Numbers("a", 1).clip(0, rng), Numbers("b", 1).clip(0, rng)
    large.frames = torch.zeros(1, 3, 3, 3)
    with pytest.raises(InputError, match=r"a/0 and b/0 do not fit in one batch: frames is \(1, 2, 2, 3\) and \(1, 3,"):
        collate([small, large])
    large.frames = None
    with pytest.raises(InputError, match="latents to all or none"):
        collate([small, large])
