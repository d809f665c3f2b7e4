# SPDX-License-Identifier: BSD-3-Clause
"""Trainer.report: what is on the page, that it is alone and whole, and that a browser shows it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest

import nervure as nv
from nervure import nn, plot, report
from nervure.callbacks import TerminateOnNaN
from nervure.data import ArrayDataset, DataLoader

HOSTILE = [
    "<script>document.title='broken'</script>",
    "$\\frac{$ & \"quoted\" 'single'",
    "--></svg><img src=http://example.org/x.png onerror=alert(1)>",
    'id="x" style="#000000" url(#y)\x00\x1b[31m\ud800\u2028' + "long " * 60,
]

needs_matplotlib = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed"
)


class Classifier(nn.Module):
    """Two convolutions, four classes."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3, activation="relu"),
            nn.BatchNorm2d(4),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 2, activation="relu"),
        )
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(24, 4)

    def forward(self, x):
        return self.head(self.drop(self.features(x).flatten(1)))


def images(count):
    rng = np.random.default_rng(0)
    y = np.arange(count) % 4
    return (rng.normal(size=(count, 3, 8, 8)) + y[:, None, None, None] - 1.5).astype("f4"), y


def trained():
    nv.manual_seed(0)
    trainer = nv.Trainer(Classifier(), "cross_entropy", metrics=["accuracy", "confusion_matrix"])
    trainer.fit(*images(120), epochs=3, validation_split=0.2)
    return trainer


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    pytest.importorskip("matplotlib")
    path = tmp_path_factory.mktemp("report") / "report.html"
    # Every name on the page is somebody else's text.
    title = f"Title {HOSTILE[0]}"
    assert trained().report(path, class_names=HOSTILE, title=title) == path
    return path


