"""Repositories of the Hugging Face hub, as folders on this machine."""

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import GatedRepoError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError
from huggingface_hub.utils import filter_repo_objects

from smcd.runtime.errors import InputError, first_line

_WEIGHTS = (".safetensors", ".bin")
_VARIANT = re.compile(r"\.(fp16|bf16)[.-]")  # in the names of files that hold weights again, in another precision


def hub_folder(
    repo_id: str,
    patterns: Sequence[str],
    variant: str | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> Path:
    """A folder with the files of a repository that fit the patterns; what is not there yet is downloaded.

    Weights that lie there in several forms are taken once: safetensors rather than `.bin`, and of no other precision
    than the `variant`. Without a connection, the folder of an earlier download has to do. The other arguments are those
    of `huggingface_hub`.

    Raises an InputError in one line, with the hub's reason, if there is no such repository, or it cannot be read.
    """
    where = {"revision": revision, "token": token, "cache_dir": cache_dir}
    with quiet_hub():
        try:
            if local_files_only:
                return Path(snapshot_download(repo_id, local_files_only=True, allow_patterns=[], **where))
            info = HfApi(token=token).model_info(repo_id, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        except Exception as error:  # of the hub, or of the HTTP library below it: they share no class
            try:
                return Path(snapshot_download(repo_id, local_files_only=True, allow_patterns=[], **where))
            except (LocalEntryNotFoundError, HFValidationError):
                raise InputError(f"{repo_id}: {_complaint(repo_id, error, begun=False)}") from error
        names = _once(filter_repo_objects([file.rfilename for file in info.siblings], allow_patterns=patterns), variant)
        try:
            for name in names:  # one by one in this thread, so that the first Ctrl-C ends it
                hf_hub_download(repo_id, name, force_download=force_download, **{**where, "revision": info.sha})
            return Path(snapshot_download(repo_id, allow_patterns=names, **where))  # finds them, and notes the revision
        except Exception as error:
            raise InputError(f"{repo_id}: {_complaint(repo_id, error, begun=True)}") from error


@contextmanager
def quiet_hub() -> Iterator[None]:
    """Silence the hub's warnings about retries: what comes of them is said in one line."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _once(names: Iterable[str], variant: str | None) -> list[str]:
    """The files without those that hold the weights of their folder again."""

    def rank(name: str) -> tuple[int, bool]:
        found = _VARIANT.search(name)
        precision = 0 if found is None else 1 if found[1] == variant else -1
        return precision, name.endswith(".safetensors")

    folders: dict[PurePosixPath, list[str]] = defaultdict(list)
    kept: list[str] = []
    for name in names:
        (folders[PurePosixPath(name).parent] if name.endswith(_WEIGHTS) else kept).append(name)
    for weights in folders.values():
        best = max(map(rank, weights))
        kept += [name for name in weights if rank(name) == best]
    return kept


def _complaint(repo_id: str, error: Exception, begun: bool) -> str:
    """Why a repository, or once it was begun one of its files, could not be had."""
    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # why it was looked for on this machine only
    reason = getattr(error, "server_message", None) or f"{type(error).__name__}: {first_line(error)}"
    if isinstance(error, GatedRepoError):
        page = f"{constants.ENDPOINT}/{repo_id}"
        return f"the hub does not give it ({reason}): accept its terms on {page}, then log in with `hf auth login`"
    if isinstance(error, HFValidationError):
        return f"no such folder, and no hub id has this form ({reason})"
    if isinstance(error, RepositoryNotFoundError):
        hidden = f"the hub has no such repository, or hides it from you ({reason})"
        return f"no such folder, and {hidden}: check the name, or log in with `hf auth login`"
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
        return f"cannot be stored ({error}): make room, or set HF_HOME to another folder"
    if begun:
        return f"the download broke off ({reason}); run it again, it goes on with the files that are missing"
    return f"no such folder, and the hub does not give it ({reason}); see docs/checkpoints.md"
