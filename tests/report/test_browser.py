"""The pages as Chromium shows them without a network: no complaint, no request, nothing cut off."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from guardsteer.audit import verify
from guardsteer.core.events import Event
from guardsteer.pages.page import save_page
from guardsteer.report import Said, period_page, request_page
from tests.evaluate.stories import UP, adopted, policy_of, story
from tests.report.logs import KEY, began, digest, ended, finish, start, timed, write
from tests.report.test_period import FIRST_NS, HOSTILE, traffic
from tests.report.test_request import PROMPT

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_LONG = "a-request-whose-name-is-long-and-has-no-place-to-break-" * 4
_PROBE = """<!doctype html><body><script>
const found = [];
const frame = document.createElement("iframe");
frame.style.cssText = "border:0;width:WIDTHpx;height:900px";
frame.onload = () => {
  const inside = frame.contentDocument, view = frame.contentWindow;
  const root = inside.documentElement;
  found.push({kind: "width", page: root.scrollWidth, view: root.clientWidth});
  const dark = view.getComputedStyle(inside.body).backgroundColor;
  found.push({kind: "ground", color: dark});
  for (const stop of [inside.querySelector(".m[tabindex]"), inside.querySelector(".track"),
                      inside.querySelector(".run"), inside.querySelector(".t.has")]) {
    if (!stop) continue;
    stop.focus();
    const shown = view.getComputedStyle(stop, "::after");
    found.push({kind: "focus", of: stop.className, active: inside.activeElement === stop,
                shown: shown.content, position: shown.position});
  }
  const beyond = [...inside.querySelectorAll("main *")].filter(e => {
    const box = e.getBoundingClientRect();
    return box.width && box.right > root.clientWidth + 1 && !e.closest(".scroll") && !e.closest(".hid");
  });
  found.push({kind: "beyond", tags: beyond.map(e => e.tagName + "." + e.className).slice(0, 5)});
  const out = document.createElement("pre");
  out.id = "found"; out.textContent = JSON.stringify(found);
  document.body.append(out);
};
frame.src = "PAGE";
document.body.append(frame);
</script></body>"""


@pytest.fixture(scope="module")
def browser() -> str:
    """Return the path of a Chromium; skip where there is none."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip(f"needs Chromium to load the pages: none of {', '.join(_NAMES)} is here")
    return found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Return files of pages, by name: a request with text and without, a hostile one, a period."""
    folder = tmp_path_factory.mktemp("pages")
    policy = policy_of()
    scores = [{**UP, "mood.sad": 0.1}, {}, {"mood.sad": 0.7}, {}, {"mood.sad": 0.95}, {"intent.billing": 0.3}]
    log = write(folder / "log", timed([adopted(policy), *story(policy, scores, context={"tier": 2})]))
    act = began(HOSTILE, PROMPT - 1, -0.5, _LONG, rule=_LONG)
    events: list[Event] = [start(_LONG, tenant=HOSTILE), act, ended(act, 20), finish(_LONG, 8, 8)]
    hostile = write(folder / "hostile", timed(events))
    said = Said(HOSTILE, {0: tuple(range(100, 108))})
    period = write(folder / "period", traffic(60, 10_000_000_000))
    made = {
        "request": request_page(log, "r", verification=verify(log)),
        "hostile": request_page(hostile, _LONG, said=said, key=KEY),
        "period": period_page(period, since_ns=FIRST_NS, until_ns=FIRST_NS + 10**12),
    }
    assert digest((1,)).startswith("hk:")
    return {name: save_page(folder / f"{name}.html", text) for name, text in made.items()}


def loaded(browser: str, page: Path, folder: Path, *options: str) -> tuple[str, str, list[str]]:
    """Return the document as the browser holds it, what it complained of, and what the page asked for."""
    log = folder / "net.json"
    command: list[Any] = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={folder}", f"--log-net-log={log}", "--enable-logging=stderr", "--v=0",
        "--host-resolver-rules=MAP * ~NOTFOUND", *options, "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    events = [event.get("params") or {} for event in json.loads(log.read_text())["events"]]
    # What the browser asks for on its own account has no page as its initiator.
    asked = [event["url"] for event in events if "url" in event and event.get("initiator") == "null"]
    return done.stdout, done.stderr, asked


def probed(
    browser: str, page: Path, folder: Path, width: int, *options: str
) -> dict[str, list[dict[str, Any]]]:
    """Return what a page looks like in a window of ``width`` pixels, by the kind of finding."""
    probe = page.with_name(f"probe-{page.stem}-{width}-{len(options)}.html")
    probe.write_text(_PROBE.replace("WIDTH", str(width)).replace("PAGE", page.name), encoding="utf-8")
    command = ["--hide-scrollbars", "--allow-file-access-from-files", "--virtual-time-budget=5000", *options]
    shown, _, _ = loaded(browser, probe, folder, *command)
    told = re.search(r'<pre id="found">(.*?)</pre>', shown, re.DOTALL)
    assert told is not None, shown[-500:]
    found: dict[str, list[dict[str, Any]]] = {}
    for each in json.loads(unescape(told[1])):
        found.setdefault(each["kind"], []).append(each)
    return found


@pytest.mark.parametrize("name", ["request", "hostile", "period"])
def test_a_browser_shows_a_page_without_an_error_and_without_a_request(
    name: str, pages: Mapping[str, Path], browser: str, tmp_path: Path
) -> None:
    shown, complaints, asked = loaded(browser, pages[name], tmp_path / "profile")
    assert "</main>" in shown
    assert "CONSOLE" not in complaints
    assert asked == []


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["request", "hostile", "period"])
def test_nothing_is_wider_than_the_window_and_focus_tells_the_figures(
    name: str, width: int, pages: Mapping[str, Path], browser: str, tmp_path: Path
) -> None:
    found = probed(browser, pages[name], tmp_path / "profile", width)
    (size,) = found["width"]
    assert size["page"] <= size["view"] == width
    assert found["beyond"][0]["tags"] == []
    stops = [each for each in found["focus"] if each["active"]]
    assert len(stops) >= 2
    for stop in stops:
        assert stop["position"] == "fixed"
        assert len(stop["shown"]) > 10


def test_light_and_dark_follow_the_reader(pages: Mapping[str, Path], browser: str, tmp_path: Path) -> None:
    grounds = []
    for scheme in (0, 1):
        option = f"--blink-settings=preferredColorScheme={scheme}"
        found = probed(browser, pages["request"], tmp_path / f"p{scheme}", 390, option)
        grounds.append(found["ground"][0]["color"])
    assert grounds == ["rgb(18, 18, 18)", "rgb(255, 255, 255)"]


def test_a_page_that_asks_for_something_or_complains_is_noticed(browser: str, tmp_path: Path) -> None:
    body = '<main></main><img src="http://outside.example/x.png"><script>console.error("x")</script>'
    _, complaints, asked = loaded(browser, save_page(tmp_path / "hostile.html", body), tmp_path / "profile")
    assert "CONSOLE" in complaints
    assert "http://outside.example/x.png" in asked
