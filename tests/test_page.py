"""The live view: its session, without a browser; its server, by raw requests."""

from __future__ import annotations

import http.client
import itertools
import json
import re
import struct
import threading
import time

import numpy as np
import pytest

import sgdfit
from sgdfit import demo
from sgdfit.errors import FormulaError, UsageError
from sgdfit.fitting.status import ENDINGS
from sgdfit.formula.evaluation import evaluate
from sgdfit.page import drawing, session
from sgdfit.page import watch as watching
from sgdfit.page.legs import Leg, Settings
from sgdfit.page.samples import SAMPLES
from sgdfit.page.server import HEADERS, Page, packed, unpacked
from sgdfit.page.session import Session
from sgdfit.page.watch import watched
from sgdfit.page.words import on_page
from sgdfit.result.status import STATUSES

pytest.importorskip("starlette")

QUADRATIC = demo.FORMULA


class Watched:
    """A session, and what it has said."""

    def __init__(self, *given):
        self.said, self.heard = [], threading.Condition()
        self.session = Session(self.hear, *given)

    def hear(self, message, arrays):
        with self.heard:
            self.said.append((message, arrays))
            self.heard.notify_all()

    def ask(self, what, answer="frame", **rest):
        """Send a message; return the first answer of a kind that follows."""
        before = len(self.said)
        self.session.handle({"type": what, **rest})
        return self.wait(answer, before)

    def wait(self, answer, before, until=lambda message: True, seconds=60.0):
        def found():
            return next(
                (m for m, _ in self.said[before:] if m["type"] == answer and until(m)), None
            )

        with self.heard:
            assert self.heard.wait_for(lambda: found() is not None, seconds), answer
            return found()


@pytest.fixture
def watch():
    watched = []

    def begin(*given):
        watched.append(Watched(*given))
        return watched[-1]

    yield begin
    for one in watched:
        one.session.close()


def test_the_first_sight_is_the_tutorials_quadratic_badly_placed_and_paused(watch):
    view = watch()
    scene = view.ask("hello", "scene")
    assert scene["formula"] == QUADRATIC
    assert scene["invitation"] == "Drag a, b, c to lower the loss, then press Step."
    frame = view.wait("frame", 0)
    assert not frame["running"]
    assert frame["loss"] > 5 * sgdfit.fit(QUADRATIC, demo.points()).loss


def test_steps_are_those_of_fit_to_the_last_bit(watch):
    view = watch()
    first = view.ask("options", rate=0.1)
    for _ in range(7):
        last = view.ask("step")
    run = sgdfit.fit(
        QUADRATIC, demo.points(), start=first["values"], optimizer="sgd", learning_rate=0.1,
        steps=7, kernel="numpy",
    )  # fmt: skip
    assert last["values"] == run.values
    assert last["step"] == 7
    assert last["loss"] == pytest.approx(run.loss, rel=1e-14)


@pytest.mark.parametrize(
    "options",
    [{}, {"batch": 4, "seed": 3}, {"optimizer": "adam"}, {"optimizer": "sgd(momentum=0.5)"}],
)
def test_an_exported_run_repeats_its_numbers(watch, options, tmp_path, monkeypatch):
    view = watch()
    view.ask("options", **options)
    for _ in range(3):
        view.ask("step")
    view.ask("set", name="a", value=1.5)
    view.ask("options", rate=0.05)
    for _ in range(2):
        last = view.ask("step")
    written = view.ask("export", "answer", kind="python")
    points = demo.points()
    lines = [
        f"{x!r},{y!r}" for x, y in zip(points["x"].tolist(), points["y"].tolist(), strict=True)
    ]
    (tmp_path / "data.csv").write_text("\n".join(["x,y", *lines]) + "\n")
    monkeypatch.chdir(tmp_path)
    space = {}
    exec(written["text"], space)
    assert space["fit"].values == last["values"]


def test_steps_on_many_rows_are_compiled_and_written_down_so(watch, monkeypatch):
    monkeypatch.setattr(session, "COMPILED_FROM", 20)
    view = watch()
    view.session.legs.append(Leg(view.session.values, Settings(), rate=0.1, steps=1))
    assert "kernel='compiled'" in view.ask("export", "answer", kind="python")["text"]


SITES = {
    "x": np.linspace(0, 4, 40), "site": ["north", "south"] * 20,
    "y": np.linspace(0, 4, 40) * np.tile([1.0, 3.0], 20) + np.sin(np.arange(40)),
}  # fmt: skip


