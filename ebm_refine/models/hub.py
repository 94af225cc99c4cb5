"""Checkpoints on the Hugging Face Hub: found in the local cache or fetched, and pushed. Nothing happens at import."""

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, NamedTuple, TypeVar

from ebm_refine.errors import CheckpointError, InputError
from ebm_refine.models.checkpoint import Checkpoint, load_checkpoint
from ebm_refine.models.config import read_config, weights_files
from ebm_refine.models.model_card import model_card
from ebm_refine.parameters import listed, shorten

T = TypeVar("T")
TIMEOUT = 5.0  # seconds without an answer to the first request; also for each later one
MAX_RESTARTS = 3
# A small file, and ten megabytes of a large one, which huggingface_hub takes at a time, come in this time or not at all.
SLOW_SECONDS, SLOW_CHUNK_SECONDS = 60.0, 180.0
_NAME = re.compile(r"\w([\w.-]{0,94}\w)?", re.ASCII)
_REVISION = re.compile(r"\w[\w./-]{0,199}", re.ASCII)
LOG_IN = "log in with `hf auth login` or set HF_TOKEN"


class HubName(NamedTuple):
    """`org/name`, a folder within that repo ("" for its top), and a branch, tag or commit."""

    repo: str
    folder: str = ""
    revision: str = "main"


def parse(name: str) -> HubName:
    """Read "org/name", "org/name/sub/folder", each optionally with "@revision". Raises InputError for anything else."""
    path, at, revision = name.partition("@")
    parts = path.split("/")
    fine = len(parts) >= 2 and all(_NAME.fullmatch(part) for part in parts)
    # The Hub itself allows no "--" and no ".." in ids, no name that ends like a file of git, and 96 characters in all.
    fine = fine and not any("--" in part or ".." in part or part.endswith(".git") for part in parts)
    fine = fine and len("/".join(parts[:2])) <= 96
    if at:
        fine = fine and bool(_REVISION.fullmatch(revision)) and ".." not in revision and "//" not in revision
    if not fine:
        raise InputError(f"a Hub model is named 'org/name', 'org/name/folder' or 'org/name@revision'; got {shorten(name)}")
    return HubName("/".join(parts[:2]), "/".join(parts[2:]), revision or "main")


def load_from_hub(name: str, alternatives: Iterable[str] = ()) -> Checkpoint:
    """Load a Hub model from the local cache, or else from the Hub, which HF_ENDPOINT may name.

    Only `config.json` and the safetensors that it lists are fetched, all of one commit. `alternatives` are suggested where the
    Hub cannot be had. Raises InputError, one sentence with what to do, where it cannot be fetched, and CheckpointError where
    it is damaged. A Hub that does not answer times out after 5 seconds; with HF_HUB_OFFLINE=1 only the cache is used.
    """
    wanted = parse(name)
    folder = fetch(wanted, alternatives)
    try:
        return load_checkpoint(folder, name)
    except CheckpointError as error:
        raise _mended(error, wanted, folder) from None


def fetch(wanted: HubName, alternatives: Iterable[str] = ()) -> Path:
    """The folder in the local Hub cache that holds the model, fetched if need be. Errors as in `load_from_hub`."""
    from huggingface_hub import constants
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return _download(wanted, local_only=True)
    except LocalEntryNotFoundError:
        pass
    instead = f", or use an embedded model: {listed(alternatives)}" if alternatives else ""
    if constants.is_offline_mode():
        raise InputError(
            f"model {_title(wanted)!r} is not in the local Hub cache and HF_HUB_OFFLINE forbids fetching it; unset it{instead}"
        )
    with _explained(wanted, instead):
        return _download(wanted, local_only=False)


def push(folder: str | Path, repo_id: str, private: bool = False, token: str | None = None) -> str:
    """Verify the checkpoint in `folder` and upload it to the Hub's model repo `repo_id`, made if need be, in one commit.

    The card is made anew from the config, so that it says what the weights are now. Returns the commit's address. Raises
    CheckpointError where the checkpoint is damaged, InputError for a bad id, without the right to write, or without network.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    wanted = parse(repo_id)
    if wanted != HubName(repo_id):
        raise InputError(f"a checkpoint is pushed to a repo 'org/name'; got {shorten(repo_id)}")
    folder = Path(folder)
    config = load_checkpoint(folder).config
    card = model_card({**config, "name": wanted.repo.split("/")[1], "repo": repo_id})
    files: dict[str, Any] = {"README.md": card.encode()}
    files |= {file: folder / file for file in ("config.json", *weights_files(config))}
    additions = [CommitOperationAdd(path_in_repo=file, path_or_fileobj=content) for file, content in files.items()]
    api = HfApi(endpoint=_endpoint(), token=token, library_name="ebm_refine")
    with _explained(wanted, ""):
        api.create_repo(repo_id, private=private, exist_ok=True)
        message = f"Upload {config.get('title') or folder.name} with ebm_refine"
        return str(api.create_commit(repo_id, additions, commit_message=message).commit_url)


def _download(wanted: HubName, local_only: bool) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    source: dict[str, Any] = {"repo_id": wanted.repo, "subfolder": wanted.folder or None, "endpoint": _endpoint()}
    options = {**source, "local_files_only": local_only, "etag_timeout": TIMEOUT}
    if not local_only:
        # hf_hub_download asks a dead server for half a minute; this asks once, and says what is wrong.
        url = hf_hub_url(filename="config.json", revision=wanted.revision, **source)
        found = _in_time(lambda _: get_hf_file_metadata(url, timeout=TIMEOUT), SLOW_SECONDS)
        if not (found.commit_hash and found.etag):
            raise InputError(f"{url} is not served as a Hub serves files; check HF_ENDPOINT")

    def got(name: str, revision: str, seconds: float) -> str:
        def download(bar: Any) -> str:
            return hf_hub_download(filename=name, revision=revision, tqdm_class=bar, **options)

        return download(None) if local_only else _in_time(download, seconds)

    file = Path(got("config.json", wanted.revision, SLOW_SECONDS))
    folder = file.parent
    commit = folder.parents[wanted.folder.count("/")].name if wanted.folder else folder.name
    try:
        names = weights_files(read_config(folder))
    except CheckpointError as error:
        raise _mended(error, wanted, folder) from None
    for name in names:
        got(name, commit, SLOW_CHUNK_SECONDS)
    return folder


def _mended(error: CheckpointError, wanted: HubName, folder: Path) -> CheckpointError:
    """The same complaint, with what can be done about a file that came from the Hub."""
    cached = next((str(path) for path in folder.parents if path.name.startswith("models--")), str(folder))
    return CheckpointError(
        f"{error}; it came from the Hub: delete {cached} to fetch it again, or tell the owner of {wanted.repo}"
    )


def _endpoint() -> str | None:
    """HF_ENDPOINT as it is now; huggingface_hub itself looks only when it is imported."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def _title(wanted: HubName) -> str:
    name = f"{wanted.repo}/{wanted.folder}" if wanted.folder else wanted.repo
    return name if wanted.revision == "main" else f"{name}@{wanted.revision}"


