"""Storage: keys in URIs are refused before anything names them, and what lies below a URI is found."""

import pytest

from datasets.raw_folder import RawFolder
from datasets.shards import Shards
from datasets.storage import filesystem, info, join, open_uri, refuse_key


@pytest.mark.parametrize("ask", [Shards, RawFolder, open_uri, info, filesystem])
@pytest.mark.parametrize("secret", ["hunter2", "hun/ter2", "hun#ter2", "hun?ter2", "hun@ter2", "hunter2@x"])
def test_a_key_in_a_uri_is_refused(ask, secret):
    """Secrets hold slashes, at which the host of a URI ends."""
    with pytest.raises(ValueError, match="^s3://…@bucket: a key in a URI .*AWS_ACCESS_KEY_ID") as error:
        ask(f"s3://KEY:{secret}@bucket/streets?region=us-east-1")
    assert not any(part in str(error.value) for part in ("KEY:", "hun", "ter2"))


def test_a_password_for_a_web_server_is_refused():
    with pytest.raises(
        ValueError, match="^https://…@host:1: a key in a URI .*give an address that needs none"
    ) as error:
        refuse_key("https://me:hunter2@host:1/x.png")
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    "uri",
    [
        "http://host:80/a@2.png",
        "https://host/a?time=1:2@3",
        "s3://bucket/a:b@c",
        "s3://bucket/a?endpoint_override=127.0.0.1:9000&scheme=http",
        "gs://anonymous@bucket/a",
        "file:///a:b@c",
        "/a/s3:b@c",
    ],
)
def test_what_is_no_key(uri):
    refuse_key(uri)


def test_what_lies_below():
    assert join("s3://bucket/a/?region=x", "b", "c") == "s3://bucket/a/b/c?region=x"
    assert join("s3://bucket/a#1", "b") == "s3://bucket/a#1/b"
    assert join("a#1", "b") == "a#1/b"
