"""Pages of evaluation in a real browser: what they show, that they ask no network, how they behave."""

import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
from PIL import Image

from datasets.labels import CITYSCAPES, IDD_LITE, IGNORE, PALETTE, LabelSpace
from pipelines.html import Domain, Picture, comparison_page, report_page

HOSTILE = """<img src=x onerror="document.title='run'">&'"</script><script>document.title='run'</script>ü→"""
DIGEST = "sha256:" + "0123456789abcdef" * 4
ODD = LabelSpace("odd", ("road", HOSTILE, "never"), PALETTE[:3], ((0,), (1,), (2,)))
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


def picture(name: str, why: str) -> Picture:
    """Left road, right another class; the prediction puts the border further to the left. The top is ignored."""
    image = np.random.default_rng(0).integers(200, 250, (96, 192, 3), np.uint8)
    truth, prediction = np.zeros((96, 192), np.uint8), np.zeros((96, 192), np.uint8)
    truth[:, 96:], prediction[:, 48:] = 1, 1
    truth[:12] = IGNORE
    return Picture(name, why, 37.5, image, truth, prediction)


def domain(name: str, space: LabelSpace, **scores) -> Domain:
    """Scores by hand; the last class of the space is not in the truth."""
    count = len(space.classes)
    confusion = np.full((count, count), 10, np.int64) + np.diag(np.full(count, 1000 * count))
    confusion[-1] = 0
    by_class = {key: {c: low + i for i, c in enumerate(space.classes[:-1])} for key, low in (("IoU", 40), ("Acc", 60))}
    given = by_class | {"mIoU": 45.678, "mAcc": 61.23, "aAcc": 92.5, "fwIoU": 85.01}
    given |= {"samples": 1234, "resolution": "short edge 512", "uri": "s3://b", "digest": DIGEST}
    bins = np.array([[0, 0, 0], [100, 30, 10], [200, 120, 100], [700, 630, 700]], np.float64)
    pictures = [picture(f"{why} {HOSTILE}", why) for why in ("best", "worst", "random")]
    return Domain(name, space, given | scores, confusion, bins, pictures)


def report() -> str:
    """Three domains, one of them with hostile names; robustness, boundary scores and calibration for one."""
    boundary = {"boundary_mIoU": 33.21, "boundary_IoU": {"road": 30.0}, "ECE": 8.25}
    domains = [domain("city", CITYSCAPES, **boundary), domain("idd", IDD_LITE, mIoU=50.0), domain(HOSTILE, ODD)]
    kinds = {"fog": [40.0, 30.0, 20.0, 10.0, None], HOSTILE: [44.0, None, None, None, None]}
    robustness = {"city": {"clean": 45.678, "mPC": 28.8, "rPC": 63.1, "kinds": kinds}}
    facts = {"commit": "caf1c28", "VFM": f"dinov2, {DIGEST}", HOSTILE: HOSTILE}
    return report_page(f"models:/street@champion {HOSTILE}", domains, facts, robustness)


def comparison() -> str:
    """Two models against a baseline on two domains."""
    better, unclear = {"difference": 2.0, "low": 1.0, "high": 3.0}, {"difference": -0.5, "low": -1.5, "high": 0.5}
    scores = {"mIoU": [60.0, 62.0, 59.5], "difference": [None, better, unclear]}
    classes = {"road": [90.0, 92.0, 89.0], HOSTILE: [30.0, 25.0, None], "train": [None, None, None]}
    part = {"resolution": "1024×512", "samples": 500, "IoU": classes} | scores
    domains = {"city": part, HOSTILE: part}
    return comparison_page(
        {"models": ["base", f"ours {HOSTILE}", "x" * 90], "domains": domains, "mean": scores, "confidence": 0.95,
         "draws": 1000}
    )  # fmt: skip


# the texts with less contrast than WCAG 2 asks for (4.5, large ones 3), from computed colours
FAINT = """() => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const parse = (colour) => {
    context.clearRect(0, 0, 1, 1); context.fillStyle = colour; context.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
    return [[r, g, b], a / 255];
  };
  const over = ([top, alpha], below) => top.map((value, i) => alpha * value + (1 - alpha) * below[i]);
  const ground = (element) => element
    ? over(parse(getComputedStyle(element).backgroundColor), ground(element.parentElement)) : [255, 255, 255];
  const linear = (value) => value <= 10.3 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const faint = new Set();
  for (const element of document.querySelectorAll("body *:not(script)")) {
    const text = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join("");
    if (!text || !element.checkVisibility() || element.closest(".hidden, .skip")) continue;
    const style = getComputedStyle(element), below = ground(element);
    const colour = over(parse(element.closest("svg") ? style.fill : style.color), below);
    const [dim, bright] = [light(colour), light(below)].sort((a, b) => a - b);
    const contrast = (bright + 0.05) / (dim + 0.05);
    if (contrast < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5))
      faint.add(`${element.className} ${text.slice(0, 20)} ${contrast.toFixed(2)}`);
  }
  return [...faint];
}"""