def test_levels_have_a_slider_and_a_curve_each_and_rows_can_be_left_out(watch):
    view = watch(SITES, "y = a[site]*x + b")
    scene = view.ask("hello", "scene")
    assert [one["name"] for one in scene["parameters"]] == ["a[north]", "a[south]", "b"]
    assert [one["colour"] for one in scene["parameters"]] == [0, 1, 2]
    assert scene["levels"] == ["north", "south"]
    assert view.ask("where", "scene", text="x > 1")["rows"] == 30
    view.ask("set", name="a[south]", value=2.0)
    view.session.handle({"type": "step"})
    last = view.wait("frame", 0, lambda frame: frame["step"] == 1)
    said = next(said for said in view.said if said[0] is last)
    curve = dict(zip((name for name, *_ in last["arrays"]), said[1], strict=True))["curve"]
    north, south = np.split(curve, 2)
    assert (south - north)[-1] > (south - north)[0]
    space = {"data": SITES}
    code = view.ask("export", "answer", kind="python")["text"]
    exec(code.replace('data = "data.csv"', ""), space)
    assert space["fit"].values == last["values"]
    many = {**SITES, "site": [f"s{k % 12}" for k in range(40)]}
    with pytest.raises(UsageError, match="13 parameters, of which the view shows at most 12"):
        Session(lambda *_: None, many, "y = a[site]*x + b")


def test_cures_name_the_controls_of_the_view():
    cures = [cure for _, *both in ENDINGS.values() for cure in both if cure]
    cures += [one.cure for one in STATUSES.values()]
    for cure in cures:
        if "learning rate" in cure or "tolerance" in cure:  # of a descent of sgdfit.fit
            continue
        said = on_page(cure.replace("{mended}", '--where "x > 0" (in Python where="x > 0")'))
        assert not re.search(
            "--|start=|where=|command line|in Python|steps \\(|bound the par", said
        )


def test_a_run_that_diverges_stops_where_it_was_finite_and_offers_a_rate(watch):
    view = watch()
    view.ask("options", rate=0.5)
    before = len(view.said)
    view.session.handle({"type": "run"})
    last = view.wait("frame", before, lambda frame: frame["ended"] == "halted")
    assert not last["running"]
    assert all(np.isfinite(value) for value in last["values"].values())
    assert last["verdict"]["level"] == "bad"
    offered = last["verdict"]["offer"]
    assert 0 < offered < last["zones"]["limit"]
    view.ask("reset")
    view.ask("options", rate=offered, speed=200)
    before = len(view.said)
    view.session.handle({"type": "run"})
    least = sgdfit.fit(QUADRATIC, demo.points()).loss
    view.wait("frame", before, lambda frame: frame["loss"] < (1 + 1e-9) * least)


@pytest.mark.parametrize(
    ("optimizer", "rate", "level", "said"),
    [
        ("sgd", 0.1, "good", ["shrinks smoothly"]),
        ("sgd(momentum=0.9)", 0.1, "good", ["momentum 0.9", "oscillates and shrinks", "digit"]),
        ("sgd(momentum=0.9)", 2e-4, "good", ["momentum 0.9", "shrinks smoothly"]),
        ("sgd(momentum=0.9)", 0.5, "bad", ["momentum 0.9", "grows"]),
        ("sgd(momentum=1.5)", 0.1, "bad", ["not below 1"]),
    ],
)
def test_the_verdict_is_of_the_momentum_that_is_chosen(watch, optimizer, rate, level, said):
    verdict = watch().ask("options", optimizer=optimizer, rate=rate)["verdict"]
    assert verdict["level"] == level
    assert all(words in verdict["text"] for words in said)


def test_back_undoes_steps_and_hands(watch):
    view = watch()
    begun = view.ask("hello")["values"]
    view.ask("step")
    view.ask("set", name="b", value=5.0)
    view.ask("back")
    after = view.ask("back")
    assert after["values"] == begun
    assert after["step"] == 0


def test_fit_for_me_ends_at_the_least_squares(watch):
    view = watch()
    shown = view.ask("fit", "result")
    assert "converged" in shown["html"]
    last = view.ask("pause")
    answer = sgdfit.fit(QUADRATIC, demo.points())
    assert last["values"] == pytest.approx(answer.values, rel=1e-9)
    land = view.wait("landscape", 0, lambda one: "star" in one)
    assert land["star"] == pytest.approx([answer["a"].value, answer["b"].value])


