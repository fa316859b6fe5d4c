"""Calls in the background: who does not answer is waited for once."""

import threading

from pipelines.sender import Sender


def test_a_call_that_fails_is_in_vain_until_one_arrives():
    back, sender = threading.Event(), Sender("a server")

    def call() -> None:
        if not back.is_set():
            raise ConnectionError("away")

    assert not sender.in_vain
    sender.send(call)
    assert not sender.flush(0.5) and sender.in_vain
    back.set()
    assert sender.flush(30) and not sender.in_vain


def test_an_error_without_words_stops_nothing(capsys):
    sender, errors = Sender("a server"), [TimeoutError()]

    def call() -> None:
        if errors:
            raise errors.pop()

    sender.send(call)
    assert sender.flush(30) and "its results wait: TimeoutError" in capsys.readouterr().err


def test_a_call_that_takes_long_is_in_vain_after_it_was_waited_for():
    back, sender = threading.Event(), Sender("a silent server")
    sender.send(back.wait)
    assert not sender.in_vain and not sender.flush(0.1) and sender.in_vain
    back.set()
    assert sender.flush(30) and not sender.in_vain
