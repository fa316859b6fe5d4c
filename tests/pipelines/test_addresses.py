"""Addresses that can't be and servers that break off: one line that names the list, the video or the image."""

import http.server
from collections.abc import Iterator

import pytest

from pipelines.pictures import read_picture
from pipelines.sources import find


class Broken(http.server.BaseHTTPRequestHandler):
    """Says a hundred bytes and sends ten."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"a/1.png\n\n\n")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def web(web_server) -> Iterator[str]:
    with web_server(Broken) as address:
        yield address


@pytest.mark.parametrize(("file", "what"), [("a b.txt", "list"), ("a b.mp4", "video")])
def test_an_address_with_a_space(web, file, what):
    with pytest.raises(ValueError, match=f"^{what} {web}/{file}: can't be read: URL can't contain control characters"):
        find(f"{web}/{file}", "out")


def test_a_list_whose_server_breaks_off(web):
    with pytest.raises(ValueError, match=f"^list {web}/list.txt: can't be read: IncompleteRead"):
        find(f"{web}/list.txt", "out")


def test_a_list_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="^list .*/none.txt: can't be read: No such file"):
        find(str(tmp_path / "none.txt"), "out")


@pytest.mark.parametrize("place", ["abfs://container@account/x.jpg", "hdfs://host/x.jpg", "ftp://host/x.jpg"])
def test_schemes_that_are_not_supported(place):
    """Arrow's client of Azure would end the process."""
    scheme = place.partition(":")[0]
    with pytest.raises(
        ValueError, match=f"can't be read: {scheme}:// is not supported: give a path, or one of s3, gs,"
    ):
        read_picture(place)
    for images in (place, f"{scheme}://container@account/folder", f"{scheme}://container@account/*.png"):
        with pytest.raises(ValueError, match=f"^{scheme}:// is not supported"):
            find(images, "out")


def test_lists_of_other_editors(tmp_path):
    (tmp_path / "bom.txt").write_bytes("\ufeffa/1.png\r\nb/2.png\r\n".encode())
    assert list(find(str(tmp_path / "bom.txt"), "out").files.values()) == [f"{tmp_path}/a/1.png", f"{tmp_path}/b/2.png"]
    (tmp_path / "latin.txt").write_bytes("Straße.png".encode("latin-1"))
    with pytest.raises(ValueError, match="^list .*/latin.txt: it is not in UTF-8 .* at byte 4.*: save it so"):
        find(str(tmp_path / "latin.txt"), "out")
