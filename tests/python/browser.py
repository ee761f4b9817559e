"""Uses the installed kernel `spatialkit` in a real JupyterLab, in a headless Chromium that
SPATIALKIT_CHROMIUM names. Prints one line per check and keeps screenshots.

    python browser.py folder_of_notebooks folder_of_screenshots
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import expect, sync_playwright

NAME = "Rust (spatialkit)"
TOKEN = "browser"
PATIENCE = 300  # seconds; much, for a machine that does other things as well
CELLS = [
    "use spatialkit::prelude::*;\nlet mut slide = datasets::synthetic(&Synthetic::default())?;\nslide",
    'pl::spatial(&slide, "layer") // the layers',
    "let fit = Stamgc::preset(Preset::Visium).n_domains(7).epochs(100_000).fit(&mut slide)?;",
    "slide.n_obs()",
]
# The news would ask a question and fetch from the network.
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "apputils-extension/themes": {"theme": "JupyterLab Light"},
}
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def environment(scratch):
    """One in which JupyterLab sees no file of the user's own."""
    env = dict(os.environ)
    for what in ["CONFIG", "DATA", "RUNTIME"]:
        env[f"JUPYTER_{what}_DIR"] = str(scratch / what.lower())
    settings = scratch / "settings"
    env["JUPYTERLAB_SETTINGS_DIR"] = str(settings)
    env["JUPYTERLAB_WORKSPACES_DIR"] = str(scratch / "workspaces")
    for name, value in SETTINGS.items():
        file = settings / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(value))
    return env


@contextmanager
def jupyterlab(folder, scratch, log):
    """A running server's address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    command += [f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}"]
    command += ["--LabApp.extension_manager=readonly"]  # the other one asks PyPI
    with log.open("w") as out:
        server = subprocess.Popen(command, env=environment(scratch), stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + PATIENCE
        while not answers(f"{address}/api"):
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()  # ends its kernels, too
        server.wait(PATIENCE)


def answers(url):
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except (urllib.error.URLError, TimeoutError):
        return False


@contextmanager
def browser(scratch, screenshots):
    """A page of a browser without a history; what it shows in the end, or at a failure, is kept."""
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            scratch / "profile",
            executable_path=os.environ["SPATIALKIT_CHROMIUM"],
            args=FLAGS,
            viewport={"width": 1300, "height": 1250},
        )
        page = context.pages[0]
        page.set_default_timeout(PATIENCE * 1000)
        expect.set_options(timeout=PATIENCE * 1000)
        try:
            yield page
        finally:
            page.screenshot(path=screenshots / "last.png")
            context.close()


def menu(page, *path):
    """Chooses from the menu bar."""
    page.locator(".lm-MenuBar-itemLabel", has_text=path[0]).first.click()
    for label in path[1:]:
        item = page.locator(".lm-Menu-itemLabel").get_by_text(label, exact=True)
        item.hover()
        item.click()


def cell(page, number):
    return page.locator(".jp-Notebook .jp-CodeCell").nth(number)


def figures(page):
    return page.locator(".jp-Notebook .jp-RenderedImage img")


def idle(page):
    """Waits; the circle in the toolbar says idle also before there is a kernel, the status bar does not."""
    expect(page.locator("#jp-main-statusbar")).to_contain_text(f"{NAME} | Idle")


def error(page, notebook, number):
    """The name of a cell's error, which the page does not show and the saved notebook holds."""
    page.keyboard.press("Control+s")
    expect(page.locator(".lm-TabBar-tab.lm-mod-current.jp-mod-dirty")).to_have_count(0)
    outputs = nbformat.read(notebook, as_version=4).cells[number].outputs
    return [o.ename for o in outputs if o.output_type == "error"]


def loaded(image):
    """Whether an <img> shows something, and how large the picture is."""
    expect(image).to_be_visible()
    image.scroll_into_view_if_needed()
    image.evaluate("image => image.decode()")
    return image.evaluate("image => [image.naturalWidth, image.naturalHeight]")