# asks for a picture and for data, and waits until both are answered or refused
TRY_NETWORK = """async (url) => {
  const image = new Promise((done) => {
    const element = new Image(); element.onload = element.onerror = done; element.src = url + "-image";
  });
  await Promise.all([image, fetch(url + "-fetch", { mode: "no-cors" }).catch(() => null)]);
}"""

PAGES = {"report": report, "comparison": comparison}


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """A headless Chromium."""
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("no chromium on PATH to show pages in")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=[*FLAGS, "--no-first-run"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser, tmp_path) -> Iterator[Callable]:
    """Opens a page of PAGES; at the end of the test it has asked for nothing but its file and complained of nothing."""
    asked, complaints, contexts, files = [], [], [], set()

    def opened(name: str, viewport: dict = WIDE, **options):
        file = tmp_path / f"{name}.html"
        file.write_text(PAGES[name](), encoding="utf-8")
        contexts.append(browser.new_context(viewport=viewport, **options))
        page = contexts[-1].new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(file.as_uri())
        files.add(file.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert {url for url in asked if not url.startswith("data:")} == files and not complaints


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_its_screen_and_can_be_read(open_page, name, viewport, scheme):
    page = open_page(name, viewport, color_scheme=scheme)
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    assert page.evaluate(FAINT) == []
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0 && i.hasAttribute('alt'))")


@pytest.mark.parametrize("name", PAGES)
def test_hostile_names_are_text(open_page, name):
    page = open_page(name)
    assert page.title() == {"report": f"Evaluation of models:/street@champion {HOSTILE}"}.get(
        name, "Comparison of models"
    )
    assert HOSTILE in page.locator("body").inner_text()
    assert page.locator("img[src=x]").count() == 0 and page.locator("script").count() == 1


def test_a_page_could_not_ask_the_network_if_it_tried(browser):
    """The page's policy holds requests back that the same browser sends without it, to the page's own server even."""
    arrived: list[str] = []
    with serving({"/report": report(), "/free": "<p>no policy"}, arrived) as url:
        for name in ("report", "free"):
            page = browser.new_page()
            page.goto(f"{url}/{name}")
            page.evaluate(TRY_NETWORK, f"{url}/{name}")
            page.close()
    assert [path for path in arrived if "report" in path] == ["/report"]
    assert {"/free-image", "/free-fetch"} <= set(arrived)


def test_the_table_has_the_given_scores(open_page):
    page = open_page("report")
    rows = page.locator("#scores tbody tr").all()
    cells = [[cell.strip() for cell in row.locator("td").all_inner_texts()] for row in rows]
    assert cells[0] == ["45.68", "61.23", "92.50", "85.01", "33.21", "8.25", "1,234"]
    assert cells[1] == ["50.00", "61.23", "92.50", "85.01", "–", "–", "1,234"]
    assert [row.locator("th small").inner_text() for row in rows] == ["short edge 512"] * 3
    means = [cell.strip() for cell in page.locator("#scores tfoot td").all_inner_texts()]
    assert means == [f"{(45.678 * 2 + 50) / 3:.2f}", "61.23", "92.50", "85.01", "–", "–", "3,702"]
    bars = page.locator("#domain-1 .bars li")
    assert bars.first.locator(".value").inner_text() == "40.0" and bars.last.inner_text().endswith("not in the truth")
    width = bars.first.locator(".fill").evaluate("e => e.offsetWidth / e.parentElement.offsetWidth")
    assert width == pytest.approx(0.40, abs=0.01)
    fog = page.locator("#robustness tbody tr").first.locator("td").all_inner_texts()
    assert fog == ["40.0", "30.0", "20.0", "10.0", "–", "25.0"]