def _in_time(work: Callable[[Any], T], seconds: float) -> T:
    """What `work(progress bar)` gives. Raises TimeoutError once it has neither ended nor got on for so many seconds.

    A server that sends a byte a second keeps to every time limit of a connection; so the work is done by a thread that can be
    left behind.
    """
    got_on = [time.monotonic()]
    outcome: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
    bar = _bounded_bar(lambda: got_on.append(time.monotonic()))

    def run() -> None:
        try:
            outcome.put((work(bar), None))
        except BaseException as error:
            outcome.put((None, error))

    Thread(target=copy_context().run, args=(run,), name="hub", daemon=True).start()
    while True:
        left = got_on[-1] + seconds - time.monotonic()
        try:
            value, error = outcome.get(timeout=max(0.0, left))
        except Empty:
            if time.monotonic() - got_on[-1] < seconds:
                continue
            raise TimeoutError(f"nothing whole came for {seconds:g} s") from None
        if error is not None:
            raise error
        return value


def _bounded_bar(got_on: Callable[[], Any]) -> Any:
    """A progress bar that ends a download which begins anew again and again, and tells of every chunk.

    huggingface_hub goes on for ever with a server that breaks off each time and cannot resume; the bar is where it shows.
    """
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):
        restarts = 0

        def update(self, n: float | None = 1) -> bool | None:
            self.restarts += n is not None and n < 0
            if self.restarts > MAX_RESTARTS:
                raise ConnectionError("the server breaks off and cannot resume")
            got_on()
            return super().update(n)

    return Bar


@contextmanager
def _explained(wanted: HubName, instead: str) -> Iterator[None]:
    """Turn what huggingface_hub raises into one sentence that says what to do."""
    from huggingface_hub import constants, errors

    title, endpoint = _title(wanted), _endpoint() or constants.ENDPOINT
    try:
        yield
        return
    except InputError:
        raise
    except errors.GatedRepoError:
        message = f"model {title!r} is gated: ask for access at {endpoint}/{wanted.repo}, then {LOG_IN}"
    except errors.RepositoryNotFoundError:
        message = (
            f"{title!r} is no folder here and no model on the Hub at {endpoint}, or a private one: check the name, or {LOG_IN}"
        )
    except errors.RevisionNotFoundError:
        message = f"model {wanted.repo!r} has no revision {wanted.revision!r} on the Hub at {endpoint}"
    except errors.RemoteEntryNotFoundError as error:
        missing = str(error.response.url).rsplit("/", 1)[-1]
        message = f"model {title!r} on the Hub has no file {missing}, so it is no whole ebm_refine checkpoint"
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            message = (
                f"the Hub at {endpoint} refuses access to model {title!r} (status {status}): {LOG_IN}, with a token that may"
            )
        else:
            message = f"the Hub at {endpoint} answers with status {status}; try again later{instead}"
    except errors.LocalTokenNotFoundError:
        message = f"the Hub at {endpoint} wants to know who you are: {LOG_IN}"
    except Exception as error:  # the client's HTTP library has its own errors, and has changed before
        message = _other_fault(error, title, endpoint, instead)
    raise InputError(message)


def _other_fault(error: Exception, title: str, endpoint: str, instead: str) -> str:
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    if "Consistency check failed" in reason or "peer closed" in reason or "breaks off" in reason:
        return f"the transfer of model {title!r} from {endpoint} broke off ({reason}); try again{instead}"
    if isinstance(error, TimeoutError) and "nothing whole" in reason:
        return f"the Hub at {endpoint} is too slow ({reason}); try again later{instead}"
    if isinstance(error, OSError) and error.errno and error.filename:
        return f"model {title!r} cannot be stored in the Hub cache: {error.strerror} ({error.filename}); set HF_HOME elsewhere"
    here = f"{title!r} is no folder here, and " if instead else ""  # fetched, not pushed
    return f"{here}the Hub at {endpoint} cannot be reached ({reason}); check the network or HF_ENDPOINT{instead}"
