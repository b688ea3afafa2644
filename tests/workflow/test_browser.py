"""The pages in a real browser: headless Chromium, where it and Playwright are installed (`pip install -e '.[browser]'`)."""
import json
import shutil

import pytest

from lib.files import ROOT, write
from workflow import facts, index, safe

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if CHROMIUM is None:
    pytest.skip("there is no Chromium", allow_module_level=True)

SIZES = {"desk": (1280, 900), "phone": (390, 844)}
LEAST_CONTRAST = 4.5        # of text, WCAG 2.2 level AA
NUMBERS = ("02", "05")      # a page with every kind of table, and one with formulas

CONTRAST = """() => {
    const parsed = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
    const linear = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const behind = (e) => {
        for (; e; e = e.parentElement) {
            const [r, g, b, a = 1] = parsed(getComputedStyle(e).backgroundColor);
            if (a > 0) return [r, g, b];
        }
        return [255, 255, 255];
    };
    const found = {};
    for (const e of document.querySelectorAll("body *")) {
        const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
        if (!own || !e.checkVisibility({checkOpacity: true})) continue;
        const [a, b] = [light(parsed(getComputedStyle(e).color)), light(behind(e))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        const name = `${e.tagName}.${e.className} ${getComputedStyle(e).color}`;
        found[name] = Math.min(found[name] ?? 99, ratio);
    }
    return found;
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The index and two pages, made of the committed notebooks and results as if they had just run."""
    where = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FU_RUNS", str(where))
        for kind in ("results", "figures"):
            shutil.copytree(ROOT / kind / "quick", where / "quick" / kind)
        for number in NUMBERS:
            source = facts.notebook(number)
            write(where / "quick/notebooks" / source.name, source.read_bytes())
        index.index({"profile": "quick", "seeds": [0], "notebooks": dict.fromkeys(NUMBERS, {})})
    return where / "quick"


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=[f"{size} {scheme}" for size in SIZES for scheme in ("light", "dark")])
def window(request, chromium):
    """A new window of one size and colour scheme."""
    size, scheme = request.param.split()
    width, height = SIZES[size]
    context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    yield context.new_page()
    context.close()


def pages(site):
    return [site / "index.html", *sorted((site / "notebooks").glob("*.html"))]


def test_a_page_says_nothing_to_the_console_or_the_network(site, window):
    said, asked = [], []
    window.on("console", lambda message: said.append(message.text))
    window.on("pageerror", lambda error: said.append(str(error)))
    window.on("request", lambda request: asked.append(request.url))
    for path in pages(site):
        window.goto(path.as_uri())
    assert not said
    assert asked and all(url.startswith(("file:", "data:")) for url in asked)


def test_nothing_makes_a_page_wider_than_the_window(site, window):
    for path in pages(site):
        window.goto(path.as_uri())
        assert window.evaluate("document.documentElement.scrollWidth") <= window.viewport_size["width"], path.name
        assert window.evaluate("[...document.querySelectorAll('.text p')].every(p => p.clientWidth <= 44 * 16)")


def test_what_is_folded_opens_and_can_be_read(site, window):
    for path in pages(site):
        window.goto(path.as_uri())
        window.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        faint = {name: ratio for name, ratio in window.evaluate(CONTRAST).items() if ratio < LEAST_CONTRAST}
        assert not faint, f"{path.name}: {faint}"
        assert window.evaluate("document.documentElement.scrollWidth") <= window.viewport_size["width"]


def test_every_link_leads_somewhere(site, window):
    for path in pages(site):
        window.goto(path.as_uri())
        for link in window.evaluate("[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))"):
            if link.startswith(("http", "mailto:")):
                continue
            file, _, anchor = link.partition("#")
            target = (path.parent / file).resolve() if file else path
            assert target.exists(), f"{path.name}: {link}"
            if anchor:
                assert f'id="{anchor}"' in target.read_text(encoding="utf-8"), f"{path.name}: {link}"


def test_the_way_on_and_back(site, window):
    window.goto(pages(site)[0].as_uri())
    window.click("article#n02 h2 a")
    assert window.url.endswith("02_client_unlearning.html")
    window.click("a[rel=next]")
    assert window.url.endswith("05_theory.html")
    window.click("a[rel=prev]")
    window.click("header a")
    assert window.url.endswith("index.html")


def test_a_planted_script_does_not_run(site, window, tmp_path):
    """Even if the cleaning failed: the policy of the page stops it."""
    html = pages(site)[1].read_text(encoding="utf-8")
    planted = tmp_path / "planted.html"
    planted.write_text(html.replace("<main", "<script>document.title = 'ran'</script><img src=x onerror=\"document.title = 'ran'\"><main"),
                       encoding="utf-8")
    window.goto(planted.as_uri())
    assert window.title() != "ran" and safe.POLICY in html


def test_where_a_number_comes_from_is_two_clicks_away(site, window):
    """Below every table and figure: its rows, its settings and the command."""
    about = json.loads((site / "results/02.meta.json").read_text())
    window.goto((site / "notebooks/02_client_unlearning.html").as_uri())
    lines = window.evaluate("[...document.querySelectorAll('.from')].map(e => e.innerText)")
    shown = window.evaluate("document.querySelectorAll('.cell .output .wide, .cell figure').length")
    assert len(lines) == shown and shown > 5
    assert all(about["commit"] in line and about["command"] in line for line in lines)