class Reader(HTMLParser):
    """Elements with their attributes, and the text outside of the style sheet."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.text = ""
        self._open = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._open.append(tag)

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if "style" not in self._open:
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def sections(path):
    return re.findall(r"<h2[^>]*>(.*?)</h2>", path.read_text("utf-8"))


# ---- what is on it -------------------------------------------------------------------------------


def test_the_page_has_everything(page):
    assert sections(page) == [
        *("Learning curves", "Validation", "Model", "Weights", "Learned filters", "Gradients"),
        *("Activations", "Settings"),
    ]
    reader = Reader(page.read_text("utf-8"))
    pictures = reader.all("svg")
    assert len(pictures) == 10  # two of validation, two of filters, two of gradients
    assert all(p["role"] == "img" and len(p["aria-label"]) > 20 for p in pictures)
    for words in ("accuracy", "features.3.weight", "CrossEntropyLoss", "Adam", "lr = 0.001"):
        assert words in reader.text
    assert nv.__version__ in reader.text
    assert "4\N{MULTIPLICATION SIGN}4 values" in reader.text  # the metric that is a matrix
    assert "9 updates" in reader.text


def test_the_page_is_alone(page):
    """Nothing is fetched, nothing runs."""
    text = page.read_text("utf-8")
    reader = Reader(text)
    names = {tag for tag, _ in reader.elements}
    assert not names & {"script", "iframe", "object", "embed", "link", "base", "form", "img"}
    for tag, attributes in reader.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "xlink:href", "action", "data"):
                assert value.startswith(("#", "data:image/png;base64,")), (tag, name, value)
    assert not re.search(r"@import|url\((?!#)", text)
    (policy,) = [m["content"] for m in reader.all("meta") if "http-equiv" in m]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")


def test_references_inside_the_page_lead_somewhere(page):
    reader = Reader(page.read_text("utf-8"))
    ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = set()
    for _, attributes in reader.elements:
        for name, value in attributes.items():
            if name in ("href", "xlink:href") and value.startswith("#"):
                wanted.add(value[1:])
            elif name in ("style", "clip-path"):
                wanted.update(re.findall(r"url\(#([^)]+)\)", value))
            elif name == "aria-labelledby":
                wanted.add(value)
    assert len(wanted) > 10
    assert wanted <= set(ids)


def test_names_are_text(page):
    text = page.read_text("utf-8")
    assert f"<h1>Title {HOSTILE[0]}</h1>" not in text
    heads = [unescape(head) for head in re.findall(r'<th scope="row">(.*?)</th>', text)]
    assert HOSTILE[0] in heads
    assert HOSTILE[1] in heads
    assert HOSTILE[2] in heads
    odd = next(head for head in heads if head.startswith('id="x"'))
    assert odd == re.sub("[\x00\x1b\ud800\u2028]", "\N{REPLACEMENT CHARACTER}", HOSTILE[3])
    drawn = Reader(text).text
    assert '$\\frac{$ & "quoted" \'sing' in drawn  # in the confusion matrix, no formula, cut
    assert "\x00" not in text


@needs_matplotlib
def test_a_model_of_sequences(tmp_path):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(9, 8)
            self.rnn = nn.GRU(8, 8, bidirectional=True)
            self.attention = nn.MultiheadAttention(16, 2)
            self.head = nn.Linear(16, 1)

        def forward(self, tokens, lengths):
            y, _ = self.rnn(self.embedding(tokens), lengths=lengths)
            y, _ = self.attention.forward(y, lengths=lengths)
            return self.head(y.mean(1))

    rng = np.random.default_rng(0)
    tokens, lengths = rng.integers(1, 9, (40, 5)), rng.integers(1, 6, 40)
    y = (tokens[:, 0] > 4).astype("f4")
    dataset = ArrayDataset(tokens, y, lengths=lengths)
    trainer = nv.Trainer(Net(), "bce_with_logits", metrics=["accuracy"], ema_decay=0.9, l2=1e-3)
    trainer.fit(dataset, epochs=1, validation_data=DataLoader(dataset, 16))
    weights = {name: p.numpy().copy() for name, p in trainer.model.named_parameters()}
    trainer.report(tmp_path / "r.html", tokens=["a<b", "c", "d", "e", "f"])
    assert sections(tmp_path / "r.html") == [
        *("Learning curves", "Validation", "Model", "Weights", "Gradients", "Attention"),
        *("Activations", "Settings"),
    ]
    text = (tmp_path / "r.html").read_text("utf-8")
    labels = "\n".join(svg["aria-label"] for svg in Reader(text).all("svg"))
    for told in ("time step of rnn", "first sample in attention", "Confusion matrix of 2", "ROC"):
        assert told in labels
    assert "a&lt;b" in text
    assert "ema_decay" in text
    for name, parameter in trainer.model.named_parameters():
        np.testing.assert_array_equal(parameter.numpy(), weights[name])  # and not their averages


@needs_matplotlib
def test_without_validation_data(tmp_path):
    x = np.random.default_rng(0).normal(size=(20, 3)).astype("f4")
    trainer = nv.Trainer(nn.Linear(3, 1), "mse")
    path = tmp_path / "r.html"
    trainer.report(path)
    expected = ["Learning curves", "Model", "Weights", "Not shown", "Settings"]
    assert sections(path) == expected
    assert "has not been trained" in path.read_text("utf-8")
    assert "attention maps and activations: there is no validation" in path.read_text("utf-8")

    trainer.fit(x, x[:, 0], epochs=1)
    trainer.report(path, inputs=x[:2])
    assert sections(path) == [*expected[:3], "Activations", *expected[3:]]
    assert "gradients: there is no validation" in path.read_text("utf-8")
    # A generator has been used up by fit.
    trainer.fit(x, x[:, 0], validation_data=iter([(x, x[:, 0])]))
    trainer.report(path)
    assert sections(path) == expected
    trainer.report(path, (x, x[:, 0]))
    assert sections(path) == [
        *("Learning curves", "Validation", "Model", "Weights", "Gradients", "Activations"),
        "Settings",
    ]


@needs_matplotlib
def test_too_many_classes(tmp_path):
    trainer = nv.Trainer(nn.Linear(3, 101), "cross_entropy")
    trainer.report(tmp_path / "r.html", (np.ones((9, 3), "f4"), np.arange(9)))
    text = (tmp_path / "r.html").read_text("utf-8")
    assert "101 classes are too many for a confusion matrix." in text


@needs_matplotlib
def test_warnings_come_first(tmp_path):
    x = np.full((8, 3), np.nan, "f4")
    trainer = nv.Trainer(nn.Linear(3, 1), "mse")
    with pytest.warns(RuntimeWarning, match="TerminateOnNaN"):
        trainer.fit(x, x[:, 0], callbacks=TerminateOnNaN())
    trainer.warnings.append("<b>second</b>")
    trainer.report(tmp_path / "r.html")
    assert sections(tmp_path / "r.html")[0] == "Warnings"
    text = (tmp_path / "r.html").read_text("utf-8")
    assert '<p class="warning">[TerminateOnNaN] ' in text
    assert '<p class="warning">&lt;b&gt;second&lt;/b&gt;</p>' in text
    assert "stopped because of values that were not finite" in text


# ---- what it leaves alone ------------------------------------------------------------------------


@needs_matplotlib
def test_nothing_is_changed(tmp_path):
    alone, watched = trained(), trained()
    watched.model.train()
    kinds = [type(module) for module in watched.model.modules()]
    watched.report(tmp_path / "r.html")
    assert [type(module) for module in watched.model.modules()] == kinds
    assert all(module.training for module in watched.model.modules())
    assert nv.is_grad_enabled()
    for trainer in (alone, watched):
        nv.manual_seed(1)
        trainer.fit(*images(120), epochs=1)
    for name, value in alone.model.state_dict().items():
        np.testing.assert_array_equal(watched.model.state_dict()[name].numpy(), value.numpy())


@needs_matplotlib
def test_a_failure_leaves_the_old_page(tmp_path, monkeypatch):
    path = tmp_path / "r.html"
    path.write_text("old")
    trainer = nv.Trainer(nn.Linear(3, 4), "cross_entropy")
    data = (np.ones((8, 3), "f4"), np.arange(8) % 4)
    with pytest.raises(ValueError, match=r"class_names must name 4 classes, got 1"):
        trainer.report(path, data, class_names=["one"])
    with pytest.raises(ValueError, match="no batches to evaluate"):
        trainer.report(path, DataLoader(ArrayDataset(data[0][:0], data[1][:0])))

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        trainer.report(path)
    assert os.listdir(tmp_path) == ["r.html"]
    assert path.read_text() == "old"
    with pytest.raises(FileNotFoundError):
        trainer.report(tmp_path / "missing" / "r.html")


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'nervure\[plot\]'"):
        nv.Trainer(nn.Linear(3, 1), "mse").report(tmp_path / "r.html")
    assert not os.listdir(tmp_path)


# ---- parts ---------------------------------------------------------------------------------------


def test_layers_are_chosen_from_first_to_last():
    items = {str(i): np.ones(i % 3) for i in range(100)}
    assert list(report._inside._spread(items, 4)) == ["0", "33", "66", "99"]
    assert list(report._inside._largest(items, 3)) == ["2", "5", "8"]
    assert report._inside._spread(items, 100) is items
    assert len(report._inside._largest(items, 100)) == 100


def test_deep_models_are_folded():
    def nested(depth):
        return nn.Sequential(nested(depth - 1), nested(depth - 1)) if depth else nn.Identity()

    assert report._inside._depth(nested(5)) is None  # 63 modules
    assert report._inside._depth(nested(8)) == 5
    assert report._inside._depth(nn.Sequential(*(nn.Identity() for _ in range(500)))) == 0


@needs_matplotlib
def test_pictures_do_not_share_ids():
    figure = plot.gradient_norms({"a": [1.0]})
    first, second = (report._svg.inline_svg(figure, i, "what it shows") for i in (1, 2))
    assert first != second
    assert first.replace("p1-", "p2-") == second  # and otherwise the same


# ---- in a browser --------------------------------------------------------------------------------

PROBE = """<script>
const found = {errors: [], violations: []};
addEventListener("error", event => found.errors.push(String(event.message)));
addEventListener("securitypolicyviolation", event => found.violations.push(event.blockedURI));
// The event "load" waits for these.
addEventListener("DOMContentLoaded", () => {
  for (const image of document.querySelectorAll("image")) {
    const copy = document.createElement("img");
    copy.className = "copy";
    copy.src = image.getAttribute("xlink:href") || image.href.baseVal;
    document.body.append(copy);
  }
});
addEventListener("load", () => {
  const copies = [...document.querySelectorAll(".copy")];
  found.images = copies.map(copy => copy.naturalWidth);
  copies.forEach(copy => copy.remove());
  const pictures = [...document.querySelectorAll("svg")];
  found.sizes = pictures.map(svg => svg.getBoundingClientRect().width);
  found.letters = pictures.map(svg => svg.querySelectorAll("text").length);
  found.inks = [...new Set(pictures.map(svg => getComputedStyle(svg).fill))];
  found.ink = getComputedStyle(document.body).color;
  found.paper = getComputedStyle(document.body).backgroundColor;
  found.width = [document.documentElement.scrollWidth, innerWidth];
  found.title = document.title;
  found.resources = performance.getEntriesByType("resource").map(entry => entry.name)
    .filter(name => !name.startsWith("data:"));
  const place = document.createElement("pre");
  place.id = "found";
  place.textContent = JSON.stringify(found);
  document.body.append(place);
});
</script>"""


def browser():
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if shutil.which(name):
            return name
    return pytest.skip("there is no chromium, chromium-browser or google-chrome on PATH")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it(page, tmp_path, scheme):
    program = browser()
    text = page.read_text("utf-8")
    # The copy may run the probe; everything else stays forbidden.
    allowed = text.replace("default-src 'none';", "default-src 'none'; script-src 'unsafe-inline';")
    assert allowed != text
    copy = tmp_path / "page.html"
    copy.write_text(allowed.replace("<title>", f"{PROBE}<title>", 1), "utf-8")
    options = [
        *("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000"),
        *(f"--user-data-dir={tmp_path / 'profile'}", "--window-size=700,900"),
        *("--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom"),
    ]
    if scheme == "dark":
        options.append("--force-dark-mode")
    run = subprocess.run(
        [program, *options, copy.as_uri()],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
    )
    dom = run.stdout.decode("utf-8")
    assert '<pre id="found">' in dom, run.stderr.decode("utf-8", "replace")[-2000:]
    found = json.loads(unescape(dom.split('<pre id="found">')[1].split("</pre>")[0]))
    assert found["errors"] == []
    assert found["violations"] == []
    assert found["resources"] == []
    assert b"CONSOLE" not in run.stderr
    assert len(found["sizes"]) == 10
    assert min(found["sizes"]) > 100
    assert min(found["letters"]) >= 1
    assert len(found["images"]) >= 5
    assert min(found["images"]) > 0
    assert found["title"] == f"Title {HOSTILE[0]}"  # the script in it has not run
    assert found["width"][0] <= found["width"][1]  # nothing sticks out
    light = [sum(map(int, re.findall(r"\d+", found[part])[:3])) > 380 for part in ("paper", "ink")]
    assert light == ([True, False] if scheme == "light" else [False, True])
    assert found["inks"] == [found["ink"]]


def test_probe_notices_what_is_wrong(tmp_path):
    """The test above can fail: a page that fetches something and breaks is told apart."""
    program = browser()
    broken = f"""<!doctype html><html><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'">
{PROBE}<title>x</title></head><body><img src="http://example.org/x.png">
<svg width="9" height="9"><image href="data:image/png;base64,AAAA"/></svg>
<script>missing()</script></body></html>"""
    path = tmp_path / "page.html"
    path.write_text(broken, "utf-8")
    run = subprocess.run(
        [
            *(program, "--headless", "--no-sandbox", "--disable-gpu"),
            *("--virtual-time-budget=20000", f"--user-data-dir={tmp_path / 'profile'}"),
            *("--enable-logging=stderr", "--dump-dom", path.as_uri()),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
    )
    found = json.loads(
        unescape(run.stdout.decode().split('<pre id="found">')[1].split("</pre>")[0])
    )
    assert any("missing" in error for error in found["errors"])
    assert "http://example.org/x.png" in found["violations"]
    assert found["images"] == [0]
    assert b"CONSOLE" in run.stderr
