"""A pair becomes a row only if every part of it can be read."""

from datasets.layouts import Pair, get_layout


def test_an_image_that_is_damaged_inside_is_refused(raw_files, tmp_path):
    """OpenCV decodes it to grey or shifted blocks without a word."""
    image = raw_files.image(tmp_path / "a.jpg", (64, 96), quality=100)
    label = raw_files.label([7], tmp_path / "a.png", size=(64, 96))
    layout, pair = get_layout("gtav"), Pair("a", str(image), str(label))
    assert set(raw_files.converted(layout, pair)) == {0}
    data = image.read_bytes()
    image.write_bytes(data[: len(data) // 2] + bytes(200) + data[len(data) // 2 + 200 :])
    reason = raw_files.reason(layout, pair)
    assert reason.startswith("the image is damaged (Corrupt JPEG data: ") and reason.endswith(f"): {image}")