def launcher(page, address):
    page.goto(f"{address}/lab?token={TOKEN}&reset")
    card = page.locator(f'.jp-LauncherCard[title="{NAME}"]').first
    expect(card).to_be_visible()
    print("ok: the launcher offers the kernel")
    specs = json.load(urllib.request.urlopen(f"{address}/api/kernelspecs?token={TOKEN}"))
    if specs["kernelspecs"]["spatialkit"]["resources"]:
        assert min(loaded(card.locator("img"))) > 0
        print("ok: with its logo")


def figure(page, address):
    page.goto(f"{address}/lab/tree/browser.ipynb?token={TOKEN}&reset")
    idle(page)
    expect(page.locator(".jp-Toolbar-kernelName")).to_have_text(NAME)
    print("ok: the notebook opens, and its toolbar names the kernel")
    menu(page, "Run", "Run All Cells")
    width, height = loaded(figures(page).first)
    assert width > 200 and height > 200, (width, height)
    print("ok: the figure is shown")


def highlighting(page):
    colours = "spans => new Set(spans.map(s => getComputedStyle(s).color)).size"
    spans = cell(page, 1).locator(".cm-line span[class]")
    assert spans.evaluate_all(colours) > 1, spans.evaluate_all("s => s.map(x => x.outerHTML)")
    print("ok: code is highlighted")


def interrupted(page, notebook, screenshots):
    training = cell(page, 2)
    expect(training).to_contain_text("loss")
    shown = training.locator(".jp-OutputArea-output").first
    expect(shown).not_to_have_text(shown.inner_text())
    page.screenshot(path=screenshots / "running.png")
    print("ok: the progress of a training moves")
    start = time.monotonic()
    page.locator('.jp-Toolbar [data-command="notebook:interrupt-kernel"]').click()
    expect(training).to_contain_text("interrupted", timeout=20_000)
    seconds = time.monotonic() - start
    idle(page)
    page.screenshot(path=screenshots / "interrupted.png")
    assert error(page, notebook, 2) == ["KeyboardInterrupt"]
    print(f"ok: the interrupt button stops it ({seconds:.1f} s)")


def survival(page, screenshots):
    last = cell(page, 3)
    last.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    expect(last.locator(".jp-OutputArea-output")).to_contain_text("1806")
    idle(page)
    page.screenshot(path=screenshots / "light.png")
    print("ok: the slide survived, and the kernel is idle")


def dark(page, screenshots):
    menu(page, "Settings", "Theme", "JupyterLab Dark")
    expect(page.locator("body")).to_have_attribute("data-jp-theme-light", "false")
    loaded(figures(page).first)
    page.screenshot(path=screenshots / "dark.png")
    print("ok: the theme changes to dark")


def tutorial(page, address):
    page.goto(f"{address}/lab/tree/first_steps.ipynb?token={TOKEN}&reset")
    idle(page)
    menu(page, "Run", "Run All Cells")
    last = page.locator(".jp-Notebook .jp-CodeCell").last
    expect(last.locator(".jp-OutputArea-output")).to_contain_text("best_marker")
    count = figures(page).count()
    assert count >= 10, count
    for i in range(count):
        assert min(loaded(figures(page).nth(i))) > 200, i
    print("ok: a notebook of the project runs, and shows its figures")


def main(folder, screenshots):
    screenshots.mkdir(parents=True, exist_ok=True)
    cells = new_notebook(cells=[new_code_cell(c) for c in CELLS])
    cells.metadata["kernelspec"] = {"name": "spatialkit", "display_name": NAME}
    notebook = folder / "browser.ipynb"
    nbformat.write(cells, notebook)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        server = jupyterlab(folder, scratch, screenshots / "jupyterlab.log")
        with server as address, browser(scratch, screenshots) as page:
            launcher(page, address)
            figure(page, address)
            highlighting(page)
            interrupted(page, notebook, screenshots)
            survival(page, screenshots)
            dark(page, screenshots)
            tutorial(page, address)


main(Path(sys.argv[1]), Path(sys.argv[2]))