def test_a_pull_leads_the_curve_to_a_point_and_is_undone_as_a_whole(watch):
    view = watch()
    view.ask("data", "frame", kind="sample", name="peak")
    view.ask("pause", "landscape")
    before, count = view.session.values, len(view.said)
    for _ in range(8):  # a drag is many pulls
        view.session.handle({"type": "pull", "x": 6.0, "y": 5.0})
        time.sleep(0.05)
    curve, there = view.session.model.prediction, pytest.approx(5.0, rel=1e-6)
    view.wait("frame", count, lambda one: evaluate(curve, {**one["values"], "x": 6.0}) == there)
    view.session.handle({"type": "back"})
    view.wait("frame", count, lambda one: one["values"] == before)


def test_a_locked_parameter_stays(watch):
    view = watch()
    view.ask("lock", "scene", name="c", locked=True)
    last = view.ask("step")
    assert last["values"]["c"] == 9.0
    assert "c" not in last["gradient"]


def test_a_second_descent_goes_beside_the_first(watch):
    view = watch()
    view.ask("compare", kind="batch", other=5)
    for _ in range(3):
        last = view.ask("step")
    other = sgdfit.fit(
        QUADRATIC, demo.points(), start=view.session.initial, learning_rate=last["rival"]["rate"],
        steps=3, batch_size=5, optimizer="sgd", kernel="numpy",
    )  # fmt: skip
    assert last["rival"]["values"] == other.values
    assert last["rival"]["loss"] == pytest.approx(other.loss, rel=1e-14)
    said = next(said for said in reversed(view.said) if said[0] is last)
    arrays = dict(zip((name for name, *_ in last["arrays"]), said[1], strict=True))
    assert {"rival_losses", "rival_path_x", "rival_curve", "rival_fitted"} <= {*arrays}
    assert arrays["rival_steps"].tolist() == arrays["steps"].tolist() == [0, 1, 2]
    view.ask("lock", "scene", name="c", locked=True)  # it stays, over what is free
    again = view.ask("step")
    assert again["rival"]["batch"] == 5


def test_many_rows_are_stepped_on_and_some_are_drawn(watch):
    view = watch()
    scene = view.ask("data", "scene", kind="sample", name="many")
    assert scene["rows"] == 100_000
    assert scene["drawn"] == 5_000
    told = view.wait("density", 0)
    (counts,) = next(arrays for message, arrays in view.said if message is told)
    left, right, bottom, top = told["view"]
    x, y = SAMPLES["many"].columns().values()
    expected, *_ = np.histogram2d(y, x, (100, 160), [(bottom, top), (left, right)])
    assert np.abs(counts.reshape(100, 160) - expected).sum() <= 2
    assert counts.sum() > 99_900
    before = len(view.said)
    view.session.handle({"type": "step"})
    view.wait("frame", before, lambda frame: frame["step"] == 1)


@pytest.mark.parametrize(
    "state",
    [
        {"formula": "z = a*t + b"}, {"formula": "y = foo("}, {"optimizer": "none"}, {"rate": -1},
        {"locked": 3}, ["nonsense"], {"where": "x > 99"}, {"ranges": {"a": [2, 1]}},
        {"slice": "ab"}, {"sample": "nope"}, {"sample": ["x"]},
    ],
)  # fmt: skip
def test_what_is_here_is_shown_whatever_the_address_asks_for(watch, state):
    view = watch()
    assert view.ask("hello", "scene", state=state)["formula"] == QUADRATIC
    assert view.wait("frame", 0, lambda frame: frame["values"]["c"] == 9.0)
    assert "the address asks for what is not here" in view.wait("error", 0)["text"]


