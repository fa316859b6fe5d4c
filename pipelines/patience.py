"""A file system that waits while its store refuses writes: an outage or a full disk costs a run time, not its life.

Ray's controller and workers write checkpoints and snapshots through it. A file is gathered in memory and appears whole
or, where the process dies, not at all, so the checkpoint before stays valid whatever happens.
"""

import io
import time
from collections.abc import Callable
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs as pafs

from datasets.sample import one_line
from pipelines.terminal import duration, say

T = TypeVar("T")
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 15.0


def keep_trying(
    call: Callable[[], T],
    seconds: float,
    words: Callable[[Exception], str],
    over: str,
    kinds: tuple[type[Exception], ...] = (OSError,),
) -> T:
    """What a call returns, once it raises no such error any more. What is missing is missing at once.

    Args:
        seconds: how long errors are borne; the first one after that is raised.
        words: of the warning at the first error.
        over: what is said when the call works again.
        kinds: of errors that are borne.
    """
    deadline, wait = time.monotonic() + seconds, _FIRST_WAIT
    while True:
        try:
            result = call()
        except kinds as error:
            if isinstance(error, FileNotFoundError) or time.monotonic() + wait > deadline:
                raise
            if wait == _FIRST_WAIT:
                say(f"warning: {words(error)}")
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)
            continue
        if wait > _FIRST_WAIT:
            say(over)
        return result


class Patient(pafs.FileSystemHandler):
    """Passes everything on to a file system, and tries again what the store refuses.

    Args:
        files: the file system itself, local or an object store.
        seconds: how long a refusal is borne; after that it is an OSError that names the file, the reason and the mend.
    """

    def __init__(self, files: pafs.FileSystem, seconds: float):
        self.files, self.seconds = files, seconds

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Patient) and (self.files, self.seconds) == (other.files, other.seconds)

    def get_type_name(self) -> str:
        return self.files.type_name

    def normalize_path(self, path: str) -> str:
        return self.files.normalize_path(path)

    def get_file_info(self, paths: list[str]) -> list[pafs.FileInfo]:
        return self._patiently(paths[0], lambda: self.files.get_file_info(paths))

    def get_file_info_selector(self, selector: pafs.FileSelector) -> list[pafs.FileInfo]:
        return self._patiently(selector.base_dir, lambda: self.files.get_file_info(selector))

    def create_dir(self, path: str, recursive: bool) -> None:
        self._patiently(path, lambda: self.files.create_dir(path, recursive=recursive))

    def delete_dir(self, path: str) -> None:
        self._patiently(path, lambda: self.files.delete_dir(path))

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        self._patiently(path, lambda: self.files.delete_dir_contents(path, missing_dir_ok=missing_dir_ok))

    def delete_root_dir_contents(self) -> None:
        raise NotImplementedError("a whole store is never emptied")

    def delete_file(self, path: str) -> None:
        self._patiently(path, lambda: self.files.delete_file(path))

    def move(self, src: str, dest: str) -> None:
        self._patiently(dest, lambda: self.files.move(src, dest))

    def copy_file(self, src: str, dest: str) -> None:
        self._patiently(dest, lambda: self.files.copy_file(src, dest))

    def open_input_stream(self, path: str) -> pa.NativeFile:
        return self._patiently(path, lambda: self.files.open_input_stream(path))

    def open_input_file(self, path: str) -> pa.NativeFile:
        return self._patiently(path, lambda: self.files.open_input_file(path))

    def open_append_stream(self, path: str, metadata: dict[str, str]) -> pa.NativeFile:
        raise NotImplementedError("files of a run are written whole")

    def open_output_stream(self, path: str, metadata: dict[str, str]) -> pa.NativeFile:
        return pa.PythonFile(_Whole(lambda content: self._patiently(path, lambda: self._put(path, content))), mode="w")

    def _put(self, path: str, content: memoryview) -> None:
        """A local file of half its length would be there to be read; an object store shows only whole ones."""
        local = self.files.type_name == "local"
        written = f"{path}.partial" if local else path
        with self.files.open_output_stream(written) as stream:
            stream.write(content)
        if local:
            self.files.move(written, path)

    def _patiently(self, path: str, call: Callable[[], T]) -> T:
        def words(error: Exception) -> str:
            return (
                f"{path} can't be written or read ({_reason(error)}): trying again for {duration(self.seconds)}; the "
                "checkpoints before are whole"
            )

        try:
            return keep_trying(call, self.seconds, words, f"{path}: the store answers again")
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _given_up(path, error, self.seconds) from error


class _Whole(io.BytesIO):
    """Gathers what is written, and hands it on when it is closed."""

    def __init__(self, put: Callable[[memoryview], Any]):
        super().__init__()
        self.put = put

    def __del__(self) -> None:
        super().close()  # what nobody closed is not whole

    def close(self) -> None:
        if not self.closed:
            try:
                with self.getbuffer() as content:
                    self.put(content)
            finally:
                super().close()


def _reason(error: Exception) -> str:
    """In one line, and without the words by which Ray knows S3's errors: it would try all of it three times."""
    return one_line(error).replace("AWS Error", "S3's error")


def _given_up(path: str, error: OSError, seconds: float) -> OSError:
    return OSError(
        f"{path} could not be written or read for {duration(seconds)} ({_reason(error)}): free space or mend the "
        "store, then --resume; the checkpoints before are whole"
    )