@pytest.mark.parametrize("scripted", [True, False], ids=["script", "no script"])
def test_the_switch_of_a_sample_changes_what_is_seen(open_page, scripted):
    page = open_page("report", java_script_enabled=scripted, reduced_motion="reduce")
    sample = page.locator("#domain-1 .sample").first
    seen = {}
    for view in ("image", "truth", "prediction", "errors"):
        sample.locator(f"input[value={view}]").check(force=True)
        seen[view] = screenshot(sample.locator(".stage"))
    height, width = seen["image"].shape[:2]
    low, columns = height * 3 // 4, {"left": width // 8, "middle": width * 3 // 8, "right": width * 7 // 8}
    differs = {
        view: [place for place, x in columns.items() if distance(seen[view], seen["image"], low, x) > 25]
        for view in ("truth", "prediction", "errors")
    }
    assert differs == {"truth": [*columns], "prediction": [*columns], "errors": ["middle"]}
    assert distance(seen["truth"], seen["prediction"], low, columns["middle"]) > 25
    assert distance(seen["truth"], seen["prediction"], low, columns["right"]) < 5
    assert distance(seen["truth"], seen["image"], height // 20, columns["left"]) < 5, "ignored pixels show the image"


def test_keys_and_slider_change_all_samples(open_page):
    page = open_page("report", reduced_motion="reduce")
    stages = [page.locator("#domain-1 .stage").first, page.locator("#domain-2 .stage").last]
    before = [screenshot(stage) for stage in stages]
    page.keyboard.press("o")
    bare = [screenshot(stage) for stage in stages]
    page.keyboard.press("o")
    again = [screenshot(stage) for stage in stages]
    page.locator(".opacity").first.fill("100")
    opaque = [screenshot(stage) for stage in stages]
    page.keyboard.press("4")
    assert page.locator(".sample input:checked").evaluate_all("all => [...new Set(all.map(e => e.value))]") == [
        "errors"
    ]
    for first, none, second, full in zip(before, bare, again, opaque, strict=True):
        y, x = first.shape[0] * 3 // 4, first.shape[1] // 8
        assert distance(first, none, y, x) > 25 and distance(first, second, y, x) < 5
        assert np.abs(full[y, x].astype(int) - PALETTE[0]).max() <= 2, "all of the class's colour"


def test_a_sample_can_be_larger_and_a_cell_read(open_page):
    page = open_page("report")
    sample = page.locator("#domain-1 .sample").first
    small = sample.bounding_box()["width"]
    sample.get_by_role("button", name="Larger").click()
    assert sample.bounding_box()["width"] > 2 * small
    cell = page.locator("#domain-1 .confusion tbody tr").first.locator("td").nth(1)
    cell.hover()
    said = page.locator("#domain-1 .readout").inner_text()
    assert said == cell.get_attribute("title") == "road taken for sidewalk in 0.05 % of its pixels (10 of 19,190)"


def test_the_comparison_draws_its_intervals(open_page):
    page = open_page("comparison")
    rows = page.locator("#scores tbody").nth(1).locator("tr:not(.group)").all()
    texts = [[cell.strip() for cell in row.locator("td").all_inner_texts()] for row in rows]
    assert [text[0] for text in texts] == ["60.00", "62.00", "59.50"]
    assert texts[0][1] == "baseline" and texts[1][1] == "+2.00 [+1.00, +3.00]" and texts[2][1] == "−0.50 [−1.50, +0.50]"
    assert [text[3] for text in texts] == ["", "better", "not told apart"]
    edges = "e => { const r = e.getBoundingClientRect(); return [r.left, r.right] }"
    zero = rows[1].locator(".zero").evaluate(edges)[0]
    better, unclear = (row.locator(".range").evaluate(edges) for row in rows[1:])
    assert zero < better[0] < better[1] and unclear[0] < zero < unclear[1]


def test_names_of_cards_stand_in_a_line_and_short_words_are_whole(open_page):
    page, tops = open_page("comparison"), "all => all.map(e => e.getBoundingClientRect().top)"
    page.locator(".card.main .card-name").evaluate("e => e.textContent = 'ours'")  # fewer lines than another has
    assert len(set(page.locator(".card-name").evaluate_all(tops))) == 1
    head = open_page("report", PHONE).locator("#robustness thead th").last
    lines = "e => { const r = new Range(); r.selectNodeContents(e); return r.getClientRects().length }"
    assert head.evaluate(lines) == 1


def screenshot(element) -> np.ndarray:
    """What a browser shows of an element, RGB."""
    return np.asarray(Image.open(io.BytesIO(element.screenshot())).convert("RGB"))


def distance(one: np.ndarray, other: np.ndarray, y: int, x: int) -> float:
    """The mean difference of colours in a patch around a pixel."""
    patches = (shot[y - 2 : y + 3, x - 2 : x + 3].astype(float) for shot in (one, other))
    return float(np.abs(next(patches) - next(patches)).mean())


@contextmanager
def serving(pages: dict[str, str], arrived: list[str]) -> Iterator[str]:
    """A server on loopback with these pages, which notes the paths it is asked for; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            arrived.append(self.path)
            body = pages.get(self.path, "").encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