def test_rows_that_no_parameters_fit_are_named(watch):
    view = watch({"t": [0.0, 1.0, 2.0], "y": [1.0, 2.0, 3.0]}, "y = a*log(t) + b")
    view.ask("hello", "scene")
    text = view.wait("frame", 0)["verdict"]["text"]
    assert "not finite" in text
    assert "row 1" in text


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"type": "formula", "text": "y = a*exp(b*x"}, "never closed"),
        ({"type": "formula", "text": "y = " + "a+" * 3000 + "x"}, "characters"),
        ({"type": "formula", "text": "z = a*x"}, "no column"),
        ({"type": "formula", "text": "y = a*e**x"}, "by its lock, at 2.718"),
        ({"type": "where", "text": "x > 9"}, "widen the condition"),
        ({"type": "set", "name": "a", "value": "nan"}, "a finite number is needed"),
        ({"type": "set", "name": "a", "value": 1e308}, "at most"),
        ({"type": "set", "name": "q", "value": 1}, "no parameter"),
        ({"type": "options", "optimizer": "sgd(momentum=2"}, "optimizer"),
        ({"type": "options", "rate": -1}, "-1"),
        ({"type": "options", "batch": "many"}, "many"),
        ({"type": "options", "speed": "fast"}, "fast"),
        ({"type": "range", "name": "a", "low": 3, "high": 1}, "low < high"),
        ({"type": "slice", "x": "a", "y": "a"}, "two free parameters"),
        ({"type": "lock", "name": "q", "locked": True}, "no parameter"),
        ({"type": "data", "kind": "sample", "name": "../x"}, "no sample"),
        ({"type": "data", "kind": "text", "text": ""}, "no data"),
        ({"type": "data", "kind": "file", "content": b"\x00\xff\x00"}, ""),
        ({"type": "data", "kind": "text", "text": "x\n1\n2\n"}, "two columns"),
        ({"type": "compare", "kind": "batch", "other": 0}, "0"),
        ({"type": "export", "kind": "exe"}, "written as"),
        ({"type": "shell"}, "no message"),
        ({}, "no message"),
        ({"type": ["set"]}, "no message"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_changes(watch, message, said):
    view = watch()
    before = view.ask("hello")
    count = len(view.said)
    view.session.handle(message)
    assert said in view.wait("error", count)["text"]
    assert view.ask("pause")["values"] == before["values"]


def test_data_that_are_pasted_or_dropped_are_fitted(watch, tmp_path, monkeypatch):
    view = watch()
    assert (
        view.ask("data", "scene", kind="text", text="a,b\n0,1\n1,2\n2,4")["formula"]
        == "b = c*a + d"
    )
    scene = view.ask("data", "scene", kind="text", text="t;v\n0;1,5\n1;2,5\n2;3,6\n3;4,4\n")
    assert scene["formula"] == "v = a*t + b"
    assert view.ask("formula", "scene", text="v = a*t^2 + b")["rows"] == 4
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": [1.0, 2, 3], "y": [2.0, 4, 6]}), tmp_path / "f.parquet")
    content = (tmp_path / "f.parquet").read_bytes()
    assert view.ask("data", "scene", kind="file", content=content)["columns"] == ["x", "y"]
    monkeypatch.setattr("sgdfit.page.uploads.MOST_NUMBERS", 5)
    assert "6 numbers" in view.ask("data", "error", kind="file", content=content)["text"]


def test_messages_with_arrays_arrive_as_they_were():
    arrays = [np.arange(3, dtype=np.float32), np.array([1.5, 2.5])]
    raw = packed({"type": "frame", "text": "∇"}, arrays)
    (length,) = struct.unpack_from("<I", raw)
    assert json.loads(raw[4 : 4 + length])["text"] == "∇"
    begin = -(-(4 + length) // 8) * 8
    assert np.frombuffer(raw, np.float32, 3, begin).tolist() == [0, 1, 2]
    assert np.frombuffer(raw, np.float64, 2, begin + 16).tolist() == [1.5, 2.5]
    told = unpacked(None, packed({"type": "data"}, [np.frombuffer(b"PAR1abcd", np.uint8)]))
    assert told["content"] == b"PAR1abcd"


@pytest.mark.parametrize(
    "raw", [b"", b"\xff\xff\xff\xff", struct.pack("<I", 3) + b"abc", b"\x02\0\0\0[]"]
)
def test_a_message_that_is_none_is_passed_over(raw):
    assert unpacked(None, raw) is None
    assert unpacked(raw.decode("latin1"), None) is None


@pytest.fixture(scope="module")
def server():
    import uvicorn

    page = Page()
    running = uvicorn.Server(
        uvicorn.Config(page.app, host="127.0.0.1", port=0, log_level="error", ws_max_size=10**6)
    )
    socket = running.config.bind_socket()
    thread = threading.Thread(target=running.run, args=([socket],), daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    yield page, socket.getsockname()[1]
    running.should_exit = True
    thread.join(timeout=60)


def asked(port, path, method="GET", **headers):
    """Send a raw request; return status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in {"Host": f"127.0.0.1:{port}", **headers}.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


UPGRADE = {
    "Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
}  # fmt: skip


def test_the_link_lets_in_and_nothing_else_does(server):
    page, port = server
    status, headers, _ = asked(port, f"/?token={page.token}")
    assert status == 303
    assert "HttpOnly" in headers["set-cookie"]
    assert "samesite=strict" in headers["set-cookie"].lower()
    cookie = f"sgdfit-{port}={page.token}"
    status, headers, body = asked(port, "/", Cookie=cookie)
    assert status == 200
    assert b"view.js" in body
    for name, value in HEADERS.items():
        assert headers[name.lower()] == value
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    # Cookies are shared by all ports: another page's leaves this one's alone.
    both = f"sgdfit-{port + 1}=another; {cookie}"
    assert asked(port, "/view.js", Cookie=both)[0] == 200


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {}),
        ("/?token=guess", {}),
        ("/", {"Cookie": "sgdfit-PORT=guess"}),
        ("/view.js", {}),
        ("/", {"Host": "evil.example"}),
        ("/?token=TOKEN", {"Host": "evil.example:8000"}),
        ("/", {"Host": "127.0.0.1.evil.example", "Cookie": "sgdfit-PORT=TOKEN"}),
        ("/view.js", {"Cookie": "sgdfit-PORT=TOKEN", "Origin": "http://evil.example"}),
        ("/ws", {**UPGRADE}),
        ("/ws", {**UPGRADE, "Cookie": "sgdfit-PORT=TOKEN", "Origin": "http://evil.example"}),
        ("/ws", {**UPGRADE, "Cookie": "sgdfit-PORT=TOKEN", "Origin": "null"}),
        ("/ws", {**UPGRADE, "Cookie": "sgdfit-PORT=TOKEN", "Host": "evil.example"}),
    ],
)
def test_strangers_get_403(server, path, headers):
    page, port = server
    known = {"TOKEN": page.token, "PORT": str(port)}
    headers = {n: re.sub("TOKEN|PORT", lambda f: known[f[0]], v) for n, v in headers.items()}
    assert asked(port, path.replace("TOKEN", page.token), **headers)[0] == 403


@pytest.mark.parametrize(
    "path", ["/../pyproject.toml", "/..%2f..%2fpyproject.toml", "/%2e%2e/session.py", "/session.py",
             "/static/view.js", "//etc/passwd", "/view.js%00.py"],
)  # fmt: skip
def test_no_file_of_the_server_is_reached(server, path):
    page, port = server
    status, _, body = asked(port, path, Cookie=f"sgdfit-{port}={page.token}")
    assert status == 404
    assert b"import" not in body
    assert b"root:" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "TRACE"])
def test_nothing_is_written_by_requests(server, method):
    page, port = server
    assert asked(port, "/", method, Cookie=f"sgdfit-{port}={page.token}")[0] == 405


def test_the_work_ends_with_the_numbers_of_the_step_that_comes_next(watch):
    view = watch()
    view.ask("options", rate=0.1)
    told = view.ask("work", "work")
    after = view.ask("step")["values"]
    last = told["latex"].rpartition("The step that comes next")[2]
    for name, value in after.items():
        assert re.search(rf"{name}\b.*= {value:.6g}".replace("-", "-?"), last)


def test_a_notebook_and_a_report_are_taken_along(watch):
    view = watch()
    for _ in range(2):
        view.ask("step")
    book = json.loads(view.ask("export", "answer", kind="notebook")["text"])
    assert [cell["cell_type"] for cell in book["cells"]] == ["markdown", *["code"] * 3]
    assert "steps=2" in book["cells"][1]["source"]
    page = view.ask("export", "answer", kind="report")["text"]
    assert page.startswith("<!DOCTYPE html>")
    assert "2.07 ± 0.46" in page


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """However busy the machine, a run waits until its views know how it ended."""
    monkeypatch.setattr(watching, "PATIENCE", 60.0)


class Client(threading.Thread):
    """Whoever opened the link of a run: what it is told, until it knows the end."""

    def __init__(self, link):
        super().__init__(daemon=True)
        self.port, self.token = re.search(r":(\d+)/\?token=(.*)", link).groups()
        self.told = []
        self.start()

    def run(self):
        from websockets.sync.client import connect

        address, cookie = (
            f"ws://127.0.0.1:{self.port}/ws",
            {"Cookie": f"sgdfit-{self.port}={self.token}"},
        )
        with connect(address, additional_headers=cookie, max_size=None) as socket:
            for raw in socket:
                (length,) = struct.unpack_from("<I", raw)
                self.told.append(json.loads(raw[4 : 4 + length]))
                if self.told[-1]["type"] in ("watch", "scene"):
                    for text in ('{"type": "reset"}', '{"type": "slice", "x": "a", "y": "a"}'):
                        socket.send(text)
                if self.told[-1]["type"] == "result" or self.told[-1].get("where") == "run":
                    return

    def of(self, kind):
        return [message for message in self.told if message["type"] == kind]

    def seen(self):
        return max((frame["step"] for frame in self.of("frame")), default=0)


def run_watched(**options):
    """Fit while two views watch; return the fit, its seconds, and what each view was told."""
    clients = []

    def slowly(progress):
        time.sleep(0.05)
        if progress.step in (5, 10, 15):  # seen on its way, however busy the machine
            while not all(client.seen() >= progress.step for client in clients):
                time.sleep(0.01)

    with watched(
        QUADRATIC, lambda progress: "on its way", lambda link: clients.append(link)
    ) as run:
        clients = [Client(clients[0]), Client(clients[0])]
        while len(run.seats) < 2:
            time.sleep(0.01)
        begun = time.monotonic()
        fit = sgdfit.fit(QUADRATIC, demo.points(), callback=run.before(slowly), **options)
        seconds = time.monotonic() - begun
        run.end(fit)
    for client in clients:
        client.join(timeout=60)
    return fit, seconds, clients


def test_each_view_of_a_run_sees_it_go_and_end_and_steers_nothing():
    options = {"optimizer": "sgd", "learning_rate": 0.1, "steps": 20}
    fit, seconds, clients = run_watched(**options)
    assert fit.values == sgdfit.fit(QUADRATIC, demo.points(), **options).values
    for client in clients:
        frames = client.of("frame")
        assert 4 <= len(frames) <= 4 + seconds / watching.SECONDS_A_FRAME
        assert {"fitted", "curve", "losses", "path_x"} <= {name for name, *_ in frames[1]["arrays"]}
        assert frames[-1]["values"] == pytest.approx(fit.values, rel=1e-15)
        assert not frames[-1]["running"]
        assert fit.status.label in client.of("result")[0]["html"]
        assert "two free parameters" in client.of("error")[0]["text"]
        assert client.of("landscape")[0]["x"] == "a"


def test_of_a_run_with_many_levels_the_common_parameters_are_seen():
    site, x = np.repeat(np.arange(300), 4), np.tile([0.0, 1.0, 2.0, 4.0], 300)
    data = {"x": x, "site": site, "y": (1 + site % 7) * x + np.sin(np.arange(1200))}
    with watched("y = a[site]*x + b", str, str) as run:
        run.end(sgdfit.fit("y = a[site]*x + b", data, callback=run))
    assert [one["name"] for one in run.last["scene"][0]["parameters"]] == ["b"]


def test_a_view_hears_why_a_run_has_no_result():
    links, clients = [], []

    def fail():
        with watched("q = a*x", str, links.append) as run:
            clients.append(Client(links[0]))
            while not run.seats:
                time.sleep(0.01)
            sgdfit.fit("q = a*x", demo.points(), callback=run)

    with pytest.raises(FormulaError, match="no column"):
        fail()
    clients[0].join(timeout=60)
    assert "no column" in clients[0].told[-1]["text"]


def test_contours_widen_where_a_step_leaves_them(watch):
    view = watch()
    view.ask("hello", "landscape")
    assert view.ask("range", "landscape", name="a", low=-2, high=0)["view"][:2] == [-2, 0]
    view.ask("options", rate=0.2)
    wider = view.ask("step", "landscape")["view"]
    assert wider[0] == -2
    assert 0 < view.session.values["a"] < wider[1] <= 4


def test_frames_do_not_wait_for_contours(watch, monkeypatch):
    monkeypatch.setattr(drawing, "landscape", lambda *_: itertools.repeat(None))  # endless
    view = watch()
    view.ask("run")
    view.wait("frame", 0, lambda frame: frame["step"] > 5)
    view.session.handle({"type": "set", "name": "a", "value": 1.5})
    view.wait("frame", 0, lambda frame: frame["values"]["a"] == 1.5)


def test_contours_follow_what_they_hold(watch):
    view = watch()
    view.ask("hello", "landscape")
    before = len(view.said)
    last = view.ask("step")
    told = view.wait("landscape", before)
    assert told["held"] == f"at c = {last['values']['c']:.4g}"
